"""Measure the match worker at a large size: batch times, quiet and while the index is built and the state written down.

    python -m benchmarks.bench_match --rows 1000000

The worker is the stream's own, with a log and a publisher in memory: records are decoded, searched, compared, decided
and inserted, and their envelopes encoded, but no broker is asked. Before the measurement the state is filled by a short
cut: rows go into the vector file, the tables and the index without being matched, and ScaNN is built once.

Descriptors are made up, see `benchmarks.descriptors`; a tenth of the stream are near-duplicates of rows held, with up
to 30 bits of their hash changed, and a tenth are look-alikes: near enough to be proved, with another hash. What is to
be proved is answered three batches later, among the items that come then. `bench_index` has the recall.

A step of the worker is a batch of 256 records, items and answers. Phases: quiet; while a snapshot is written; while
ScaNN is built anew and swapped in; both at once; quiet again, with the tail that came meanwhile. A build that has not
ended after --most batches goes on beside what follows, and nothing is quiet then. Rates and processor times are for
each item, those of its answer included: of the worker with all its threads, of the thread that decides, and of the
processes that search. Two times are given for what happened in a batch: the longest, and the longest beyond the median
of the twenty before it, which is what it had to wait.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import logging
import os
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.descriptors import Population, near, unit
from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint
from neardup.pipeline.index import IndexOptions
from neardup.pipeline.index.scann.proposer import ScannProposer
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.log.proofs import Asked, ItemProved, ProofPending, answer
from neardup.pipeline.log.records import Described, Envelope, Record, pack_hashes, pack_vectors
from neardup.pipeline.match.apply.make import read_calibration
from neardup.pipeline.match.apply.snapshot import VECTORS, Snapshots
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.data.items import Item, Items, Rows
from neardup.pipeline.match.decide.evidence import OF_BACKGROUND, Evidence
from neardup.pipeline.prove.finding import BlockMap, Finding, Ground, ProofSummary, Proved
from neardup.pipeline.types import Descriptors, Kind
from neardup.workers.kafka.log import Fetched, encode
from neardup.workers.match.saver import SnapshotPolicy
from neardup.workers.match.worker import BATCH_RECORDS, Connections, MatchWorker

CHUNK = 16384
COPIES = 0.1
LOOK_ALIKES = 0.1
ALIKE = (0.75, 1.0)
"""Length of the noise that makes a look-alike of a descriptor."""
ANSWERED_AFTER = 3
"""Batches."""
SPEAKING = 50
NEVER = 10**12


class Log:
    """The log and the verdicts in memory: hands out what it was offered, keeps nothing."""

    topic = "bench"

    def __init__(self, end: int = 0) -> None:
        self._end = end
        self._offered: deque[list[Fetched]] = deque()

    def offer(self, records: Sequence[Record]) -> list[Fetched]:
        """Have records follow those that are there, and return them as they are fetched."""
        fetched = [Fetched(self._end + n, 0, encode(record)) for n, record in enumerate(records)]
        self.give(fetched)
        return fetched

    def give(self, fetched: list[Fetched]) -> None:
        """Have a later poll return these."""
        self._offered.append(fetched)
        self._end = fetched[-1].offset + 1

    def poll(self, timeout_seconds: float, max_records: int) -> list[Fetched]:  # noqa: ARG002
        return self._offered.popleft() if self._offered else []

    def begin(self) -> int:
        return 0

    def end(self) -> int:
        return self._end

    def position(self) -> int:
        return self._end

    def lag(self) -> int:
        return 0

    def seek(self, offset: int) -> None:
        pass

    def close(self) -> None:
        pass


class Leads:
    """Is alone in its group."""

    def held(self) -> bool:
        return True

    def close(self) -> None:
        pass


class Encodes:
    """Makes bytes of envelopes and of what they ask, and counts decisions.

    Attributes:
        asked: what was asked and is not fetched. encoded: the last envelopes, as they are fetched.
    """

    def __init__(self) -> None:
        self.decisions: dict[str, int] = defaultdict(int)
        self.asked: list[Asked] = []
        self.encoded: list[Fetched] = []

    def publish(self, envelopes: Sequence[Envelope], traces: Mapping[int, str]) -> None:  # noqa: ARG002
        self.encoded = [Fetched(one.offset, 0, encode(one)) for one in envelopes]
        for one in envelopes:
            for event in one.events:
                if isinstance(event, ProofPending):
                    encode(event.asked)
                    self.asked.append(event.asked)
                    self.decisions["pending"] += 1
                else:
                    self.decisions[str(getattr(event, "decision", "other")).lower()] += 1

    def close(self) -> None:
        pass


class Filled(Snapshots):
    """Snapshots that begin with a state of so many rows."""

    def __init__(self, folder: Path, population: Population, rows: int, reached: Callable[[str], object]) -> None:
        super().__init__(folder, reached)
        self._population = population
        self._size = rows

    def load(self, state: State) -> int:
        """Fill the tables, the vector file and the index, and wait for ScaNN."""
        rng = np.random.default_rng(1)
        parts = state.parts()
        rows = Rows()
        for start in range(0, self._size, CHUNK):
            count = min(CHUNK, self._size - start)
            numbers = np.arange(start, start + count, dtype=np.int64)
            vectors = self._population.take(count)
            parts.vectors.append(numbers, vectors)
            hashes = rng.integers(0, 256, (count, 32), dtype=np.uint8)
            rows.append(
                count, offset=numbers, item=numbers, frame=0, pts=0.0, hash=hashes, speaks=True, searched=True,
                cohort=OF_BACKGROUND, cohort_similarity=0.2,
            )  # fmt: skip
            parts.index.add(numbers)
        items = Items()
        items.restore((_item(n, rng.bytes(48)) for n in range(self._size)), self._size)
        engine = parts.index.proposer
        assert isinstance(engine, ScannProposer)
        engine.wait()
        if engine.tail_rows:
            raise SystemExit("the build failed; see the log")
        state.restore(replace(parts, items=items, rows=rows))
        return self._size - 1


def _item(number: int, content: bytes) -> Item:
    return Item(
        number=number,
        id=f"item-{number}",
        kind=Kind.IMAGE,
        sha256=content[:32],
        pixels_digest=content[32:],
        source=(0, number),
        seconds=0.0,
        ranges=((number, number + 1),),
        head=number,
        offset=number,
    )


class Stream:
    """Makes records without end: items, and answers to what was asked about earlier ones."""

    def __init__(self, population: Population, state: State, rows: int, publisher: Encodes) -> None:
        self._population, self._state, self._rows, self._publisher = population, state, rows, publisher
        self._rng = np.random.default_rng(2)
        self._number = rows
        self._copied: dict[str, str] = {}
        self._open: deque[list[Asked]] = deque([[]] * (ANSWERED_AFTER - 1))

    def batch(self) -> tuple[list[Record], int]:
        """Return the records of a batch, and how many of them are items."""
        self._open.append(self._publisher.asked)
        self._publisher.asked = []
        answers: list[Record] = [self._answer(asked) for asked in self._open.popleft()]
        items = self._items(max(BATCH_RECORDS - len(answers), 1))
        records: list[Record] = [*items, *answers]
        order = self._rng.permutation(len(records)).tolist()
        return [records[place] for place in order], len(items)

    def _items(self, count: int) -> list[Described]:
        vectors = self._population.take(count)
        hashes = self._rng.integers(0, 256, (count, 32), dtype=np.uint8)
        kind = self._rng.random(count)
        parts = self._state.parts()
        copies = np.flatnonzero(kind < COPIES)
        sources = self._rng.integers(0, self._rows, len(copies))
        vectors[copies] = near(parts.vectors.read(sources), self._rng)
        changed = self._rng.random((len(copies), 256)) < self._rng.uniform(0, 30 / 256, (len(copies), 1))
        hashes[copies] = parts.rows.hash[sources] ^ np.packbits(changed, axis=1)
        alike = np.flatnonzero((kind >= COPIES) & (kind < COPIES + LOOK_ALIKES))
        vectors[alike] = self._look_alike(parts.vectors.read(self._rng.integers(0, self._rows, len(alike))))
        items = [self._record(vectors[n : n + 1], hashes[n : n + 1]) for n in range(count)]
        self._copied |= {items[n].id: f"item-{row}" for n, row in zip(copies.tolist(), sources.tolist(), strict=True)}
        return items

    def _look_alike(self, vectors: Descriptors) -> Descriptors:
        noise = unit(self._rng.standard_normal(vectors.shape, dtype=np.float32))
        return unit(vectors + noise * self._rng.uniform(*ALIKE, (len(vectors), 1)))

    def _answer(self, asked: Asked) -> ItemProved:
        source = self._copied.pop(asked.id, None)
        return answer(asked, [_proved(ask.reference == source) for ask in asked.asks])

    def _record(self, vector: Any, hashes: Any) -> Described:
        self._number += 1
        content = hashlib.sha256(str(self._number).encode()).digest()
        return Described(
            id=f"item-{self._number}",
            kind=Kind.IMAGE,
            sha256=content,
            pixels_digest=content[:16],
            source_partition=0,
            source_offset=self._number,
            produced_ms=1_700_000_000_000 + self._number,
            width=1600,
            height=1200,
            dimension=vector.shape[1],
            pts=(0.0,),
            vectors=pack_vectors(vector),
            hashes=pack_hashes(hashes),
            detail=bytes([SPEAKING]),
            thumbnail=f"{content.hex()}.jpg",
        )


def _proved(is_copy: bool) -> Proved:
    finding = (Finding.COPY, Ground.AGREES) if is_copy else (Finding.VARIANT, Ground.TEMPLATE)
    blocks = BlockMap(columns=16, blocks="1" * 192)
    summary = ProofSummary(finding=finding[0], ground=finding[1], stage=1, inliers=80, agreeing=0.9, map=blocks)
    return Proved(summary, (1.0, 0.01, 3.0, -0.01, 1.0, 2.0, 0.0, 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Step:
    """What one batch cost, in seconds, and what else happened in it.

    Attributes:
        items: of its records. busy: of the worker's processor time, with all its threads. thread: of that, the one that
            decides. searching: processor time of the processes that search.
    """

    seconds: float
    items: int
    busy: float
    thread: float
    searching: float
    cause: str


class Bench:
    """A worker, what it is fed with, and the clock beside it."""

    def __init__(self, checkpoint: Checkpoint, rows: int, folder: Path) -> None:
        population = Population(checkpoint.background, np.random.default_rng(0))
        self.state = open_state(checkpoint, rows, folder)
        engine = self.state.parts().index.proposer
        assert isinstance(engine, ScannProposer)
        self.engine = engine
        self.log, self.publisher = Log(rows), Encodes()
        self.writing = False
        self.builder_memory = 0
        self._marks: list[str] = []
        self._waiting: deque[int] = deque()
        self.worker = MatchWorker(
            Connections(self.log, Log(), Leads, lambda: self.publisher),  # type: ignore[arg-type]
            self.state,
            Filled(folder, population, rows, self._reached),
            checkpoint.architecture.dimension,
            SnapshotPolicy(records=NEVER, seconds=NEVER),
            reached=self._reached,
        )
        self._stream = Stream(population, self.state, rows, self.publisher)
        gc.callbacks.append(self._collecting)
        while not self.worker.leads:
            self.worker.step()

    def records(self) -> tuple[list[Record], int]:
        """Return the next batch of the stream, and how many of its records are items."""
        return self._stream.batch()

    def offer(self) -> int:
        """Put a batch of the stream into the log; return how many of its records are items."""
        records, items = self.records()
        self.log.offer(records)
        return items

    def step(self) -> Step:
        """Have the worker take a batch."""
        items = self._waiting.popleft() if self._waiting else self.offer()
        self._waiting.append(self.offer())  # the worker sees what follows
        self._marks = []
        building, covered = self.engine.is_building, self.engine.status().searcher
        searching, busy, thread = searchers_seconds(), time.process_time(), time.thread_time()
        started = time.perf_counter()
        self.worker.step()
        seconds = time.perf_counter() - started
        busy, thread = time.process_time() - busy, time.thread_time() - thread
        searching = max(0.0, searchers_seconds() - searching)  # one that was replaced takes its time with it
        self._note_builder()
        if self.engine.is_building and not building:
            self._marks.append("build begun")
        if self.engine.status().searcher > covered:
            self._marks.append("build swapped in")
        return Step(seconds, items, busy, thread, searching, ", ".join(self._marks) or "none of these")

    def begin_snapshot(self) -> None:
        """Make a snapshot due with the next step."""
        self.writing = True
        self.worker._saver.policy = SnapshotPolicy(records=1, seconds=NEVER)

    def _note_builder(self) -> None:
        build = self.engine._build
        if build is not None and build.process.poll() is None:
            self.builder_memory = max(self.builder_memory, resident(build.process.pid))

    def searcher_memory(self) -> int:
        """Return the resident memory of ScaNN's process in MiB."""
        generation = self.engine._generation
        return 0 if generation is None else resident(generation._searcher.process.pid)

    def _reached(self, name: str) -> None:
        if name == "snapshot-begun":
            self.worker._saver.policy = SnapshotPolicy(records=NEVER, seconds=NEVER)
        if name == "snapshot-ended":
            self.writing = False
        if name in ("snapshot-begun", "snapshot-ended"):
            self._marks.append(name.replace("-", " "))

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and info["generation"] == 2:
            self._marks.append("garbage collected")


