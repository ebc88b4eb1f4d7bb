"""What known content costs an embed worker, and what it saves.

    python -m benchmarks.known_content

CPU time. First the table: bytes an entry, and what it takes to fill it and to look it up; records as those of pictures
of one descriptor each, and the log in memory. Then photographs of some 500 × 400 are described as a process of the
stream does, with thumbnails and packs, and the same once more under other ids, when they are known.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.photographs import render_photographs
from neardup.pipeline.describe.decode import Look
from neardup.pipeline.describe.in_turn import InTurn
from neardup.pipeline.describe.processes import ORDER_ITEMS
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.records import Described
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.media.fetch import Rules
from neardup.pipeline.settings import load
from neardup.workers.embed.known_content import KnownContent, KnownTable, look_digest
from neardup.workers.embed.known_filler import Filler
from neardup.workers.embed.record import MediaTask
from neardup.workers.kafka.log import Fetched, encode
from neardup.workers.kafka.media_record import MediaItem

COUNT, LOOKED_UP, PICTURES = 20_000, 5000, 256
DIMENSION = 256
MOST_BYTES = 2**28
LOOK = look_digest(Look(128))


class Log:
    """Records in memory, as `known_filler.Filler` reads them."""

    def __init__(self, records: list[bytes]) -> None:
        self.records, self._next = records, 0

    def begin(self) -> int:
        return 0

    def end(self) -> int:
        return len(self.records)

    def lag(self) -> int:
        return self.end() - self._next

    def seek(self, offset: int) -> None:
        self._next = offset

    def poll(self, timeout_seconds: float, max_records: int) -> list[Fetched]:  # noqa: ARG002
        start, self._next = self._next, min(self._next + max_records, self.end())
        return [Fetched(offset, 0, self.records[offset]) for offset in range(start, self._next)]

    def close(self) -> None:
        pass


def record(number: int, vector: bytes) -> bytes:
    """Return a picture as the log has it."""
    return encode(
        Described(
            id=f"uploads/picture-{number}.jpg", sha256=hashlib.sha256(b"%d" % number).digest(), pixels_digest=bytes(16),
            source_partition=3, source_offset=number, produced_ms=1_796_000_000_000, width=640, height=480,
            dimension=DIMENSION, pts=(0.0,), vectors=vector, hashes=bytes(32), detail=b"2", look=LOOK,
            thumbnail=f"thumbnails/ab/{64 * 'a'}-{32 * 'b'}.jpg",
        )
    )  # fmt: skip


def microseconds(count: int, do: Callable[[], object]) -> float:
    """Return the CPU time of each of so many."""
    began = time.process_time()
    do()
    return 1e6 * (time.process_time() - began) / count


@dataclass(frozen=True)
class Source:
    """See `describe.source.Source`."""

    task: MediaTask
    traceparent: str = ""
    sender: str = ""
    owner: str = ""
    small: bool = True
    gone: bool = False


def describe_twice() -> None:
    """Print what a picture costs that is described, and one that is known."""
    settings = load()
    checkpoint = load_checkpoint(settings.model)
    embedder = make_embedder(checkpoint, "cpu", threads=1)
    look = Look(embedder.size, settings.limits, settings.sample_fps, settings.regions, settings.thumbnail_side)
    contents = [path.read_bytes() for path in render_photographs(Path(f"demo/photographs-{PICTURES}"), PICTURES)]
    engine: InTurn[Source] = InTurn(embedder, look)
    with tempfile.TemporaryDirectory() as folder:
        path, log, digest = Path(folder, "known.sqlite"), Log([]), look_digest(look)
        blobs, known = Blobs(str(Path(folder, "blobs"))), KnownContent(path, 1)

        def describe(round: str) -> list[list[bytes]]:
            tasks = [
                MediaTask(MediaItem(f"{round}{n}", SEEN, one), Rules(()), blobs, 0, n, 0, True, digest, known)
                for n, one in enumerate(contents)
            ]
            orders = [tasks[start : start + ORDER_ITEMS] for start in range(0, len(tasks), ORDER_ITEMS)]
            return [done.result for order in orders for done in engine.describe([Source(task) for task in order])[0]]

        with closing(KnownTable(path, "benchmark", MOST_BYTES)) as table:
            describe("warm")
            described: list[list[bytes]] = []
            first = microseconds(PICTURES, lambda: described.extend(describe("first")))
            log.records += [part for parts in described for part in parts]
            filler = Filler(table, log, digest, MOST_BYTES)
            filler.step(0.0)
            again = microseconds(PICTURES, lambda: describe("again"))
    print("\n| described, CPU-ms a picture | known, CPU-ms a picture |\n|---|---|")
    print(f"| {first / 1000:.2f} | {again / 1000:.2f} |")


def main() -> None:
    """Print the tables."""
    measure_table()
    describe_twice()


def measure_table() -> None:
    """Print what the table costs."""
    random = np.random.default_rng(0)
    records = [record(number, random.normal(size=DIMENSION).astype("<f2").tobytes()) for number in range(COUNT)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "known.sqlite")
        with closing(KnownTable(path, "benchmark", MOST_BYTES)) as table:
            filler = Filler(table, Log(records), LOOK, MOST_BYTES)
            fill = microseconds(COUNT, lambda: [None for _ in iter(lambda: filler.step(0.0), 0)])
            known = KnownContent(path, 1)
            known.find(b"")
            hits = [hashlib.sha256(b"%d" % number).digest() for number in random.integers(0, COUNT, LOOKED_UP).tolist()]
            misses = [hashlib.sha256(one).digest() for one in hits]
            found, missed = (
                microseconds(LOOKED_UP, lambda some=some: [known.find(one) for one in some])  # type: ignore[misc]
                for some in (hits, misses)
            )
            print("| records of bytes | bytes an entry | fill, µs | found, µs | not found, µs |\n|---|---|---|---|---|")
            print(f"| {len(records[0])} | {table.size / COUNT:,.0f} | {fill:.0f} | {found:.0f} | {missed:.0f} |")


if __name__ == "__main__":
    main()
