"""All that the state holds of items: the items, the columns of their descriptors, and the descriptors."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from neardup.pipeline.index import Index
from neardup.pipeline.log.records import FULL
from neardup.pipeline.match.data.items import Item, Items, Rows
from neardup.pipeline.match.decide.decide import Side
from neardup.pipeline.match.decide.evidence import Cohort, Pictures
from neardup.pipeline.match.decide.segments import Track
from neardup.pipeline.types import Descriptors, Ids, Kind

READ_WHOLE = 1024
"""Frames up to which all descriptors of a video are read at once."""


class Vectors(Protocol):
    """Where the descriptors lie; see `index.vectors.VectorFile`."""

    @property
    def unwritten_bytes(self) -> int: ...

    def append(self, ids: Ids, vectors: Descriptors) -> int: ...

    def read(self, rows: Ids) -> Descriptors: ...

    def as_stored(self, vectors: Descriptors) -> Descriptors: ...

    def close(self) -> None: ...


class Frames:
    """Frames of a live video, in order of time, in whatever order they come.

    Attributes:
        pts: seconds, rising. rows: the row of each.
        running: more are to come.
    """

    def __init__(self, pts: Iterable[float] = (), rows: Iterable[int] = (), running: bool = True) -> None:
        self.pts = array("d", pts)
        self.rows = array("q", rows)
        self.running = running

    def __len__(self) -> int:
        return len(self.pts)

    def __contains__(self, pts: float) -> bool:
        place = bisect_left(self.pts, pts)
        return place < len(self.pts) and self.pts[place] == pts

    def add(self, pts: float, row: int) -> None:
        """Take in a frame."""
        place = bisect_left(self.pts, pts)
        self.pts.insert(place, pts)
        self.rows.insert(place, row)

    def newest(self, count: int) -> tuple[npt.NDArray[np.float64], Ids]:
        """Return seconds and rows of the last frames, at most so many."""
        return np.array(self.pts[-count:]), np.array(self.rows[-count:])

    def drop_oldest(self, count: int) -> Ids:
        """Forget the first frames and return their rows."""
        dropped = np.array(self.rows[:count])
        del self.pts[:count], self.rows[:count]
        return dropped


class Tables:
    """Items and rows, and the vectors, whose row numbers are those of `rows`.

    Attributes:
        live: frames of the items that are live videos, by number: those of others stand in `Item.ranges`.
    """

    def __init__(self, vectors: Vectors) -> None:
        self.items = Items()
        self.rows = Rows()
        self.live: dict[int, Frames] = {}
        self.vectors = vectors

    def rows_of(self, item: Item) -> Ids:
        """Return the rows of an item's descriptors, int64 (n,), in order of time."""
        frames = self.live.get(item.number)
        return item.rows if frames is None else np.array(frames.rows)

    def names(self, rows: Ids) -> tuple[Ids, Ids]:
        """Return what the log calls rows; see `Rows.names`."""
        return self.rows.names(rows)

    def named(self, offsets: Ids, numbers: Ids) -> Ids:
        """Return the rows that the log calls so; see `Rows.named`."""
        return self.rows.named(offsets, numbers)

    def frames_of(self, item: Item, rows: Ids) -> Ids:
        """Return the place within the item of each of these rows of it."""
        frames = self.live.get(item.number)
        return self.rows.frame[rows] if frames is None else np.searchsorted(np.array(frames.pts), self.rows.pts[rows])

    def share(self, item: Item, reference: Item, stretches: Sequence[tuple[float, float]]) -> None:
        """Count an item for the frames of another that it shows, from and to these seconds."""
        item.shares += tuple((reference.number, start, end) for start, end in stretches)
        self.rows.shared[self._within(reference, stretches)] += 1

    def unshare(self, item: Item) -> None:
        """Count an item no more, for it is removed."""
        stretches: dict[int, list[tuple[float, float]]] = {}
        for number, start, end in item.shares:
            stretches.setdefault(number, []).append((start, end))
        for number, some in stretches.items():
            if (reference := self.items.get(number)) is not None:
                rows = self._within(reference, some)
                self.rows.shared[rows] = np.maximum(self.rows.shared[rows] - 1, 0)

    def _within(self, item: Item, stretches: Sequence[tuple[float, float]]) -> Ids:
        rows = self.rows_of(item)
        pts = self.rows.pts[rows]
        within = np.zeros(len(rows), dtype=np.bool_)
        for start, end in stretches:
            within |= (pts >= start) & (pts <= end)
        return rows[within]

    def pictures(self, rows: Ids) -> Pictures:
        """Return what evidence needs of these rows."""
        return Pictures(self.vectors.read(rows), self.rows.hash[rows], self.cohort(rows))

    def cohort(self, rows: Ids) -> Cohort:
        """Return the neighbours that these rows had among what was seen when they arrived."""
        return Cohort(self.rows.cohort[rows].astype(np.int64), self.rows.cohort_similarity[rows])

    def track(self, rows: Ids, begin: float, end: float) -> Track:
        """Return frames of a video in order of time, from `begin` to `end` seconds; descriptors are read when used."""
        return Track(
            pts=self.rows.pts[rows],
            vectors=_Stored(self.vectors, rows),
            hashes=self.rows.hash[rows],
            speaks=self.rows.speaks[rows],
            shared=self.rows.shared[rows],
            seconds=end,
            begin=begin,
        )

    def side(self, item: Item) -> Side:
        """Return an item as a comparison needs it; the frames of a video are read at most once, when asked for."""
        live = self.live.get(item.number)

        def track() -> Track:
            return self.track(self.rows_of(item), live.pts[0] if live else 0.0, item.seconds)

        # a video is compared with many, an image's frame is not asked for
        once = cache(track) if item.kind is Kind.VIDEO else track
        regions = live is None and sum(stop - start for start, stop in item.ranges) > 1
        boxes = self.rows.box[item.rows] if regions else None
        if item.kind is Kind.VIDEO and boxes is not None and (boxes == _ALL).all():  # most films have none
            boxes = None
        return Side(
            item.kind,
            once,
            running=live is not None and live.running,
            boxes=boxes,
            sound=item.sound,
            doubt=item.doubt,
        )


