"""Measure what a follower's batch costs beside the leader's, and how many bytes say what was found for an item.

    python -m benchmarks.bench_replay --rows 1000000

The leader is the match worker over a state filled as in `bench_match`. A tenth of the items are near-duplicates of rows
held, a tenth resemble one, and answers to what is asked come two batches later. Then a second worker, filled the same
way, follows what the first one published; with `--search-again` a third one does so as if the envelopes did not say
what was found. Log and verdicts are in memory. CPU time is that of the worker, and of ScaNN's process beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
from msgspec import UNSET

from benchmarks.bench_match import COPIES, NEVER, SPEAKING, Filled, about
from benchmarks.descriptors import Population, near, unit
from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint
from neardup.pipeline.index import IndexOptions
from neardup.pipeline.index.scann.proposer import ScannProposer
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.log.proofs import ProofPending, answer
from neardup.pipeline.log.records import Described, Envelope, Record, pack_hashes, pack_vectors
from neardup.pipeline.match.apply.make import read_calibration
from neardup.pipeline.match.apply.snapshot import VECTORS
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.decide.evidence import Evidence
from neardup.pipeline.prove.finding import Finding, Ground, ProofSummary, Proved
from neardup.workers.kafka.log import Fetched, encode, read_envelopes
from neardup.workers.match.saver import SnapshotPolicy
from neardup.workers.match.worker import BATCH_RECORDS, Connections, MatchWorker

LOOK_ALIKES = 0.1
ANSWERED_AFTER = 2
"""Batches."""
WARM_UP = 5
PROOFS = (
    Proved(ProofSummary(finding=Finding.COPY, ground=Ground.AGREES)),
    Proved(ProofSummary(finding=Finding.UNPROVED, ground=Ground.NO_TRANSFORM)),
)
_TICKS = os.sysconf("SC_CLK_TCK")


class Topic:
    """A topic in memory: hands out what it was offered last."""

    topic = "bench"

    def __init__(self, begin: int) -> None:
        self._end = begin
        self._offered: list[Fetched] = []

    def offer(self, fetched: Sequence[Fetched]) -> None:
        """Have the next `poll` return these."""
        self._offered = list(fetched)
        self._end = fetched[-1].offset + 1

    def poll(self, timeout_seconds: float, max_records: int) -> list[Fetched]:  # noqa: ARG002
        offered, self._offered = self._offered, []
        return offered

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


class Verdicts(Topic):
    """The same, empty for who looks for where to begin."""

    def begin(self) -> int:
        return 0

    def end(self) -> int:
        return 0


class Group:
    """Whoever asks leads, or nobody does."""

    def __init__(self, leads: bool) -> None:
        self._leads = leads

    def held(self) -> bool:
        return self._leads

    def close(self) -> None:
        pass


class Publishes:
    """Makes bytes of envelopes, and keeps both of the last batch."""

    def publish(self, envelopes: Sequence[Envelope], traces: Mapping[int, str]) -> None:  # noqa: ARG002
        self.envelopes = envelopes
        self.encoded = [Fetched(one.offset, 0, encode(one)) for one in envelopes]

    def close(self) -> None:
        pass


class Stream:
    """Makes the records of batches, answers to earlier ones among them."""

    def __init__(self, population: Population, state: State, rows: int) -> None:
        self._population, self._parts, self._rows = population, state.parts(), rows
        self._rng = np.random.default_rng(2)
        self._number = rows
        self._answers: list[list[Record]] = [[] for _ in range(ANSWERED_AFTER)]

    def batch(self) -> list[Record]:
        """Return as many items as a batch of the match worker has, and what answers are due."""
        vectors = self._population.take(BATCH_RECORDS)
        hashes = self._rng.integers(0, 256, (BATCH_RECORDS, 32), dtype=np.uint8)
        chance = self._rng.random(BATCH_RECORDS)
        copies, others = np.flatnonzero(chance < COPIES), np.flatnonzero(chance > 1 - LOOK_ALIKES)
        sources = self._rng.integers(0, self._rows, BATCH_RECORDS)
        vectors[copies] = near(self._parts.vectors.read(sources[copies]), self._rng)
        noise = unit(self._rng.standard_normal((len(others), vectors.shape[1]), dtype=np.float32))
        vectors[others] = unit(self._parts.vectors.read(sources[others]) + noise)
        changed = self._rng.random((len(copies), 256)) < self._rng.uniform(0, 30 / 256, (len(copies), 1))
        hashes[copies] = self._parts.rows.hash[sources[copies]] ^ np.packbits(changed, axis=1)
        items = [self._record(vectors[n : n + 1], hashes[n : n + 1]) for n in range(BATCH_RECORDS)]
        return [*self._answers.pop(0), *items]

    def hear(self, envelopes: Sequence[Envelope]) -> None:
        """Answer what is asked."""
        asked = [event.asked for one in envelopes for event in one.events if isinstance(event, ProofPending)]
        self._answers.append([answer(one, [PROOFS[self._rng.integers(2)] for _ in one.asks]) for one in asked])

    def _record(self, vector: np.ndarray, hashes: np.ndarray) -> Described:
        self._number += 1
        content = hashlib.sha256(str(self._number).encode()).digest()
        return Described(
            id=f"item-{self._number}",
            sha256=content,
            pixels_digest=content[:16],
            source_partition=0,
            source_offset=self._number,
            dimension=vector.shape[1],
            pts=(0.0,),
            vectors=pack_vectors(vector),
            hashes=pack_hashes(hashes),
            detail=bytes([SPEAKING]),
        )


class Run:
    """A worker over a filled state, and the seconds that its batches took: by the clock, its own, and ScaNN's."""

    def __init__(self, checkpoint: Checkpoint, rows: int, folder: Path, leads: bool) -> None:
        folder.mkdir()
        calibration = read_calibration(checkpoint)
        self.population = Population(checkpoint.background, np.random.default_rng(0))
        self.state = State(
            IndexOptions("scann", folder, scann_from=rows),
            VectorFile(folder / VECTORS, checkpoint.architecture.dimension, checkpoint.space),
            Evidence(checkpoint.background, *calibration.weights),
            calibration,
            asks=True,
        )
        self.log, self.verdicts, self.publisher = Topic(rows), Verdicts(0), Publishes()
        self.worker = MatchWorker(
            Connections(
                self.log,  # type: ignore[arg-type]
                self.verdicts,  # type: ignore[arg-type]
                lambda: Group(leads),
                lambda: self.publisher,
            ),
            self.state,
            Filled(folder, self.population, rows, lambda _: None),
            checkpoint.architecture.dimension,
            SnapshotPolicy(records=NEVER, seconds=NEVER),
        )
        self.seconds: list[tuple[float, float, float]] = []
        self._applied = rows - 1
        while leads and not self.worker.leads:
            self.worker.step()

    def step(self) -> None:
        """Take the batch that was offered."""
        before = np.array(self._clocks())
        while self.worker.applied < self.log.end() - 1:
            self.worker.step()
        self.seconds.append(tuple(np.array(self._clocks()) - before))

    def _clocks(self) -> tuple[float, float, float]:
        engine = self.state.parts().index.proposer
        assert isinstance(engine, ScannProposer)
        assert engine._generation is not None
        stat = Path(f"/proc/{engine._generation._searcher.process.pid}/stat").read_text()
        searcher = sum(map(int, stat.rsplit(")", 1)[1].split()[11:13])) / _TICKS
        return time.perf_counter(), time.process_time(), searcher

    def close(self) -> None:
        """Let go of files and processes."""
        self.worker.close()


