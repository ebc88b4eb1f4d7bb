"""Rows that Milvus must return in every search, which shows that no part of it is missing from the answer.

After the loss of a node Milvus may answer with half of its rows and no error, even to a search that asks for strong
consistency. So each collection has rows of ours, random directions under negative ids, of which each search asks for
some by their own vector: the first `SHARDS` of them lie on all shards, the others came in between the rows, one for
each `EVERY` rows, and so lie in all segments. An answer in which one of them is not the nearest to itself is refused.
"""

from __future__ import annotations

import numpy as np

from neardup.pipeline.index.rows import RowNumbers
from neardup.pipeline.types import Descriptors

SHARDS = 16
"""In every search. Milvus spreads ids over shards by a hash: of 2 shards one has none of 16 once in 33,000 collections,
and `Sentinels.ids` are the same in all collections."""
EVERY = 16_384
"""Rows for which there is one more."""
ROTATING = 8
"""Of the others, in every search, each in its turn."""
MARKER = -1
"""Id of the row that says what the leader has written, see `server.Marker`."""
_FIRST = -2


def ids_of(places: RowNumbers) -> RowNumbers:
    """Return the ids of sentinels, by place from 0."""
    return _FIRST - places


def vectors_of(places: RowNumbers, dimension: int) -> Descriptors:
    """Return their vectors, float32 (n, d), which everyone computes alike; directions that no picture is near."""
    drawn = [np.random.default_rng([dimension, place]).standard_normal(dimension) for place in places.tolist()]
    vectors = np.array(drawn, np.float64).reshape(-1, dimension)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def wanted(rows: int) -> int:
    """Return how many sentinels a collection of so many rows has."""
    return SHARDS + rows // EVERY


class Turns:
    """Chooses the sentinels of the next search."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._vectors = vectors_of(np.arange(0), dimension)
        self._next = 0

    def choose(self, count: int) -> tuple[RowNumbers, Descriptors]:
        """Return the ids and vectors of those that the next search asks for, of `count` that there are."""
        others = count - SHARDS
        turning = SHARDS + (self._next + np.arange(min(ROTATING, others))) % max(others, 1)
        self._next += ROTATING
        return self.take(np.concatenate([np.arange(min(SHARDS, count)), turning]))

    def take(self, places: RowNumbers) -> tuple[RowNumbers, Descriptors]:
        """Return the ids and vectors of sentinels by place."""
        known = len(self._vectors)
        if len(places) and places.max() >= known:
            more = vectors_of(np.arange(known, int(places.max()) + 1), self._dimension)
            self._vectors = np.concatenate([self._vectors, more])
        return ids_of(places), self._vectors[places]
