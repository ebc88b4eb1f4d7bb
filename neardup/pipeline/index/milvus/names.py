"""Which id a row of the vector file has in Milvus: the log offset of its record and its number within that."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from neardup.pipeline.index.rows import RowNumbers

_NUMBER_BITS = 20
_MOST_OFFSETS = 1 << (63 - _NUMBER_BITS)


class Names(Protocol):
    """What the log calls rows; see `match.data.items.Rows`. Later rows have higher names."""

    def names(self, rows: RowNumbers) -> tuple[RowNumbers, RowNumbers]: ...

    def named(self, offsets: RowNumbers, numbers: RowNumbers) -> RowNumbers: ...


class RowsAsOffsets:
    """Names for rows that no log knows: each is a record of its own."""

    def names(self, rows: RowNumbers) -> tuple[RowNumbers, RowNumbers]:
        """See `Names`."""
        return rows, np.zeros_like(rows)

    def named(self, offsets: RowNumbers, numbers: RowNumbers) -> RowNumbers:
        """See `Names`."""
        return np.where(numbers == 0, offsets, -1)


def ids_of(names: Names, rows: RowNumbers) -> RowNumbers:
    """Return the ids of rows, (n,); -1 for a row that cannot have one, as those of before rows had offsets."""
    offsets, numbers = names.names(rows)
    usable = (offsets >= 0) & (offsets < _MOST_OFFSETS) & (numbers >= 0) & (numbers < 1 << _NUMBER_BITS)
    return np.where(usable, offsets << _NUMBER_BITS | numbers, -1)


def rows_of(names: Names, ids: RowNumbers) -> RowNumbers:
    """Return the rows of ids of any shape; -1 where there is none."""
    flat = np.maximum(ids.ravel(), 0)
    rows = names.named(flat >> _NUMBER_BITS, flat & ((1 << _NUMBER_BITS) - 1))
    return np.where(ids.ravel() < 0, -1, rows).reshape(ids.shape)


def first_after(offset: int) -> int:
    """Return the lowest id of records after an offset."""
    return (offset + 1) << _NUMBER_BITS