_ALL = np.array([0, 0, FULL, FULL], dtype=np.uint16)


class _Stored:
    """Descriptors in the vector file, (t, d); see `segments.Gathered`."""

    def __init__(self, vectors: Vectors, rows: Ids) -> None:
        self._vectors = vectors
        self._rows = rows
        self._all: Descriptors | None = None

    def __getitem__(self, places: Ids) -> Descriptors:
        if len(self._rows) > READ_WHOLE:
            return self._vectors.read(self._rows[places])
        if self._all is None:
            self._all = self._vectors.read(self._rows)
        return self._all[places]


MIN_REFERENCES = 2000
"""Thresholds assume at least so many: a young index is no reason to believe weak evidence. It will grow, and until then
its cohorts are small, so that look-alikes have more evidence than among many."""


class Heads:
    """Heads and their descriptors; the index follows when it is asked for, for all changes at once.

    Attributes, since `begin`:
        dropped: rows that are searched no more. linked: numbers of items that turned out to resemble another.
        others_added: whether rows were added that are not of the batch.
    """

    def __init__(self, index: Index, tables: Tables) -> None:
        self._index = index
        self._tables = tables
        self._references = len(index)
        self._coming: dict[int, None] = {}
        self._leaving: dict[int, None] = {}
        self._batch: set[int] = set()
        self._numbers: set[int] = set()
        self.dropped: list[int] = []
        self.linked: list[int] = []
        self.others_added = False

    @property
    def index(self) -> Index:
        """The index, with all heads in it."""
        self.flush()
        return self._index

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
        for row in self._searched(rows):
            if row in self._leaving:
                del self._leaving[row]
            else:
                self._coming[row] = None
            self.others_added = self.others_added or row not in self._batch
            self._references += 1

    def remove(self, item: Item) -> None:
        """Take a head's descriptors out of the index."""
        self.drop(self._tables.rows_of(item))

    def drop(self, rows: Ids) -> None:
        """Take some of a head's descriptors out of the index."""
        for row in self._searched(rows):
            if row in self._coming:
                del self._coming[row]
            else:
                self._leaving[row] = None
            self.dropped.append(row)
            self._references -= 1

    def flush(self) -> None:
        """Have the index follow."""
        if self._leaving:
            rows, self._leaving = np.array(list(self._leaving), np.int64), {}
            self._index.remove(rows)
        if self._coming:
            rows, self._coming = np.array(list(self._coming), np.int64), {}
            self._index.add(rows)

    def begin(self, batch: Ids) -> None:
        """Begin a batch, all of which is searched for at once; `batch` are its rows."""
        self._batch = set(batch.tolist())
        self._numbers = set(self._tables.rows.item[batch].tolist())
        self.dropped, self.linked, self.others_added = [], [], False

    def note_link(self, a: Item, b: Item) -> None:
        """Remember that two items resemble each other since the batch was searched for."""
        if self._numbers.isdisjoint((a.number, b.number)):  # else one is of the batch, which is looked at as it goes on
            self.linked += [a.number, b.number]

    def count_again(self) -> None:
        """Take over an index that was restored."""
        self._references = len(self.index)

    def delete(self) -> None:
        """Release the index for good; see `Index.drop`."""
        self._index.drop()

    def close(self) -> None:
        """Release the index."""
        self._index.close()

    def _searched(self, rows: Ids) -> list[int]:
        found: list[int] = rows[self._tables.rows.searched[rows]].tolist()
        return found
