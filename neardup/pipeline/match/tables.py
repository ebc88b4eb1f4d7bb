"""All that the state holds of items: the items, the columns of their descriptors, and the descriptors."""

from __future__ import annotations

from functools import cache
from typing import Protocol

from neardup.pipeline.match.decide import Side
from neardup.pipeline.match.evidence import Pictures
from neardup.pipeline.match.items import Item, Items, Rows
from neardup.pipeline.match.segments import Track
from neardup.pipeline.types import Descriptors, Ids


class Vectors(Protocol):
    """Where the descriptors lie; see `index.vectors.VectorFile`."""

    def append(self, ids: Ids, vectors: Descriptors) -> int: ...

    def read(self, rows: Ids) -> Descriptors: ...

    def close(self) -> None: ...


class Tables:
    """Items and rows, and the vectors, whose row numbers are those of `rows`."""

    def __init__(self, vectors: Vectors) -> None:
        self.items = Items()
        self.rows = Rows()
        self.vectors = vectors

    def pictures(self, rows: Ids) -> Pictures:
        """Return what evidence needs of these rows."""
        return Pictures(self.vectors.read(rows), self.rows.hash[rows], self.rows.background[rows])

    def side(self, item: Item) -> Side:
        """Return an item as a comparison needs it; its frames are read at most once, when they are asked for."""

        @cache  # a query is compared with many
        def track() -> Track:
            rows = item.rows
            return Track(
                pts=self.rows.pts[rows],
                vectors=self.vectors.read(rows),
                hashes=self.rows.hash[rows],
                background=self.rows.background[rows],
                speaks=self.rows.speaks[rows],
                shared=self.rows.shared[rows],
                seconds=item.seconds,
            )

        return Side(item.kind, track)
