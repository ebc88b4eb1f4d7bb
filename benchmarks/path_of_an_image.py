"""Count the functions and files of this project that one image enters, from its record in Kafka to its flag in Redis.

    python -m benchmarks.path_of_an_image [--list]

Three legs, as the workers run them: *describe* (read the record, decode, embed, make the record of the log), *match*
(`State.apply`, with one earlier picture that the image copies) and *flag* (the envelope as a call of Redis). The loops
of the workers, Kafka and Redis themselves are left out. A function counts once, however often it is called;
comprehensions and lambdas do not count.
"""

from __future__ import annotations

import io
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, SimpleNamespace

import msgspec
from PIL import Image
from skimage import data

from neardup.pipeline.describe.decode import Look
from neardup.pipeline.describe.threads import ThreadDescriber
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import Embedder, make_embedder
from neardup.pipeline.log.records import Described, Entry
from neardup.pipeline.match.apply.make import make_state, read_calibration
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.media.fetch import Rules
from neardup.pipeline.store.redis import RedisStore
from neardup.workers.embed.record import MediaTask, PolledItem
from neardup.workers.kafka.media_record import read_item

PACKAGE = str(Path(__file__).resolve().parents[1] / "neardup") + "/"


@dataclass(slots=True)
class Leg:
    """What was entered on one leg."""

    name: str
    entered: set[CodeType] = field(default_factory=set)

    @property
    def files(self) -> Counter[str]:
        """Functions by file."""
        return Counter(code.co_filename.removeprefix(PACKAGE) for code in self.entered)

    def see(self, frame: FrameType, event: str, _argument: object) -> None:
        """Note a call; what `sys.setprofile` takes."""
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE) and not code.co_name.startswith("<"):
            self.entered.add(code)


@contextmanager
def leg(name: str, legs: list[Leg]) -> Iterator[None]:
    """Note what is entered within the context, in all threads that begin in it."""
    one = Leg(name)
    threading.setprofile(one.see)
    sys.setprofile(one.see)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    legs.append(one)


def describe(embedder: Embedder, name: str, quality: int) -> Sequence[Described]:
    """Return the records that a photograph becomes, saved at a JPEG quality."""
    file = io.BytesIO()
    Image.fromarray(data.astronaut()).save(file, "JPEG", quality=quality)
    headers = [("content-type", b"image/jpeg")]
    record = SimpleNamespace(
        partition=0, offset=0, key=name.encode(), value=file.getvalue(), headers=headers, timestamp=1
    )
    describer: ThreadDescriber[PolledItem] = ThreadDescriber(embedder, Look(embedder.size), 1, 8, 0.01)
    try:
        item = read_item(record.key, record.value, record.headers)
        rules = Rules((), False, 1, 1.0)
        task = MediaTask(item, rules, Blobs("memory://"), record.partition, record.offset, record.timestamp)
        describer.add(PolledItem(record, None, 0, task, None))  # type: ignore[arg-type]
        done = []
        while describer.working:
            done += describer.step(0.05)
        return [msgspec.msgpack.decode(part, type=Described) for part in done[0].result]
    finally:
        describer.close()


def walk() -> list[Leg]:
    """Send one image through all three legs, after one that it copies."""
    checkpoint = load_checkpoint("default")
    embedder = make_embedder(checkpoint, device="cpu", threads=1)
    state = make_state(checkpoint, read_calibration(checkpoint), 0.99, kind="exact", similar="kept")
    store = RedisStore("redis://127.0.0.1:6379/0", checkpoint.space)
    store._apply = lambda **_: 1
    legs: list[Leg] = []
    state.apply([Entry(0, record, 1) for record in describe(embedder, "original", 90)])
    with leg("describe", legs):
        records = describe(embedder, "copy", 50)
    with leg("match", legs):
        envelopes = state.apply([Entry(1, record, 2) for record in records])
    with leg("flag", legs):
        store.apply(envelopes)
    state.close()
    return legs


def main() -> None:
    """Print a line for each leg; with --list also its files."""
    legs = walk()
    for one in legs:
        print(f"{one.name:9} {len(one.entered):4} functions in {len(one.files):3} files")
        if "--list" in sys.argv[1:]:
            for file, count in sorted(one.files.items()):
                print(f"    {count:3} {file}")
    functions, files = sum(len(one.entered) for one in legs), sum(len(one.files) for one in legs)
    print(f"{'together':9} {functions:4} functions in {files:3} files")
    product = list(Path(PACKAGE).rglob("*.py"))
    print(
        f"the product has {sum(len(path.read_text().splitlines()) for path in product)} lines in {len(product)} files"
    )


if __name__ == "__main__":
    main()
