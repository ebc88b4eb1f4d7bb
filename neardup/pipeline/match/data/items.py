"""The tables of the state: one row per descriptor, one item per image or video, and the stars that items form.

A star is a head and the items that copy it as a whole. A member is compared with nothing but its head, so similarity
never chains from member to member into one huge group.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from neardup.pipeline.match.decide.evidence import COHORT, NEIGHBOURS, Cohort
from neardup.pipeline.types import Boxes, Doubt, Hashes, Ids, Kind

NO_ROW = -1


@dataclass(slots=True)
class Item:
    """What the state knows of an image or video.

    Attributes:
        number: place in order of arrival; the lower number is the earlier item.
        source: partition and offset in `media`.
        ranges: [first, stop) rows of its descriptors, in order of time; none for a live video, see `tables.Frames`.
        head: number of the head of its star, its own number if it is one.
        members: numbers of the items that copy it, in order of arrival, if it is a head.
        shares: stretches of others that it shows and counts for: number of the item, first and last second.
        kin: numbers of the items that it is unsure or better to match, where both are or were heads, rising: what
            cohorts leave out beside it, see `evidence`.
        similar: row of its vector in `similars`; NO_ROW without one.
        offset: in the log, of the record that completed it; -1 if it came from a snapshot of a time before this field.
        sound: see `types.Extras`. doubt: see `types.doubt_of`.
    """

    number: int
    id: str
    kind: Kind
    sha256: bytes
    pixels_digest: bytes
    source: tuple[int, int]
    seconds: float
    ranges: tuple[tuple[int, int], ...]
    head: int = -1
    members: list[int] = field(default_factory=list)
    shares: tuple[tuple[int, float, float], ...] = ()
    similar: int = NO_ROW
    kin: list[int] = field(default_factory=list)
    sound: bytes = b""
    doubt: Doubt = Doubt.NO
    offset: int = -1

    @property
    def rows(self) -> Ids:
        """Rows of its descriptors, int64 (n,), in order of time."""
        if len(self.ranges) == 1:
            return np.arange(*self.ranges[0], dtype=np.int64)
        return np.concatenate([np.arange(a, b, dtype=np.int64) for a, b in self.ranges])

    @property
    def is_plain(self) -> bool:
        """Whether it is an image with one descriptor, of all of it, as most."""
        return self.kind is Kind.IMAGE and len(self.ranges) == 1 and self.ranges[0][1] - self.ranges[0][0] == 1

    @property
    def is_head(self) -> bool:
        """Whether later items are compared with it."""
        return self.head == self.number


def link(a: Item, b: Item) -> None:
    """Remember that two items resemble each other."""
    for one, other in ((a, b), (b, a)):
        place = bisect_left(one.kin, other.number)
        if one.kin[place : place + 1] != [other.number]:
            one.kin.insert(place, other.number)


class Items:
    """Live items, found by number, id, content or pixels; the earliest of identical ones is found first."""

    def __init__(self) -> None:
        self._by_number: dict[int, Item] = {}
        self._by_id = Shards[str, int]()
        self._by_content = Twins()
        self._by_pixels = Twins()
        self._next_number = 0

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._by_number.values())

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._by_id

    def next_number(self) -> int:
        """Return a number higher than any before."""
        self._next_number += 1
        return self._next_number - 1

    def get(self, number: int) -> Item | None:
        """Return the live item of this number."""
        return self._by_number.get(number)

    def kin(self, number: int) -> Sequence[int]:
        """Return the kin of an item, see `Item`; () if it is not live."""
        item = self._by_number.get(number)
        return () if item is None else item.kin

    def named(self, item_id: str) -> Item | None:
        """Return the live item of this id."""
        number = self._by_id.get(item_id)
        return None if number is None else self._by_number[number]

    def identical(self, sha256: bytes, pixels_digest: bytes) -> tuple[Iterator[Item], Iterator[Item]]:
        """Return the items with the same bytes and those with the same pixels, the earliest first."""
        same_bytes, same_pixels = self._by_content.of(sha256), self._by_pixels.of(pixels_digest)
        return map(self._by_number.__getitem__, same_bytes), map(self._by_number.__getitem__, same_pixels)

    def holds(self, sha256: bytes, pixels_digest: bytes) -> bool:
        """Return whether `identical` finds one."""
        return sha256 in self._by_content or pixels_digest in self._by_pixels

    @property
    def numbers_given(self) -> int:
        """How often `next_number` was asked: higher than any number."""
        return self._next_number

    def restore(self, items: Iterable[Item], numbers_given: int) -> None:
        """Take in, while empty, what iteration gave and `numbers_given` was."""
        items = list(items)
        self._by_number.update((item.number, item) for item in items)
        self._by_id.update((item.id, item.number) for item in items)
        self._by_content.update((item.sha256, item.number) for item in items)
        self._by_pixels.update((item.pixels_digest, item.number) for item in items)
        self._next_number = numbers_given

    def add(self, item: Item) -> None:
        """Take in an item whose star is settled."""
        self._enter(item)
        if not item.is_head:
            insort(self._by_number[item.head].members, item.number)  # its first part may be the earlier one

    def _enter(self, item: Item) -> None:
        self._by_number[item.number] = item
        self._by_id[item.id] = item.number
        self._by_content.add(item.sha256, item.number)
        self._by_pixels.add(item.pixels_digest, item.number)

    def remove(self, item: Item) -> list[Item]:
        """Forget an item; return the members that are left without a head, earliest first."""
        del self._by_number[item.number]
        del self._by_id[item.id]
        self._by_content.remove(item.sha256, item.number)
        self._by_pixels.remove(item.pixels_digest, item.number)
        if not item.is_head:
            self._by_number[item.head].members.remove(item.number)
            return []
        return [self._by_number[number] for number in item.members]


class Rows:
    """Columns about descriptors, one row each, growing by doubling. Row numbers are never used twice.

    Attributes, each (rows, …), of which only the first `len(self)` rows have a meaning:
        offset: in the log, of the record that brought it; never falling.
        item: number of the item that the descriptor belongs to.
        frame: place of the descriptor within its item.
        pts: seconds from the start of the item.
        hash: DCT hash, (rows, 32).
        box: the part of the picture that the descriptor shows, (rows, 4); see `Described.boxes`.
        speaks: whether there is enough in the picture to recognise it by.
        searched: whether the index holds it while its item is a head: most that speak.
        cohort, cohort_similarity: its neighbours when it arrived, (rows, k), see `evidence.Cohort`.
        shared: number of other items in which the same frame was found as part of a segment.
    """

    def __init__(self) -> None:
        self._size = 0
        self.offset: Ids = np.zeros(0, dtype=np.int64)
        self.item: Ids = np.zeros(0, dtype=np.int64)
        self.frame: Ids = np.zeros(0, dtype=np.int64)
        self.pts: npt.NDArray[np.float64] = np.zeros(0, dtype=np.float64)
        self.hash: Hashes = np.zeros((0, 32), dtype=np.uint8)
        self.box: Boxes = np.zeros((0, 4), dtype=np.uint16)
        self.speaks: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self.searched: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self.cohort: npt.NDArray[np.int32] = np.zeros((0, COHORT + NEIGHBOURS), dtype=np.int32)
        self.cohort_similarity: npt.NDArray[np.float32] = np.zeros((0, COHORT + NEIGHBOURS), dtype=np.float32)
        self.shared: Ids = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return self._size

    def columns(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return all columns by name, as far as they have a meaning; views."""
        return {name: column[: self._size] for name, column in vars(self).items() if isinstance(column, np.ndarray)}

    def names(self, rows: Ids) -> tuple[Ids, Ids]:
        """Return what the log calls these rows: offset of the record and number of the descriptor in it, (n,) each."""
        offsets = self.offset[rows]
        numbers = np.zeros_like(rows)
        later = np.flatnonzero((rows > 0) & (self.offset[rows - 1] == offsets))
        numbers[later] = rows[later] - np.searchsorted(self.offset[: self._size], offsets[later])
        return offsets, numbers

    def named(self, offsets: Ids, numbers: Ids) -> Ids:
        """Return the rows that the log calls so, (n,); NO_ROW where there is none."""
        rows = np.searchsorted(self.offset[: self._size], offsets) + numbers
        there = rows < self._size
        there[there] = self.offset[rows[there]] == offsets[there]
        return np.where(there, rows, NO_ROW)

    def keep_cohort(self, rows: Ids, cohort: Cohort) -> None:
        """Keep the neighbours that these rows had when they arrived."""
        self.cohort[rows], self.cohort_similarity[rows] = cohort.items, cohort.similarity

    def append(self, count: int, **values: npt.ArrayLike) -> Ids:
        """Append `count` rows, a value or an array (count, …) for each column but `shared`, which starts at 0."""
        start, stop = self._size, self._size + count
        if stop > len(self.item):
            for name, column in vars(self).items():
                if isinstance(column, np.ndarray):
                    wider = np.zeros((max(2 * len(column), stop, 1024), *column.shape[1:]), dtype=column.dtype)
                    wider[:start] = column[:start]
                    setattr(self, name, wider)
        for name, value in values.items():
            getattr(self, name)[start:stop] = value
        self._size = stop
        return np.arange(start, stop, dtype=np.int64)


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
_SHARDS = 256


