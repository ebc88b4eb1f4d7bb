"""Measure how long live items wait for their verdict while an archive is loaded, and how fast that is.

    scripts/services run -- .venv/bin/python -m benchmarks.bench_load --items 20000

A match worker runs as its command starts it. A live item is appended to the log every tenth of a second, first alone,
then while `neardup backfill load` loads an archive of made-up descriptors; what is measured is the time until its
envelope is published. Without proofs, which prove workers make elsewhere.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np

from neardup.pipeline.archive.conditions import Conditions
from neardup.pipeline.archive.folder import Folder
from neardup.pipeline.archive.plan import Entry, Files, name_of, write_plan
from neardup.pipeline.archive.row import Row
from neardup.pipeline.archive.shard import writing
from neardup.pipeline.describe.codec import to_records
from neardup.pipeline.describe.description import Description
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.log.records import Described
from neardup.pipeline.settings import load
from neardup.pipeline.types import PLAIN, Kind, Limits
from neardup.workers.kafka.log import Appender, Tail, read_envelopes
from neardup.workers.kafka.topics import create_topics, open_admin, topic_names

QUIET_SECONDS = 10.0
EVERY_SECONDS = 0.1
SHARD_ROWS = 1000


def described(name: str, dimension: int, random: np.random.Generator) -> Description:
    """Return an image that resembles no other."""
    vector = random.normal(size=(1, dimension)).astype(np.float32)
    return Description(
        kind=Kind.IMAGE,
        format="jpeg",
        sha256=hashlib.sha256(name.encode()).digest(),
        pixels_digest=b"",
        width=640,
        height=480,
        seconds=0.0,
        extras=PLAIN,
        thumbnail="",
        pts=np.zeros(1),
        vectors=(vector / np.linalg.norm(vector)).astype("<f2"),
        hashes=random.integers(0, 256, (1, 32), dtype=np.uint8),
        detail=np.array([50], np.uint8),
        boxes=(None,),
    )


def make_archive(folder: Path, items: int, space: str, dimension: int) -> Folder:
    """Write an archive without pictures."""
    archive, random = Folder(str(folder)), np.random.default_rng(0)
    conditions = Conditions(space=space, dimension=dimension, sample_fps=2.0, regions="boxes", limits=Limits())
    parts = []
    for start in range(0, items, SHARD_ROWS):
        names = [f"old-{n}" for n in range(start, min(start + SHARD_ROWS, items))]
        part = Files(tuple(Entry(name, f"file:///{name}", name.encode()) for name in names))
        with writing(archive, name_of(part, conditions), conditions) as writer:
            for name in names:
                one = described(name, dimension, random)
                time_ns = int(random.integers(10**18))
                writer.add(Row(name, f"file:///{name}", name, time_ns, 1, one.sha256, one))
        parts.append(part)
    write_plan(archive, parts, ("/",), conditions, lambda _: None)
    return archive


class Live:
    """Appends live items, and notes when each was published; to be closed."""

    def __init__(self, appender: Appender, verdicts: Tail, dimension: int) -> None:
        self._appender, self._verdicts, self._dimension = appender, verdicts, dimension
        self._random = np.random.default_rng(1)
        self._at: dict[int, float] = {}
        self._count = 0
        self._lock, self._closing = threading.Lock(), threading.Event()
        self.seconds: list[float] = []
        self._follower = threading.Thread(target=self._follow)
        self._follower.start()

    def send(self) -> None:
        """Append one."""
        self._count += 1
        (record,) = to_records(described(f"live-{self._count}", self._dimension, self._random))
        started = time.monotonic()
        with self._lock:
            (offset,) = self._appender.append([_live(record, self._count)])
            self._at[offset] = started

    def wait(self) -> list[float]:
        """Return the seconds of all that were sent since the last call."""
        while self._at:
            time.sleep(0.05)
        seconds, self.seconds = self.seconds, []
        return seconds

    def close(self) -> None:
        """Follow no more."""
        self._closing.set()
        self._follower.join()

    def _follow(self) -> None:
        while not self._closing.is_set():
            envelopes = read_envelopes(self._verdicts.poll(0.1, 1000))
            now = time.monotonic()
            with self._lock:
                for envelope in envelopes:
                    if (started := self._at.pop(envelope.offset, None)) is not None:
                        self.seconds.append(now - started)


def _live(record: Described, number: int) -> Described:
    return msgspec.structs.replace(record, id=f"live-{number}", source_partition=0, source_offset=number)


def report(name: str, seconds: list[float]) -> None:
    """Print one line."""
    p50, p95, most = (1000 * np.quantile(seconds, share) for share in (0.5, 0.95, 1.0))
    print(f"{name:<14}{len(seconds):>6} live items, ms to the verdict: p50 {p50:.0f}, p95 {p95:.0f}, most {most:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000, help="items of the archive")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="neardup-") as scratch:
        os.environ |= {
            "NEARDUP_PROVE": "false",
            "NEARDUP_TOPIC_PREFIX": f"bench-load-{os.getpid()}",
            "NEARDUP_STATE_FOLDER": f"{scratch}/state",
            "NEARDUP_BLOBS": f"{scratch}/blobs",
        }
        settings = load()
        checkpoint = load_checkpoint(settings.model)
        names = topic_names(settings.topic_root, checkpoint.space)
        with open_admin(settings) as admin:
            create_topics(admin, checkpoint.space, settings)
        archive = make_archive(
            Path(scratch) / "archive", arguments.items, checkpoint.space, checkpoint.architecture.dimension
        )
        neardup = [sys.executable, "-m", "neardup.workers.cli.main"]
        with (
            subprocess.Popen([*neardup, "worker", "match", "--port", "0"]) as matcher,
            closing(Appender(settings, names.log)) as appender,
            closing(Tail(settings, names.verdicts)) as verdicts,
        ):
            try:
                with closing(Live(appender, verdicts, checkpoint.architecture.dimension)) as live:
                    live.send()
                    live.wait()
                    end = time.monotonic() + QUIET_SECONDS
                    while time.monotonic() < end:
                        live.send()
                        time.sleep(EVERY_SECONDS)
                    report("alone", live.wait())
                    started = time.monotonic()
                    with subprocess.Popen([*neardup, "backfill", "load", archive.url]) as loading:
                        while loading.poll() is None:
                            live.send()
                            time.sleep(EVERY_SECONDS)
                    seconds = time.monotonic() - started
                    if loading.returncode:
                        raise SystemExit("loading failed")
                    report("while loading", live.wait())
                    print(f"{arguments.items:,} items loaded in {seconds:.1f} s, {arguments.items / seconds:,.0f}/s")
            finally:
                matcher.terminate()


if __name__ == "__main__":
    main()
