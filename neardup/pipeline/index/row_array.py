"""Rows in memory, to which rows are only ever appended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Records = np.ndarray[Any, np.dtype[np.void]]
"""(n,) of a structured row type."""
RowNumbers: TypeAlias = npt.NDArray[np.int64] | slice
"""Row numbers, from 0, taken as checked; a slice has no step."""
_LEAST_ROWS = 256


class RowArray:
    """Has the interface of `RowFile`."""

    path = None
    unwritten_bytes = 0

    def __init__(self, row: np.dtype[np.void]) -> None:
        self._array: Records = np.empty(0, row)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, records: Records) -> None:
        """Add rows after the last."""
        needed = self._length + len(records)
        if needed > len(self._array):
            grown = np.empty(max(needed, 2 * len(self._array), _LEAST_ROWS), self._array.dtype)
            grown[: self._length] = self._array[: self._length]
            self._array = grown
        self._array[self._length : needed] = records
        self._length = needed

    def take(self, rows: RowNumbers, field: str | None = None) -> npt.NDArray[Any]:
        """Return rows, or one field of them: a copy for row numbers, a view for a slice."""
        return (self._array if field is None else self._array[field])[: self._length][rows]

    def truncate(self, length: int) -> None:
        """Drop the rows after the first ones."""
        self._length = length

    def erase(self, rows: Sequence[int]) -> None:
        """Overwrite rows with zeros."""
        self._array[rows] = 0

    def sync(self) -> None:
        """Do nothing."""

    def flush(self, durable: bool) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Let go of the memory."""
        self._array = self._array[:0].copy()
        self._length = 0
