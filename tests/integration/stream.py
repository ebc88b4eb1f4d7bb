"""What the tests of the stream share: a log that the test writes, and match workers that can be killed at a point.

Run as a module it is one match worker: `python -m tests.integration.stream FOLDER POINT COUNT`; when the point is
reached for the count-th time the process kills itself, as by `kill -9`.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import numpy as np

from neardup.pipeline.index import IndexOptions
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.log.records import Described, Entry, Envelope, Record, Removed
from neardup.pipeline.match.apply.snapshot import VECTORS, Snapshots
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.decide.evidence import Evidence
from neardup.pipeline.settings import Settings, load
from neardup.workers.kafka.leader import Leadership, Publisher
from neardup.workers.kafka.log import Appender, Tail, read_envelopes
from neardup.workers.kafka.topics import create_topics, open_admin, topic_names
from neardup.workers.match.saver import SnapshotPolicy
from neardup.workers.match.worker import Connections, MatchWorker
from tests.pipeline.match.build import D, Film, a_calibration, edited, picture, times, video
from tests.timing import LATE_SECONDS

SPACE = "f00d"
ROOT = Path(__file__).parents[2]


def a_log(seed: int, items: int) -> list[Record]:
    """Return pictures, copies of them, copies of copies, videos in parts, the same again, new versions, removals."""
    random = np.random.default_rng(seed)
    log: list[Record] = []
    for number in range(items):
        kind = random.integers(0, 12)
        item_id = f"item-{number}"
        if kind < 3:
            log.append(picture(item_id, random.uniform(0, 360), int(random.integers(0, D // 2)), source_offset=number))
        elif kind < 9:
            degrees = 5 * random.integers(0, 20) + random.uniform(-2, 2)
            log.append(picture(item_id, degrees, int(random.integers(0, 3)), source_offset=number))
        elif kind == 9:
            film = Film(int(random.integers(0, 3)))
            frames = film.at(times(5.0) + random.choice([0.0, 0.0, 2.2]))
            log += video(item_id, edited(frames, number), part_size=4, source_offset=number)
        elif log and kind == 10:
            again = log[int(random.integers(0, len(log)))]
            log.append(again if isinstance(again, Described) else Removed(id=again.id))
        elif log:
            log.append(Removed(id=log[int(random.integers(0, len(log)))].id))
    return log


def a_state_in(folder: Path, options: IndexOptions | None = None) -> State:
    calibration = a_calibration()
    folder.mkdir(parents=True, exist_ok=True)
    vectors = VectorFile(folder / VECTORS, D, SPACE)
    evidence = Evidence(np.zeros((0, D), dtype=np.float32), *calibration.weights)
    return State(options or IndexOptions("exact", device="cpu"), vectors, evidence, calibration)


def engine_of(settings: Settings) -> IndexOptions:
    """The engine that settings name; the exact one by default."""
    kind = "exact" if settings.index == "auto" else settings.index
    return IndexOptions(kind, device="cpu", milvus=settings.milvus_options)


def oracle(folder: Path, records: Sequence[Record]) -> list[Envelope]:
    """Return what a state says of the log that never stopped."""
    with closing(a_state_in(folder)) as state:
        return state.apply([Entry(offset, record) for offset, record in enumerate(records)])


def make_topics(settings: Settings) -> None:
    with open_admin(settings) as admin:
        create_topics(admin, SPACE, settings)


def append(settings: Settings, records: Sequence[Record]) -> list[int]:
    with closing(Appender(settings, topic_names(settings.topic_prefix, SPACE).log)) as appender:
        return appender.append(records)


def published(settings: Settings) -> list[Envelope]:
    """Return all envelopes that are committed."""
    with closing(Tail(settings, topic_names(settings.topic_prefix, SPACE).verdicts)) as tail:
        envelopes: list[Envelope] = []
        deadline, end = time.monotonic() + LATE_SECONDS, tail.end()
        while tail.position() < end:
            envelopes += read_envelopes(tail.poll(0.5, 1000))
            assert time.monotonic() < deadline, f"{tail.position()} of {end} after {LATE_SECONDS} s"
        return envelopes


def await_envelopes(settings: Settings, count: int, seconds: float = LATE_SECONDS) -> None:
    """Return when so many envelopes are committed."""
    with closing(Tail(settings, topic_names(settings.topic_prefix, SPACE).verdicts)) as tail:
        deadline, last = time.monotonic() + seconds, -1
        while last < count - 1:
            for one in read_envelopes(tail.poll(0.2, 1000)):
                last = one.offset
            assert time.monotonic() < deadline, f"envelopes up to offset {last} after {seconds} s, wanted {count - 1}"


def said(envelopes: Sequence[Envelope]) -> list[tuple[int, bytes]]:
    """Return offsets and events without times, ready to be compared."""
    return [(one.offset, msgspec.msgpack.encode(one.events)) for one in envelopes]


def a_match_worker(
    settings: Settings,
    folder: Path,
    reached: Callable[[str], object] = lambda _: None,
    policy: SnapshotPolicy | None = None,
) -> MatchWorker:
    names = topic_names(settings.topic_prefix, SPACE)
    return MatchWorker(
        Connections(
            Tail(settings, names.log),
            Tail(settings, names.verdicts),
            lambda: Leadership(settings, names),
            lambda: Publisher(settings, names),
        ),
        a_state_in(folder, engine_of(settings)),
        Snapshots(folder, reached),
        D,
        policy or SnapshotPolicy(background=False),
        reached=reached,
    )


@contextmanager
def match_process(
    settings: Settings, folder: Path, point: str = "", count: int = 0, **more: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a match worker as a process of its own, killed at the end if it still runs; `more` are settings."""
    environment = {
        **os.environ,
        "NEARDUP_KAFKA": settings.kafka,
        "NEARDUP_REDIS": settings.redis.get_secret_value(),
        "NEARDUP_TOPIC_PREFIX": settings.topic_prefix,
        "NEARDUP_PROVE": "false",
        "OMP_NUM_THREADS": "1",
        **more,
    }
    command = [sys.executable, "-m", "tests.integration.stream", str(folder), point, str(count)]
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def main() -> None:
    folder, point, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    logging.basicConfig(level=logging.WARNING)
    seen: Counter[str] = Counter()

    def reached(name: str) -> None:
        seen[name] += 1
        if name == point and seen[name] == count:
            os.kill(os.getpid(), signal.SIGKILL)

    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    worker = a_match_worker(load(), folder, reached, SnapshotPolicy(records=20, seconds=3600, background=False))
    while not stopping.is_set():
        worker.step()
    worker.drain(8)
    worker.close()


if __name__ == "__main__":
    main()
