"""Measure what a follower's batch costs beside the leader's, and how many bytes say what was found for an item.

    python -m benchmarks.bench_replay --rows 1000000

The leader is the match worker over a state filled as in `bench_match`, with the same stream: copies, look-alikes, and
answers to what is asked. Then a second worker, filled the same way, follows what the first one published; with
`--search-again` a third one does so as if the envelopes did not say what was found. Log and verdicts are in memory.
Processor times are of the worker with all its threads, and of ScaNN's process beside it, for each item.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
from msgspec import UNSET

from benchmarks.bench_match import NEVER, Encodes, Filled, Leads, Log, Stream, about, open_state, searchers_seconds
from benchmarks.descriptors import Population
from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint
from neardup.workers.kafka.log import Fetched, encode, read_envelopes
from neardup.workers.match.saver import SnapshotPolicy
from neardup.workers.match.worker import Connections, MatchWorker

WARM_UP = 5
"""Batches."""


class Verdicts(Log):
    """The log of verdicts, empty for who looks for where to begin."""

    def begin(self) -> int:
        return 0

    def end(self) -> int:
        return 0


class Follows(Leads):
    """Another leads its group."""

    def held(self) -> bool:
        return False


class Run:
    """A worker over a filled state, and what its batches cost: seconds by the clock, its own, ScaNN's; and items."""

    def __init__(self, checkpoint: Checkpoint, rows: int, folder: Path, leads: bool) -> None:
        folder.mkdir()
        self.population = Population(checkpoint.background, np.random.default_rng(0))
        self.state = open_state(checkpoint, rows, folder)
        self.log, self.verdicts, self.publisher = Log(rows), Verdicts(), Encodes()
        self.worker = MatchWorker(
            Connections(
                self.log,  # type: ignore[arg-type]
                self.verdicts,  # type: ignore[arg-type]
                Leads if leads else Follows,
                lambda: self.publisher,
            ),
            self.state,
            Filled(folder, self.population, rows, lambda _: None),
            checkpoint.architecture.dimension,
            SnapshotPolicy(records=NEVER, seconds=NEVER),
        )
        self.costs: list[tuple[float, float, float, int]] = []
        while leads and not self.worker.leads:
            self.worker.step()

    def step(self, items: int) -> None:
        """Take the batch that was offered, of so many items."""
        before = np.array(_clocks())
        while self.worker.applied < self.log.end() - 1:
            self.worker.step()
        wall, busy, searching = (np.array(_clocks()) - before).tolist()
        self.costs.append((wall, busy, searching, items))

    def close(self) -> None:
        """Let go of files and processes."""
        self.worker.close()


def _clocks() -> tuple[float, float, float]:
    return time.perf_counter(), time.process_time(), searchers_seconds()


def lead(run: Run, rows: int, batches: int) -> Iterator[tuple[int, list[Fetched], list[Fetched]]]:
    """Have a worker decide on a stream; yield items, records and envelopes, batch by batch."""
    stream = Stream(run.population, run.state, rows, run.publisher)
    for _ in range(batches):
        records, items = stream.batch()
        fetched = run.log.offer(records)
        run.step(items)
        yield items, fetched, run.publisher.encoded


def follow(run: Run, led: Sequence[tuple[int, list[Fetched], list[Fetched]]], candidates: bool) -> None:
    """Have a worker follow what was published, with or without what was found."""
    for items, records, envelopes in led:
        if not candidates:
            old = (msgspec.structs.replace(one, candidates=UNSET) for one in read_envelopes(envelopes))
            envelopes = [Fetched(one.offset, 0, encode(one)) for one in old]
        run.log.give(records)
        run.verdicts.give(envelopes)
        run.step(items)


def row(name: str, run: Run) -> tuple[str, float]:
    """Return a row of the table, and how many items a second."""
    *seconds, items = np.sum(run.costs[WARM_UP:], axis=0)
    wall, busy, searching = 1000 * np.array(seconds) / items
    return f"| {name} | {1000 / wall:,.0f} | {wall:.3f} | {busy:.3f} | {searching:.3f} |", 1000 / wall


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="descriptors held at the start (%(default)s)")
    parser.add_argument("--batches", type=int, default=60, help="of 256 records, items and answers (%(default)s)")
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
    envelopes = [one for *_, published in led for one in read_envelopes(published)]
    found = [len(one.candidates) for one in envelopes if isinstance(one.candidates, bytes)]
    whole = [len(one.value) for *_, published in led for one in published]
    print(f"\na follower is {rates[1] / rates[0]:.1f} times as fast as the leader")
    print(
        f"bytes of what was found for an item: median {np.median(found):.0f}, mean {np.mean(found):.0f}, "
        f"99 % {np.percentile(found, 99):.0f}, most {max(found)}; of the envelope: median {np.median(whole):.0f}"
    )


if __name__ == "__main__":
    main()