class Shards(Generic[K, V]):
    """A dict without an order that never grows all at once.

    Python's own doubles its table by moving every entry: at a million keys that holds a batch up for a quarter of a
    second. Here each of many small tables does so for itself, at a moment of its own.
    """

    def __init__(self) -> None:
        self._shards: list[dict[K, V]] = [{} for _ in range(_SHARDS)]

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def __contains__(self, key: K) -> bool:
        return key in self.shard_of(key)

    def __getitem__(self, key: K) -> V:
        return self.shard_of(key)[key]

    def __setitem__(self, key: K, value: V) -> None:
        self.shard_of(key)[key] = value

    def __delitem__(self, key: K) -> None:
        del self.shard_of(key)[key]

    def get(self, key: K) -> V | None:
        """Return what the key stands for, None if it stands for nothing."""
        return self.shard_of(key).get(key)

    def setdefault(self, key: K, default: V) -> V:
        """Return what the key stands for, from now on `default` if it stood for nothing."""
        return self.shard_of(key).setdefault(key, default)

    def update(self, entries: Iterable[tuple[K, V]]) -> None:
        """Have keys stand for values."""
        shard_of = self.shard_of
        for key, value in entries:
            shard_of(key)[key] = value

    def shard_of(self, key: K) -> dict[K, V]:
        """Return the table that has the key, if one has."""
        # The table itself uses the lowest bits of the hash: with the same ones, a shard's keys would collide.
        return self._shards[(hash(key) >> 40) % _SHARDS]