def lead(run: Run, rows: int, batches: int) -> Iterator[tuple[list[Fetched], list[Fetched]]]:
    """Have a worker decide on a stream; yield records and envelopes, batch by batch."""
    stream, offset = Stream(run.population, run.state, rows), rows
    for _ in range(batches):
        fetched = [Fetched(offset + n, 0, encode(record)) for n, record in enumerate(stream.batch())]
        offset += len(fetched)
        run.log.offer(fetched)
        run.step()
        stream.hear(run.publisher.envelopes)
        yield fetched, run.publisher.encoded


def follow(run: Run, led: Sequence[tuple[Sequence[Fetched], Sequence[Fetched]]], candidates: bool) -> None:
    """Have a worker follow what was published, with or without what was found."""
    for records, envelopes in led:
        if not candidates:
            old = (msgspec.structs.replace(one, candidates=UNSET) for one in read_envelopes(envelopes))
            envelopes = [Fetched(one.offset, 0, encode(one)) for one in old]
        run.log.offer(records)
        run.verdicts.offer(envelopes)
        run.step()


def row(name: str, run: Run) -> tuple[str, float]:
    """Return a row of the table, and how many items a second."""
    wall, cpu, searcher = 1000 * np.mean(run.seconds[WARM_UP:], axis=0) / BATCH_RECORDS
    return f"| {name} | {1000 / wall:,.0f} | {wall:.3f} | {cpu:.3f} | {searcher:.3f} |", 1000 / wall


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="descriptors held at the start (%(default)s)")
    parser.add_argument("--batches", type=int, default=60, help="of 256 items (%(default)s)")
    parser.add_argument("--search-again", action="store_true", help="follow without what was found, too")
    parser.add_argument("--folder", type=Path, help="where to write, some 3 GB; by default a temporary folder")
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    checkpoint = load_checkpoint("default")
    rates = []
    print(f"{arguments.rows:,} rows; {about()}\n")
    print("| batches of 256 | items/s | ms an item | CPU ms of the worker | of ScaNN |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        with closing(Run(checkpoint, arguments.rows, Path(name) / "leader", leads=True)) as run:
            led = list(lead(run, arguments.rows, arguments.batches))
            line, rate = row("leader", run)
            print(line, flush=True)
            rates.append(rate)
        followers = [(True, "follower"), *([(False, "follower that searches again")] * arguments.search_again)]
        for candidates, what in followers:
            with closing(Run(checkpoint, arguments.rows, Path(name) / what, leads=False)) as run:
                follow(run, led, candidates)
                line, rate = row(what, run)
                print(line, flush=True)
                rates.append(rate)
    envelopes = [one for _, published in led for one in read_envelopes(published)]
    found = [len(one.candidates) for one in envelopes if isinstance(one.candidates, bytes)]
    whole = [len(one.value) for _, published in led for one in published]
    print(f"\na follower is {rates[1] / rates[0]:.1f} times as fast as the leader")
    print(
        f"bytes of what was found for an item: median {np.median(found):.0f}, mean {np.mean(found):.0f}, "
        f"99 % {np.percentile(found, 99):.0f}, most {max(found)}; of the envelope: median {np.median(whole):.0f}"
    )


if __name__ == "__main__":
    main()
