"""What later items are compared with: the heads of stars, whose descriptors the index holds."""

from __future__ import annotations

import numpy as np

from neardup.pipeline.index import Index
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.match.data.tables import Tables
from neardup.pipeline.types import Ids

MIN_REFERENCES = 500
"""Thresholds assume at least so many: a young index is no reason to believe weak evidence, it will grow."""


class Heads:
    """Heads and their descriptors; new ones are found in the index only after `flush`."""

    def __init__(self, index: Index, tables: Tables) -> None:
        self.index = index
        self._tables = tables
        self._references = len(index)
        self._unindexed: list[Ids] = []

    @property
    def chances(self) -> int:
        """References that a query is judged among."""
        return max(self._references, MIN_REFERENCES)

    def add(self, item: Item) -> None:
        """Make an item the head of a star of its own."""
        item.head = item.number
        self.extend(self._tables.rows_of(item))

    def extend(self, rows: Ids) -> None:
        """Add descriptors of a head, as far as they are to be searched."""
        rows = self._searched(rows)
        self._unindexed.append(rows)
        self._references += len(rows)

    def remove(self, item: Item) -> None:
        """Take a head's descriptors out of the index."""
        self.drop(self._tables.rows_of(item))

    def drop(self, rows: Ids) -> None:
        """Take some of a head's descriptors out of the index."""
        self.flush()
        rows = self._searched(rows)
        self.index.remove(rows)
        self._references -= len(rows)

    def flush(self) -> None:
        """Put the descriptors of new heads into the index."""
        if self._unindexed:
            rows = np.concatenate(self._unindexed)
            self._unindexed = []
            self.index.add(rows)

    def count_again(self) -> None:
        """Take over an index that was restored."""
        self._references = len(self.index)

    def _searched(self, rows: Ids) -> Ids:
        return rows[self._tables.rows.searched[rows]]
