"""Measure what an item costs the match worker at growing sizes, so that a wrong power shows.

    python -m benchmarks.bench_scale --rows 10000 100000 1000000 --references 1000 100000 --members 100 100000

Three things grow: descriptors seen, references of one curated bank, and members of one star. Worker and stream are
those of `bench_match`, with copies, look-alikes and answers. Beside a star one in 32 items is a copy of its head, is
asked about and joins a batch later. Then some of the members are removed. Processor times are
milliseconds for each item, of the median batch: of the worker with all its threads, of the thread that decides, and of
the processes that search. *Power* is that of the worker's time against size, from the row before: 0 if size costs
nothing, 1 if cost grows in proportion. With `--derive`, rows of sizes that were not measured go on with the last power,
and are marked.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time

import msgspec
import numpy as np

from benchmarks.bench_banks import add_references
from benchmarks.bench_match import Bench, Step, about
from benchmarks.descriptors import near
from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint
from neardup.pipeline.log.proofs import answer
from neardup.pipeline.log.records import Described, Record, Removed, pack_hashes, pack_vectors
from neardup.pipeline.match.data.items import link
from neardup.pipeline.prove.finding import Finding, Ground, ProofSummary, Proved

WARM_UP = 10
"""Batches."""
ITEMS = 32
"""In a batch beside a star; one of them is a copy of its head."""
PROVED = Proved(ProofSummary(finding=Finding.COPY, ground=Ground.AGREES))
HEAD = "item-0"
AROUND = 10_000
"""Descriptors seen while a bank or a star grows."""


@dataclass
class Table:
    """A table of costs by size, printed row by row.

    Attributes:
        name: of what grows.
    """

    name: str
    _sizes: list[int] = field(default_factory=list)
    _costs: list[float] = field(default_factory=list)

    def head(self) -> None:
        """Print what stands above it."""
        print(f"\n| {self.name} | worker's CPU ms an item | deciding thread's | searchers' | power |")
        print("| ---: | ---: | ---: | ---: | ---: |")

    def row(self, size: int, costs: Sequence[float]) -> None:
        """Print a row that was measured: milliseconds of the worker, its deciding thread and the searchers."""
        self._sizes.append(size)
        self._costs.append(costs[0])
        power = self._power()
        shown = "" if power is None else f"{power:.2f}"
        print(f"| {size:,} | {' | '.join(f'{one:.3f}' for one in costs)} | {shown} |", flush=True)

    def derived(self, sizes: Sequence[int]) -> None:
        """Print rows that go on with the last power."""
        power = self._power()
        for size in sizes if power is not None else ():
            if size > self._sizes[-1]:
                cost = self._costs[-1] * (size / self._sizes[-1]) ** (power or 0.0)
                print(f"| {size:,} (derived) | {cost:.3f} | | | |")

    def _power(self) -> float | None:
        if len(self._sizes) < 2 or self._sizes[-2] < 1:
            return None
        return math.log(self._costs[-1] / self._costs[-2]) / math.log(self._sizes[-1] / self._sizes[-2])


def costs_of(steps: Sequence[Step]) -> list[float]:
    """Return milliseconds for each item, of the median batch; of the searchers, whose clock is coarse, of all."""
    median = [float(np.median([1000 * getattr(one, name) / one.items for one in steps])) for name in ("busy", "thread")]
    return [*median, 1000 * sum(one.searching for one in steps) / sum(one.items for one in steps)]


def measure(bench: Bench, batches: int) -> list[float]:
    """Return what an item of the stream costs."""
    for _ in range(WARM_UP):
        bench.step()
    return costs_of([bench.step() for _ in range(batches)])


def descriptors(
    checkpoint: Checkpoint, sizes: Sequence[int], batches: int, folder: Path, derive: Sequence[int]
) -> None:
    """Print what an item costs among so many descriptors."""
    table = Table("descriptors")
    table.head()
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            bench = Bench(checkpoint, size, Path(name))
            table.row(size, measure(bench, batches))
            bench.worker.close()
    table.derived(derive)


def banks(checkpoint: Checkpoint, sizes: Sequence[int], batches: int, folder: Path | None) -> None:
    """Print what an item costs beside a bank of so many references."""
    table = Table("references")
    table.head()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        bench, held = Bench(checkpoint, AROUND, Path(name)), 0
        for size in sizes:
            add_references(bench, size - held)
            held = size
            table.row(size, measure(bench, batches))
        bench.worker.close()


class Star:
    """A head of the stream with many members, all of which it resembled before they joined."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._parts = bench.state.parts()
        self.head = self._parts.items.named(HEAD)
        self._members = 0
        self._rng = np.random.default_rng(5)

    def grow(self, size: int) -> None:
        """Have it have so many members, by a short cut: without their descriptors being matched."""
        items, rows, head = self._parts.items, self._parts.rows, self.head
        assert head is not None
        count = size - self._members
        vectors = near(np.repeat(self._parts.vectors.read(np.zeros(1, np.int64)), count, axis=0), self._rng)
        numbers = np.array([items.next_number() for _ in range(count)], np.int64)
        same = {"offset": rows.offset[len(rows) - 1], "cohort": -1, "cohort_similarity": 0.2}
        added = rows.append(
            count, item=numbers, frame=0, pts=0.0, hash=rows.hash[0], speaks=True, searched=True, **same
        )
        self._parts.vectors.append(added, vectors)
        for number, row in zip(numbers.tolist(), added.tolist(), strict=True):
            content = f"member {number}".encode().ljust(32)
            item = type(head)(
                number, f"member-{number}", head.kind, content, content[:16], (0, number), 0.0, ((row, row + 1),), 0
            )
            link(item, head)
            items.add(item)
        self._members = size

    def batch(self) -> list[Record]:
        """Return answers to all that was asked, a copy of the head, and other items."""
        asked, self._bench.publisher.asked = self._bench.publisher.asked, []
        answers = [answer(one, [PROVED if ask.reference == HEAD else None for ask in one.asks]) for one in asked]
        copy, *others = [one for one in self._bench.records()[0] if isinstance(one, Described)][:ITEMS]
        vectors = near(self._parts.vectors.read(np.zeros(1, np.int64)), self._rng)
        hashes = pack_hashes(self._parts.rows.hash[:1])
        return [*answers, msgspec.structs.replace(copy, vectors=pack_vectors(vectors), hashes=hashes), *others]

    def step(self, records: Sequence[Record], items: int = ITEMS) -> Step:
        """Have the worker take these records, of so many items."""
        self._bench.log.offer(records)
        busy = process_time()
        self._bench.worker.step()
        busy = process_time() - busy
        return Step(busy, items, busy, busy, 0.0, "")


