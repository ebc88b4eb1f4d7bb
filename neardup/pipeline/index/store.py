"""What every index is built on: the vectors, which row holds which id, and the distances that decisions are taken on.

An implementation only proposes candidate rows; `rank` computes their distances from the stored vectors and orders them,
so that both implementations answer the same for the same pair.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import UsageError
from neardup.pipeline.index.checks import check_ids, check_vectors, some
from neardup.pipeline.index.ids import IdTable
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.types import Descriptors, Ids, Neighbours

RowNumbers = npt.NDArray[np.int64]
"""Places in the vector file; -1 where there is none."""

_PAIR_FLOATS = 1 << 16  # 256 kB at a time, which stays in the cache


class Store:
    """Vectors under ids. Rows are numbered in the order in which they came and never change their number."""

    def __init__(self, dimension: int, space: str, path: Path | None = None) -> None:
        self.vectors = VectorFile(path, dimension, space)
        self._table = IdTable()
        self._alive = np.zeros(0, np.bool_)

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, item: int) -> bool:
        return item >= 0 and bool(self._table.rows_of(np.array([item], np.int64))[0] >= 0)

    def add(self, ids: Ids, vectors: Descriptors) -> RowNumbers:
        """Check and store descriptors and return their rows; errors as `Index.add`."""
        check_vectors(vectors, self.vectors.dimension)
        check_ids(ids, len(vectors))
        held = self._table.rows_of(ids) >= 0
        if held.any():
            raise UsageError(f"ids already held: {some(ids[held])}")
        first = self.vectors.append(ids, vectors)
        rows = np.arange(first, first + len(ids), dtype=np.int64)
        if first + len(ids) > len(self._alive):
            self._alive = np.concatenate([self._alive, np.zeros(len(self._alive) + len(ids) + 1024, np.bool_)])
        self._alive[rows] = True
        self._table.insert(ids, rows)
        return rows

    def remove(self, ids: Ids) -> RowNumbers:
        """Check and forget ids, erase their vectors, and return the rows that they had; errors as `Index.remove`."""
        check_ids(ids)
        rows = self._table.rows_of(ids)
        if (rows < 0).any():
            raise UsageError(f"ids not held: {some(ids[rows < 0])}")
        self._table.delete(ids)
        self._alive[rows] = False
        self.vectors.erase(rows)
        return rows

    def is_alive(self, rows: RowNumbers) -> npt.NDArray[np.bool_]:
        """Return whether each row can be found; rows of any shape, none of them -1."""
        alive: npt.NDArray[np.bool_] = self._alive[rows]
        return alive

    def live_rows(self, first: int = 0) -> RowNumbers:
        """Return the rows from `first` on that can be found, in order."""
        return np.flatnonzero(self._alive[first : len(self.vectors)]).astype(np.int64) + first

    def rank(
        self,
        queries: Descriptors,
        candidates: RowNumbers,
        k: int,
        read: Callable[[RowNumbers], Descriptors] | None = None,
    ) -> Neighbours:
        """Return the k nearest of each query's candidate rows.

        Args:
            queries: float32 (n, d). candidates: int64 (n, m), each row once per query, -1 where there is none.
            read: returns what `vectors.read` would, from where it is at hand.
        Returns:
            (n, k), ordered by distance, then id; padded with -1 and inf.
        """
        n, m = candidates.shape
        ids = np.full((n, max(m, k)), -1, np.int64)
        distances = np.full((n, max(m, k)), np.inf, np.float32)
        of_query, place = np.nonzero(candidates >= 0)
        ids[of_query, place] = self.vectors.ids(candidates[of_query, place])
        read = read or self.vectors.read
        step = max(1, _PAIR_FLOATS // self.vectors.dimension)
        for start in range(0, len(place), step):
            pair = of_query[start : start + step], place[start : start + step]
            rows = candidates[pair]
            difference = read(rows)
            difference -= queries[pair[0]]  # (pairs, d)
            distances[pair] = np.einsum("pd,pd->p", difference, difference)
        order = np.lexsort((ids, distances), axis=1)[:, :k]
        return Neighbours(np.take_along_axis(ids, order, 1), np.take_along_axis(distances, order, 1))

    def delete(self) -> None:
        """Release the vectors, and delete their file where there is one."""
        self.vectors.close()
        if self.vectors.path is not None:
            self.vectors.path.unlink(missing_ok=True)
