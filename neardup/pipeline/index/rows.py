"""Something known of some rows of a vector file, by their numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

RowNumbers = npt.NDArray[np.int64]
"""Rows of a vector file, from 0; -1 where there is none."""
_PAGE_BITS = 8
_PAGE = 1 << _PAGE_BITS


class RowMap:
    """A value for each row, in pages of 256 rows, so that the few rows of a bank, far apart, take little room.

    All rows of a page together take as many bytes as one value each; of a row that was never set, nothing.
    """

    def __init__(self, dtype: npt.DTypeLike, absent: int) -> None:
        """Make an empty map, which answers `absent` for every row."""
        self._absent = absent
        self._pages = np.zeros(1, np.int32)  # by row // _PAGE, place in _values; 0 is a page of absent ones; ends in it
        self._values: npt.NDArray[Any] = np.full((1, _PAGE), absent, dtype)
        self._used = 1

    def __getitem__(self, rows: RowNumbers) -> npt.NDArray[Any]:
        """Return the values of rows of any shape; `absent` for -1."""
        page = self._pages[np.minimum(rows >> _PAGE_BITS, len(self._pages) - 1)]
        values: npt.NDArray[Any] = self._values[page, rows & (_PAGE - 1)]
        return values

    def __setitem__(self, rows: RowNumbers, values: npt.ArrayLike) -> None:
        """Set the values of rows, none of them -1."""
        if len(rows) == 0:
            return
        page = rows >> _PAGE_BITS
        needed = int(page.max()) + 2
        if needed > len(self._pages):
            self._pages = np.pad(self._pages, (0, max(needed, len(self._pages) * 5 // 4) - len(self._pages)))
        new = np.unique(page[self._pages[page] == 0])
        self._make(new)
        self._values[self._pages[page], rows & (_PAGE - 1)] = values

    def _make(self, pages: npt.NDArray[np.int64]) -> None:
        end = self._used + len(pages)
        if end > len(self._values):
            grown = np.full((max(end, len(self._values) * 5 // 4), _PAGE), self._absent, self._values.dtype)
            grown[: self._used] = self._values[: self._used]
            self._values = grown
        self._pages[pages] = np.arange(self._used, end)
        self._used = end