def stars(checkpoint: Checkpoint, sizes: Sequence[int], batches: int, folder: Path | None) -> None:
    """Print what a copy of a head costs that has so many members, and a removal of one of these."""
    joining, leaving = Table("members: items, one in 32 a copy of the head"), Table("members: one is removed")
    removed: list[tuple[int, list[float]]] = []
    joining.head()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        bench = Bench(checkpoint, AROUND, Path(name))
        star = Star(bench)
        for size in sizes:
            star.grow(size)
            for _ in range(WARM_UP):
                star.step(star.batch())
            head = star.head
            assert head is not None
            before = len(head.members)
            steps = [star.step(star.batch()) for _ in range(batches)]
            if len(head.members) < before + batches // 2:
                raise SystemExit(f"{len(head.members) - before} of {batches} copies joined the star")
            joining.row(size, costs_of(steps))
            gone = [Removed(id=f"member-{number}") for number in head.members[: size // 2 : max(1, size // 40)]]
            names = [one for one in gone if one.id in bench.state.items]
            removed.append((size, costs_of([star.step([one], 1) for one in names])))
        bench.worker.close()
    leaving.head()
    for size, costs in removed:
        leaving.row(size, costs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000])
    parser.add_argument("--references", type=int, nargs="*", default=[1000, 10_000, 100_000], help="of the bank")
    parser.add_argument("--members", type=int, nargs="*", default=[100, 1000, 10_000, 100_000], help="of the star")
    parser.add_argument("--derive", type=int, nargs="*", default=[], help="descriptors of rows that are derived")
    parser.add_argument("--batches", type=int, default=20, help="that are measured of each size (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where to write, 1 kB a descriptor; by default a temporary folder")
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    checkpoint = load_checkpoint("default")
    print(about())
    if arguments.members:
        stars(checkpoint, sorted(arguments.members), arguments.batches, arguments.folder)
    if arguments.references:
        banks(checkpoint, sorted(arguments.references), arguments.batches, arguments.folder)
    if arguments.rows:
        descriptors(checkpoint, sorted(arguments.rows), arguments.batches, arguments.folder, arguments.derive)


if __name__ == "__main__":
    main()
