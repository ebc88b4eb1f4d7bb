"""Which row holds which id, in 16 bytes per id where a dict takes 150.

Two pairs of arrays sorted by id: a large one that is rebuilt rarely, and a small one that takes each batch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neardup.pipeline.types import Ids

_SMALLEST_MERGE = 16384
_MERGE_FRACTION = 32
_NONE = -1


class IdTable:
    """A map from id to row. Ids and rows are int64, 0 or more; arguments are taken as checked."""

    def __init__(self) -> None:
        self._large = _SortedPairs()
        self._recent = _SortedPairs()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def rows_of(self, ids: Ids) -> npt.NDArray[np.int64]:
        """Return the row of each id, -1 where the table has none."""
        recent = self._recent.rows_of(ids)
        return np.where(recent == _NONE, self._large.rows_of(ids), recent)

    def insert(self, ids: Ids, rows: npt.NDArray[np.int64]) -> None:
        """Add ids that the table does not have, each once."""
        self._recent = self._recent.merged(ids, rows)
        self._count += len(ids)
        if len(self._recent.ids) > max(_SMALLEST_MERGE, len(self._large.ids) // _MERGE_FRACTION):
            self._large = self._large.merged(self._recent.ids, self._recent.rows)
            self._recent = _SortedPairs()

    def delete(self, ids: Ids) -> None:
        """Drop ids that the table has, each once."""
        self._recent.forget(ids)
        self._large.forget(ids)
        self._count -= len(ids)


class _SortedPairs:
    """Ids in order, with the row of each; a forgotten id stays, with row -1, until the next merge."""

    def __init__(self) -> None:
        self.ids: Ids = np.empty(0, np.int64)
        self.rows = np.empty(0, np.int64)

    def _places(self, ids: Ids) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return places, self.ids[places] == ids

    def rows_of(self, ids: Ids) -> npt.NDArray[np.int64]:
        if len(self.ids) == 0:
            return np.full(len(ids), _NONE, np.int64)
        places, found = self._places(ids)
        return np.where(found, self.rows[places], _NONE)

    def forget(self, ids: Ids) -> None:
        if len(self.ids):
            places, found = self._places(ids)
            self.rows[places[found]] = _NONE

    def merged(self, ids: Ids, rows: npt.NDArray[np.int64]) -> _SortedPairs:
        held = self.rows != _NONE
        ids, rows = np.concatenate([self.ids[held], ids]), np.concatenate([self.rows[held], rows])
        order = np.argsort(ids, kind="stable")
        result = _SortedPairs()
        result.ids, result.rows = ids[order], rows[order]
        return result
