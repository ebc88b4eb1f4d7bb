"""Look-alikes that are no copies, and true copies of the same pictures: what a comparison of two says of each.

See `learn.variants` for what they show. Pairs are described from files and decided as by `neardup compare`. Right of a
variant is anything but `duplicate`, right of a copy is `duplicate`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.learn.shared.intervals import wilson
from neardup.pipeline.learn.variants import KINDS, Variant, render
from neardup.pipeline.learn.variants.copies import copy_of
from neardup.pipeline.learn.variants.films import cut_pairs
from neardup.pipeline.log.records import Described
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.query.compare_two import A, B, compare_both_ways
from neardup.pipeline.prove.files import FilePictures
from neardup.pipeline.prove.prover import Prover
from neardup.pipeline.types import Decision, Limits
from neardup.pipeline.where import Relation

CHUNK = 64
"""Pairs that are made, described and decided together."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A variant, and a true copy of its first picture, made in a way of `copies.WAYS`."""

    variant: Variant
    way: str
    copy: bytes

    @property
    def files(self) -> dict[str, bytes]:
        """The three pictures by the names of their files."""
        made = {"a": self.variant.a, "b": self.variant.b, "copy": self.copy}
        return {f"{self.variant.number:05}-{name}": data for name, data in made.items()}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was decided of a pair.

    Attributes:
        differs: how much of the variant differs. way: how the copy was made; "" for a variant.
        ground: see `prove.finding.Ground`; "" where nothing was proved.
    """

    kind: str
    number: int
    differs: str
    way: str
    decision: Decision
    evidence: float
    relation: Relation = Relation.COPY
    ground: str = ""


@dataclass(frozen=True, slots=True)
class VariantResult:
    """What a checkpoint said of all pairs."""

    name: str
    outcomes: list[Outcome]


@dataclass(frozen=True, slots=True)
class Shares:
    """How many of some pairs were decided how; `interval` is of the share of duplicates, 95 %."""

    pairs: int
    duplicate: float
    unsure: float
    distinct: float
    interval: tuple[float, float]


def make_samples(count: int, films: Path | None, threads: int) -> Iterator[list[Sample]]:
    """Yield `count` samples of each kind, at most CHUNK of one kind at a time; as many of films as there are.

    Raises:
        ConfigError: the films have no two frames that can be used.
    """
    with ThreadPoolExecutor(threads) as pool:
        for kind in KINDS:
            for start in range(0, count, CHUNK):
                numbers = range(start, min(start + CHUNK, count))
                yield list(pool.map(lambda number, kind=kind: _with_copy(render(kind, number)), numbers))
    pairs = cut_pairs(films, count) if films else []
    for start in range(0, len(pairs), CHUNK):
        yield list(map(_with_copy, pairs[start : start + CHUNK]))


def _with_copy(variant: Variant) -> Sample:
    return Sample(variant, *copy_of(variant.a, variant.number))


def save(samples: Iterable[Sample], folder: Path) -> None:
    """Write all files into a folder."""
    for sample in samples:
        for name, data in sample.files.items():
            (folder / name).write_bytes(data)


def judge(
    samples: Iterable[Sample],
    described: Mapping[str, Sequence[Described] | InvalidFrame],
    make: Callable[[Prover], State],
) -> list[Outcome]:
    """Return what is decided of each variant and each copy.

    Args:
        described: every file that was saved, by name. make: returns an empty state that proves with this.
    Raises:
        InvalidFrame: a file could not be described.
    """
    found = []
    for sample in samples:
        sides, sources = [], list(sample.files.values())
        for name in sample.files:
            side = described[name]
            if isinstance(side, InvalidFrame):
                raise side
            sides.append(side)
        for way, place in (("", 1), (sample.way, 2)):
            pictures = FilePictures(Limits())
            pictures.add(msgspec.structs.replace(sides[place][0], id=A), sources[place])
            pictures.add(msgspec.structs.replace(sides[0][0], id=B), sources[0])
            decided = compare_both_ways(sides[place], sides[0], partial(make, Prover(pictures)))
            variant = sample.variant
            found.append(
                Outcome(
                    variant.kind,
                    variant.number,
                    variant.differs,
                    way,
                    decided.decision,
                    decided.evidence,
                    decided.relation,
                    "" if decided.proof is None else decided.proof.ground.value,
                )
            )
    return found


def shares(outcomes: Iterable[Outcome]) -> Shares:
    """Return how these were decided."""
    count = Counter(one.decision for one in outcomes)
    total = count.total()
    order = Decision.DUPLICATE, Decision.UNSURE, Decision.DISTINCT
    duplicate, unsure, distinct = (count[one] / max(total, 1) for one in order)
    return Shares(total, duplicate, unsure, distinct, wilson(count[Decision.DUPLICATE], total))
