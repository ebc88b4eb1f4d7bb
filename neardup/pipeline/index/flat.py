"""Nearest rows by comparing with all of them: a matrix product, on the CPU or a GPU.

The scores of a product (1 − d²/2) are only good to about 1e-6, which is not enough to order copies of one picture. So
`candidates` proposes every row that could belong to the k nearest, given that error, and `Store.rank` decides.
"""

from __future__ import annotations

import numpy as np

from neardup.pipeline.index.products import Block, Products
from neardup.pipeline.index.store import RowNumbers, Store
from neardup.pipeline.types import Descriptors

_BLOCK_ROWS = 16384
_SPARE = 8
"""Candidates beyond k, nearly always enough to see that no further row can tie with the k-th."""
_MOST_TIES = 4096
"""Of more rows than these within the error of the k-th score, the earliest added are proposed."""


class Flat:
    """Rows in blocks of `_BLOCK_ROWS`, always dense: a removed row's place is taken by the last one."""

    def __init__(self, dimension: int, products: Products) -> None:
        self._dimension = dimension
        self._products = products
        self._blocks: list[Block] = []
        self._rows = np.zeros(0, np.int64)  # by place
        self._places = np.zeros(0, np.int64)  # by row number − _first
        self._first = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def bytes(self) -> int:
        """Memory of the vectors."""
        return len(self._blocks) * _BLOCK_ROWS * self._dimension * 4

    def add(self, rows: RowNumbers, vectors: Descriptors) -> None:
        """Add rows, numbered above all that were added before, with their unit vectors, float32 (n, d)."""
        if len(rows) == 0:
            return
        if self._length == 0:
            self._first = int(rows[0])
        end = self._length + len(rows)
        while len(self._blocks) * _BLOCK_ROWS < end:
            self._blocks.append(self._products.new_block(_BLOCK_ROWS, self._dimension))
        self._rows = _grown(self._rows, end)
        self._places = _grown(self._places, int(rows[-1]) - self._first + 1)
        places = np.arange(self._length, end)
        self._put(places, rows, vectors)
        self._length = end

    def read(self, rows: RowNumbers) -> Descriptors:
        """Return the vectors of rows that are there, float32 (n, d)."""
        return self._get(self._places[rows - self._first])

    def since(self, first: int) -> Flat:
        """Return a copy with the rows from row `first` on."""
        places = np.flatnonzero(self._rows[: self._length] >= first)
        places = places[np.argsort(self._rows[places])]
        result = Flat(self._dimension, self._products)
        for start in range(0, len(places), _BLOCK_ROWS):
            some = places[start : start + _BLOCK_ROWS]
            result.add(self._rows[some], self._get(some))
        return result

    def fill(self, store: Store, first: int = 0) -> None:
        """Add the rows of a store, from row `first` on, that can be found."""
        rows = store.live_rows(first)
        for start in range(0, len(rows), _BLOCK_ROWS):
            some = rows[start : start + _BLOCK_ROWS]
            self.add(some, store.vectors.read(some))

    def remove(self, rows: RowNumbers) -> None:
        """Drop rows that are there, each once."""
        gone = self._places[rows - self._first]
        self._length -= len(gone)
        moved = np.setdiff1d(np.arange(self._length, self._length + len(gone)), gone, assume_unique=True)
        self._put(gone[gone < self._length], self._rows[moved], self._get(moved))
        del self._blocks[-(-self._length // _BLOCK_ROWS) :]

    def candidates(self, queries: Descriptors, k: int) -> RowNumbers:
        """Return rows (n, m) among which are the k nearest of each query however ties are resolved; -1 is padding."""
        queries = np.ascontiguousarray(queries)
        at_once = self._products.queries_at_once
        parts = [self._candidates(queries[start : start + at_once], k) for start in range(0, len(queries), at_once)]
        result = np.full((len(queries), max((part.shape[1] for part in parts), default=0)), -1, np.int64)
        for start, part in zip(range(0, len(queries), at_once), parts, strict=True):
            result[start : start + len(part), : part.shape[1]] = part
        return result

    def _candidates(self, queries: Descriptors, k: int) -> RowNumbers:
        if self._length == 0:
            return np.empty((len(queries), 0), np.int64)
        blocks = self._filled()
        scores, places = self._products.best(queries, blocks, min(k + _SPARE, self._length))
        rows: RowNumbers = self._rows[places]
        if rows.shape[1] == self._length:
            return rows
        least = scores[:, k - 1] - self._products.error
        more = {}
        for query in np.flatnonzero(scores[:, -1] >= least).tolist():
            reached = self._products.reaching(queries[query], blocks, float(least[query]))
            tied = np.sort(self._rows[reached])[:_MOST_TIES]
            more[query] = np.setdiff1d(tied, rows[query], assume_unique=True)
        width = max(map(len, more.values()), default=0)
        result = np.concatenate([rows, np.full((len(rows), width), -1, np.int64)], axis=1)
        for query, tied in more.items():
            result[query, rows.shape[1] : rows.shape[1] + len(tied)] = tied
        return result

    def _filled(self) -> list[Block]:
        """Return the blocks without the unused end of the last one."""
        return [block[: self._length - number * _BLOCK_ROWS] for number, block in enumerate(self._blocks)]

    def _put(self, places: RowNumbers, rows: RowNumbers, vectors: Descriptors) -> None:
        self._rows[places] = rows
        self._places[rows - self._first] = places
        for number in np.unique(places // _BLOCK_ROWS).tolist():
            here = np.flatnonzero(places // _BLOCK_ROWS == number)
            self._products.put(self._blocks[number], places[here] - number * _BLOCK_ROWS, vectors[here])

    def _get(self, places: RowNumbers) -> Descriptors:
        if len(self._blocks) == 1:
            return self._products.get(self._blocks[0], places)
        vectors = np.empty((len(places), self._dimension), np.float32)
        for number in np.unique(places // _BLOCK_ROWS).tolist():
            here = np.flatnonzero(places // _BLOCK_ROWS == number)
            vectors[here] = self._products.get(self._blocks[number], places[here] - number * _BLOCK_ROWS)
        return vectors


def _grown(array: RowNumbers, needed: int) -> RowNumbers:
    if needed <= len(array):
        return array
    return np.concatenate([array, np.zeros(max(needed, 2 * len(array), 1024) - len(array), np.int64)])