class Twins:
    """Numbers of items by what they have in common, in the order in which they came; b"" is in common with nothing.

    Most stand alone: then it is the number itself that is kept, for a list takes as much room as all the rest.
    """

    def __init__(self) -> None:
        self._numbers = Shards[bytes, int | list[int]]()

    def __contains__(self, key: bytes) -> bool:
        return key in self._numbers

    def of(self, key: bytes) -> Sequence[int]:
        """Return the numbers that have this in common."""
        numbers = self._numbers.get(key)
        return () if numbers is None else (numbers,) if isinstance(numbers, int) else numbers

    def add(self, key: bytes, number: int) -> None:
        """Take in one more."""
        if not key:
            return
        numbers = self._numbers.get(key)
        if isinstance(numbers, list):
            numbers.append(number)
        else:
            self._numbers[key] = number if numbers is None else [numbers, number]

    def update(self, entries: Iterable[tuple[bytes, int]]) -> None:
        """Take in many."""
        for key, number in entries:
            if key and self._numbers.setdefault(key, number) is not number:
                self.add(key, number)

    def remove(self, key: bytes, number: int) -> None:
        """Forget one that is there."""
        left = [one for one in self.of(key) if one != number]
        if len(left) > 1:
            self._numbers[key] = left
        elif left:
            self._numbers[key] = left[0]
        elif key:
            del self._numbers[key]
