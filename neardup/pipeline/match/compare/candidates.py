"""Find the earlier descriptors that resemble those of a batch: what the index holds, and the batch itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from neardup.pipeline.match.data.tables import Heads, Tables
from neardup.pipeline.match.decide.decide import Judge, Pairs
from neardup.pipeline.match.decide.evidence import Evidence, Pictures, differing_bits, near
from neardup.pipeline.types import Ids, Kind

CANDIDATES = 64
"""Nearest descriptors fetched for each descriptor of a query."""
MOST_CANDIDATES = 1024
"""The same where all of those are likely matches."""
SEARCHED_AT_ONCE = 256
"""Descriptors looked up in one call of the index, which bounds its memory."""
Bools = npt.NDArray[np.bool_]
Floors = npt.NDArray[np.float64]


class Candidates:
    """Searches for pairs whose evidence is worth a comparison of the items they belong to."""

    def __init__(self, tables: Tables, heads: Heads, evidence: Evidence, judge: Judge) -> None:
        self._tables = tables
        self._heads = heads
        self._evidence = evidence
        self._judge = judge

    def of_batch(self, rows: Sequence[Ids], kinds: Sequence[Kind], among_themselves: bool = True) -> list[Pairs]:
        """Return for each item of a batch its pairs with all that is earlier; the query is a frame of the item.

        Args:
            rows: of each item, in order of the log; not in the index yet.
            among_themselves: whether earlier items of the batch count too.
        """
        if not rows:
            return []
        frames = [len(some) for some in rows]
        together = np.concatenate(rows)
        pictures, speaks = self._tables.pictures(together), self._tables.rows.speaks[together]
        floor = np.repeat([self._floor(kind) for kind in kinds], frames)
        pairs = self.search(pictures, speaks, CANDIDATES, floor)
        items = self._tables.rows.item
        pairs = pairs.take(np.flatnonzero(items[pairs.reference] != items[together[pairs.query]]))  # a live video's own
        if len(rows) > 1 and among_themselves:
            pairs = self._with_earlier_in_batch(pairs, together, pictures, speaks, floor)
        return split(pairs, frames)

    def search(self, pictures: Pictures, speaks: Bools, k: int, floor: Floors) -> Pairs:
        """Return pairs of n pictures, by place, with indexed descriptors whose evidence reaches the floor, (n,)."""
        index = self._heads.index
        asking = np.flatnonzero(speaks)
        if asking.size == 0 or len(index) == 0:
            return _NO_PAIRS
        parts = [
            self._search_some(pictures, asking[start : start + SEARCHED_AT_ONCE], min(k, len(index)), floor)
            for start in range(0, len(asking), SEARCHED_AT_ONCE)
        ]
        return join_pairs(parts)

    def _floor(self, kind: Kind) -> float:
        """Return the evidence that a pair needs to matter: frames vote, an image alone must be more than distinct."""
        if kind is Kind.VIDEO:
            return self._judge.min_vote
        return max(self._judge.min_vote, self._judge.thresholds(self._heads.chances).min_unsure)

    def _search_some(self, pictures: Pictures, asking: Ids, k: int, floor: Floors) -> Pairs:
        index = self._heads.index
        found = index.search(pictures.vectors[asking], k)
        bits = differing_bits(pictures.hashes[asking][:, None], self._tables.rows.hash[found.ids])  # (n, k)
        strength = self._evidence.of(found.distances, bits, pictures.background[asking][:, None])
        # Where every candidate is likely a match, a still video may have filled the places of others.
        crowded = strength[:, -1] >= self._judge.thresholds(self._heads.chances).min_unsure
        more = min(MOST_CANDIDATES, len(index))
        if k >= more or not crowded.any():
            crowded[:] = False
        query, place = np.nonzero((strength >= floor[asking][:, None]) & (found.ids >= 0) & ~crowded[:, None])
        pairs = Pairs(asking[query], found.ids[query, place], found.distances[query, place], strength[query, place])
        if k >= MOST_CANDIDATES:
            pairs = self._nearest_of_each_item(pairs)
        if not crowded.any():
            return pairs
        pairs = join_pairs([pairs, self._search_some(pictures, asking[crowded], more, floor)])
        return pairs.take(np.argsort(pairs.query, kind="stable"))

    def _nearest_of_each_item(self, pairs: Pairs) -> Pairs:
        """Keep for each query, whose pairs are sorted by distance, no more than CANDIDATES descriptors of one item."""
        items = self._tables.rows.item[pairs.reference]
        order = np.lexsort((items, pairs.query))
        new = np.diff(pairs.query[order], prepend=-1) | np.diff(items[order], prepend=-1)
        starts = np.flatnonzero(new)
        rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        return pairs.take(np.sort(order[rank < CANDIDATES]))

    def _with_earlier_in_batch(
        self, pairs: Pairs, rows: Ids, pictures: Pictures, speaks: Bools, floor: Floors
    ) -> Pairs:
        """Add pairs with earlier rows of the same batch, which are not in the index yet, and sort by query."""
        query, reference, distance, strength = near(self._evidence, pictures, pictures, floor)
        items = self._tables.rows.item[rows]
        searched = self._tables.rows.searched[rows]
        kept = (query > reference) & speaks[query] & searched[reference] & (items[query] != items[reference])
        query = np.concatenate([pairs.query, query[kept]])
        order = np.argsort(query, kind="stable")
        return Pairs(
            query[order],
            np.concatenate([pairs.reference, rows[reference[kept]]])[order],
            np.concatenate([pairs.distance, distance[kept]])[order],
            np.concatenate([pairs.evidence, strength[kept]])[order],
        )


def split(pairs: Pairs, frames: Sequence[int]) -> list[Pairs]:
    """Cut pairs that are sorted by query into those of each item, the query counted from its first frame."""
    firsts = [0, *np.cumsum(frames).tolist()]
    borders = np.searchsorted(pairs.query, firsts).tolist()
    found = []
    for first, start, stop in zip(firsts, borders, borders[1:], strict=False):
        one = pairs.take(slice(start, stop))
        found.append(Pairs(one.query - first, one.reference, one.distance, one.evidence))
    return found


_NO_ROWS = np.zeros(0, dtype=np.int64)
_NO_PAIRS = Pairs(_NO_ROWS, _NO_ROWS, np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.float32))


def join_pairs(parts: Sequence[Pairs]) -> Pairs:
    """Return pairs one after another."""
    return Pairs(
        np.concatenate([part.query for part in parts]),
        np.concatenate([part.reference for part in parts]),
        np.concatenate([part.distance for part in parts]),
        np.concatenate([part.evidence for part in parts]),
    )
