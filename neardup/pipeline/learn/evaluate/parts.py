"""Pictures with their regions, described and compared as the stream does it: the best allowed pair of parts decides.

Of two parts one must show nearly all of its picture, and both must show something; see `match/decide.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.learn.shared.nearest import CANDIDATES, nearest_places
from neardup.pipeline.match.decide.decide import WHOLE_AREA
from neardup.pipeline.match.decide.evidence import MIN_DETAIL, Evidence, Floats, make_cohort
from neardup.pipeline.media.regions import Mode, cut_regions
from neardup.pipeline.media.tile import squeeze
from neardup.pipeline.types import Embedded, Frame, Ids, Pixels

BATCH = 256
BLOCK = 512
"""Descriptors of queries that are compared with all references at a time."""
NOTHING = -2.0
"""Evidence of two pictures without an allowed pair: the least that there is."""
Kin = Mapping[int, Collection[int]]


@dataclass(frozen=True)
class Parts:
    """The descriptors of n pictures, of each picture first the whole.

    Attributes:
        embedded: m ≥ n descriptors. owner: int64 (m,), rising, the picture that each is of, 0 to n - 1.
        area: float64 (m,), the share of the picture that it shows.
    """

    embedded: Embedded
    owner: Ids
    area: npt.NDArray[np.float64]

    @property
    def first(self) -> Ids:
        """Where each picture begins, (n,)."""
        return np.flatnonzero(np.diff(self.owner, prepend=-1))

    def take(self, where: Ids | slice) -> Parts:
        """Return these descriptors alone."""
        told = self.embedded
        embedded = Embedded(told.vectors[where], told.hashes[where], told.detail[where])
        return Parts(embedded, self.owner[where], self.area[where])


def describe_parts(pictures: Sequence[Pixels], embedder: Embedder, mode: Mode) -> Parts:
    """Describe pictures, uint8 (h, w, 3) of any size, at least one, and the regions that `open_media` would cut."""
    frames: list[Frame] = []
    owner: list[int] = []
    for number, picture in enumerate(pictures):
        rgb = picture if picture.flags.writeable else picture.copy()  # torch warns of others, as Pillow's are
        tile = squeeze(rgb, embedder.size)
        own = [Frame(0.0, tile), *cut_regions(tile, rgb, mode)]
        frames += own
        owner += [number] * len(own)
    batches = [np.stack([frame.tile for frame in frames[i : i + BATCH]]) for i in range(0, len(frames), BATCH)]
    found = [embedder.embed(batch) for batch in batches]
    embedded = Embedded(
        np.concatenate([one.vectors for one in found]),
        np.concatenate([one.hashes for one in found]),
        np.concatenate([one.detail for one in found]),
    )
    boxes = np.array([frame.box or (0.0, 0.0, 1.0, 1.0) for frame in frames])
    return Parts(embedded, np.array(owner), np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))


def best_evidence(
    rule: Evidence,
    queries: Parts,
    references: Parts,
    cost: Callable[[int], float] | None = None,
    kin: Kin = {},  # noqa: B006 (only read)
) -> Floats:
    """Return the evidence of the best allowed pair of parts of each query and reference, float32 (q, r).

    Args:
        cost: what a part of a query that has n counts less than the whole: n chances, as decisions count them.
        kin: for references those that resemble them, see `find_kin`.
    """
    rows = np.concatenate(
        [
            _best_of_references(rule, queries.take(slice(start, start + BLOCK)), references, kin)
            for start in range(0, len(queries.owner), BLOCK)
        ]
    )
    if cost is not None:
        first, count = queries.first, np.bincount(queries.owner)[queries.owner]
        costs = np.array([cost(n) for n in range(count.max() + 1)], dtype=np.float32)[count]
        costs[first] = 0.0
        rows -= costs[:, None]
    return np.asarray(np.maximum.reduceat(rows, queries.first, axis=0))


def find_kin(rule: Evidence, references: Parts, least: float) -> Kin:
    """Return for references those whose evidence for them, or theirs for these, reaches `least`.

    In the stream every reference was a query once, and what it resembled is known.
    """
    found: dict[int, set[int]] = {}
    for start in range(0, len(references.owner), BLOCK):
        some = references.take(slice(start, start + BLOCK))
        query, reference = np.nonzero(_best_of_references(rule, some, references, {}, apart=True) >= least)
        for a, b in zip(some.owner[query].tolist(), reference.tolist(), strict=True):
            found.setdefault(a, set()).add(b)
            found.setdefault(b, set()).add(a)
    return found


def _best_of_references(rule: Evidence, queries: Parts, references: Parts, kin: Kin, apart: bool = False) -> Floats:
    """Return the best evidence of each descriptor of queries and each reference, (descriptors, r).

    Args:
        apart: queries are references themselves, and not compared with themselves.
    """
    q, r = queries.embedded, references.embedded
    speaks = q.detail >= MIN_DETAIL, r.detail >= MIN_DETAIL
    similarity = q.vectors @ r.vectors.T
    if apart:
        similarity[queries.owner[:, None] == references.owner] = -np.inf
    known = np.where(speaks[1], similarity, -np.inf)
    places, nearest = nearest_places(known, CANDIDATES)
    items = np.where(np.isfinite(nearest), references.owner[places], -1)
    cohort = make_cohort(items, nearest, rule.nearest_background(q.vectors))
    bits = differing(np.unpackbits(q.hashes, axis=1), np.unpackbits(r.hashes, axis=1))
    evidence = rule.of(2 - 2 * similarity, bits, cohort.shift()[:, None])
    allowed = np.maximum(queries.area[:, None], references.area) >= WHOLE_AREA
    evidence[~(allowed & speaks[0][:, None] & speaks[1])] = NOTHING
    best = np.asarray(np.maximum.reduceat(evidence, references.first, axis=1))
    # The cohort does without the candidate and its kin.
    row, place = np.nonzero(cohort.items >= 0)
    pairs = {(i, n) for i, item in zip(row.tolist(), cohort.items[row, place].tolist(), strict=True)
             for n in (item, *kin.get(item, ()))}  # fmt: skip
    if pairs:
        query, reference = np.array(sorted(pairs)).T
        more = cohort.shift()[query] - cohort.shifts(query, reference, lambda number: kin.get(number, ()))
        told = best[query, reference]
        best[query, reference] = np.where(told > NOTHING, told + rule.cohort_weight * more, NOTHING)
    return best


def differing(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return how many bits, each 0 or 1, differ of (n, b) and (m, b): (n, m).

    By a product of ±1: quicker than XOR where all pairs are wanted.
    """
    left, right = a.astype(np.float32) * 2 - 1, b.astype(np.float32) * 2 - 1
    return np.asarray(np.rint((a.shape[1] - left @ right.T) / 2), dtype=np.int64)