def measure(bench: Bench, name: str, going_on: Callable[[int], bool]) -> list[Step]:
    """Step while something goes on, and print a row of the table."""
    steps: list[Step] = []
    started = time.perf_counter()
    while going_on(len(steps)):
        steps.append(bench.step())
    seconds = np.array([one.seconds for one in steps])
    items = sum(one.items for one in steps)
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    cpu = (1000 * sum(times) / items for times in zip(*((s.busy, s.thread, s.searching) for s in steps), strict=True))
    print(
        f"| {name} | {len(steps)} | {p50:.0f} | {p99:.0f} | {seconds.max() * 1000:.0f} | "
        f"{items / seconds.sum():,.0f} | {' | '.join(f'{one:.3f}' for one in cpu)} | "
        f"{time.perf_counter() - started:.0f} |",
        flush=True,
    )
    return steps


def run(rows: int, quiet: int, most: int, folder: Path) -> None:
    """Print the tables."""
    checkpoint = load_checkpoint("default")
    started = time.perf_counter()
    bench = Bench(checkpoint, rows, folder)
    print(f"filled with {rows:,} rows in {time.perf_counter() - started:.0f} s; {about()}\n")
    print(
        "| phase | batches | p50 ms | p99 ms | longest ms | items/s "
        "| CPU ms an item: worker | its deciding thread | searchers | lasted s |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    measure(bench, "(warm-up)", lambda n: n < 20)
    steps = measure(bench, "quiet", lambda n: n < quiet)
    memory = resident()

    bench.begin_snapshot()
    steps += measure(bench, "snapshot", lambda _: bench.writing)
    bench.engine.rebuild()
    steps += measure(bench, "ScaNN built anew", lambda n: n < most and bench.engine.is_building)
    bench.engine.rebuild()
    bench.begin_snapshot()
    steps += measure(bench, "both at once", lambda n: bench.writing or (n < most and bench.engine.is_building))
    if not bench.engine.is_building:
        steps += measure(bench, "quiet again", lambda n: n < quiet)

    print("\n| in the batch | times | longest ms | longest wait ms |\n| --- | ---: | ---: | ---: |")
    by_cause: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for place, step in enumerate(steps):
        usual = float(np.median([before.seconds for before in steps[max(0, place - 20) : place] or steps[:20]]))
        by_cause[step.cause].append((step.seconds * 1000, (step.seconds - usual) * 1000))
    for cause, times in sorted(by_cause.items()):
        longest, waited = np.max(times, axis=0)
        print(f"| {cause} | {len(times)} | {longest:.0f} | {waited:.0f} |")
    status = bench.engine.status()
    print(
        f"\nmemory, MiB: worker {memory}, at the end {resident()}, {resident(part='RssFile')} of it mapped files; "
        f"searcher {bench.searcher_memory()}, builder up to {bench.builder_memory}"
    )
    print(f"last build: {status.build_seconds:.0f} s; canary: {status.checked}")
    print("decisions:", dict(bench.publisher.decisions), "rows:", len(bench.state.rows))
    started = time.perf_counter()
    bench.worker.drain(7)
    print(f"drained in {time.perf_counter() - started:.1f} s")
    bench.worker.close()
    started = time.perf_counter()
    again = open_state(checkpoint, rows, folder)
    offset = Snapshots(folder).load(again)
    print(
        f"started again from offset {offset} in {time.perf_counter() - started:.1f} s: {again.parts().index.status()}"
    )
    again.close()


def open_state(checkpoint: Checkpoint, rows: int, folder: Path) -> State:
    """Return an empty state that uses ScaNN from so many rows on."""
    dimension, calibration = checkpoint.architecture.dimension, read_calibration(checkpoint)
    return State(
        IndexOptions("scann", folder, scann_from=rows),
        VectorFile(folder / VECTORS, dimension, checkpoint.space),
        Evidence(checkpoint.background, *calibration.weights),
        calibration,
        asks=True,
    )


def searchers_seconds() -> float:
    """Return the processor time so far of the processes that search for this one."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() and b"serve_process" in (process / "cmdline").read_bytes():
                ticks += int(fields[11]) + int(fields[12])
        except OSError:  # it has ended
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def resident(process: int | str = "self", part: str = "VmRSS") -> int:
    """Return the resident memory of a process in MiB, mapped files included, or a part of it; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith(part)), 0)


def about() -> str:
    """Return what the figures stand on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = {line.split(":")[1].strip() for line in lines if line.startswith("model name")}
    return f"{len(os.sched_getaffinity(0))} cores of {', '.join(models)}, {torch.get_num_threads()} threads of torch"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="descriptors held at the start (%(default)s)")
    parser.add_argument("--quiet", type=int, default=100, help="batches of the quiet phase (%(default)s)")
    parser.add_argument("--most", type=int, default=NEVER, help="batches of a phase with a build; all by default")
    parser.add_argument("--folder", type=Path, help="where to write, some 3 GB; by default a temporary folder")
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        run(arguments.rows, arguments.quiet, arguments.most, Path(name))


if __name__ == "__main__":
    main()
