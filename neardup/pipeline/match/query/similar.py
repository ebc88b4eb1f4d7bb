"""The items most like one, by distance alone: for lookups, whatever the decision would be.

The index holds the heads of stars; a star is found by its head, and its members are ranked with their own descriptors
from the vector file. So every held item can be found, and a thousand copies of one picture fill one place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import UsageError
from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.records import Described
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.compare.collection import Collection
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.match.decide.evidence import MIN_DETAIL, Floats
from neardup.pipeline.types import Descriptors, Ids

MAX_K = 1000
MAX_FRAMES = 8
"""Frames of a video that are searched for, evenly spread."""
MAX_MEMBERS = 256
"""Members of a star that are looked at, the earliest."""
_EFFORT = 4
"""Times that of copies. Among 400,000 it finds 0.99 of the ten nearest strangers, and an eighth of it 0.61."""
_LEAST_FETCHED = 64
_MOST_FETCHED = 16384


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for.

    Attributes:
        vectors: float32 (n, d), unit rows, n at most MAX_FRAMES; 0 where there is nothing to recognise it by.
        k: items wanted, or groups, 1 to MAX_K.
        max_distance: squared Euclidean distance up to which items count, 0 to 4.
        item: the id of the held item that this is; it is not found, nor, grouped, is its star.
        grouped: whether a star is one result.
    """

    vectors: Descriptors
    k: int
    max_distance: float = 4.0
    item: str = ""
    grouped: bool = True


@dataclass(frozen=True, slots=True)
class Similar:
    """One result.

    Attributes:
        item: the nearest of its star, or the one that it is. original: the head of the star.
        distance: the least between two descriptors, 0 to 4.
        members: how many items the star has, the original included.
        others: the further members of the star that were looked at, nearest first; only of a group.
    """

    item: Item
    original: Item
    distance: float
    members: int = 1
    others: tuple[tuple[Item, float], ...] = ()


def query_vectors(vectors: Descriptors, speaks: npt.NDArray[np.bool_]) -> Descriptors:
    """Return up to MAX_FRAMES of the descriptors (n, d) that speak, evenly spread."""
    places = np.flatnonzero(speaks)
    if len(places) > MAX_FRAMES:
        places = places[np.linspace(0, len(places) - 1, MAX_FRAMES).round().astype(np.int64)]
    return vectors[places]


def vectors_of_record(record: Described) -> Descriptors:
    """Return what to search for of an item that is not held; its parts joined, see `messages.join_parts`."""
    embedded = record.embedded()
    return query_vectors(embedded.vectors, embedded.detail >= MIN_DETAIL)


def vectors_of_item(state: State, item_id: str) -> Descriptors:
    """Return what to search for of an item that is held.

    Raises:
        UsageError: it is not held.
    """
    item = state.items.named(item_id)
    if item is None:
        raise UsageError(f"no item {item_id!r}")
    rows = state.rows_of(item)
    return query_vectors(state.seen.tables.vectors.read(rows), state.rows.speaks[rows])


def least_distance(state: State, item: Item, other: Item) -> float:
    """Return the least distance between descriptors of two held items, 0 to 4; 4 where one has none."""
    read = state.seen.tables.vectors.read
    mine = read(state.rows_of(item))
    return _least(query_vectors(mine, np.ones(len(mine), dtype=np.bool_)), read(state.rows_of(other)))


def similar(state: State, queries: Sequence[Query], bank: str = SEEN, now_ms: int = 0) -> list[list[Similar]]:
    """Return for each query what is most like it, nearest first; equal distances in order of arrival.

    Of stars, as many are fetched as it takes to have k results or all within the distance.

    Args:
        bank: which is searched. now_ms: references of a curated one that are disabled at this time are not found.
    Raises:
        UsageError: there is no such bank.
    """
    searched = _searched(state, bank, now_ms)
    index = searched.collection.heads.index
    wanted = [min(max(2 * query.k + 32, _LEAST_FETCHED), _MOST_FETCHED) for query in queries]
    results: list[list[Similar]] = [[] for _ in queries]
    open_ones = [number for number, query in enumerate(queries) if len(query.vectors)]
    while open_ones:
        fetch = min(max(wanted[number] for number in open_ones), len(index))
        if fetch == 0:
            break
        found = index.search(np.concatenate([queries[number].vectors for number in open_ones]), fetch, _EFFORT)
        start, left = 0, []
        for number in open_ones:
            query = queries[number]
            stop = start + len(query.vectors)
            ids, distances = found.ids[start:stop], found.distances[start:stop]
            start = stop
            results[number] = _results(searched, query, ids, distances)
            beyond = bool(np.all(distances[:, -1] > query.max_distance))
            if len(results[number]) < query.k and not beyond and fetch < min(len(index), _MOST_FETCHED):
                wanted[number] = min(4 * fetch, _MOST_FETCHED)
                left.append(number)
        open_ones = left
    return results


@dataclass(frozen=True, slots=True)
class _Searched:
    """A bank's references; `usable` of them may be found, and `own` is whether the query may be one itself."""

    collection: Collection
    usable: Callable[[Item], bool]
    own: bool

    def item(self, number: int) -> Item | None:
        return self.collection.tables.items.get(number)

    def vectors(self, item: Item) -> Descriptors:
        return self.collection.tables.vectors.read(self.collection.tables.rows_of(item))


def _searched(state: State, name: str, now_ms: int) -> _Searched:
    if name == SEEN:
        return _Searched(state.seen, lambda _: True, own=True)
    bank = state.banks.named(name)
    if bank is None:
        raise UsageError(f"no bank {name!r}")
    return _Searched(bank.collection, bank.usable(now_ms), own=False)


def _results(searched: _Searched, query: Query, ids: Ids, distances: Floats) -> list[Similar]:
    own = searched.collection.tables.items.named(query.item) if query.item and searched.own else None
    least: dict[int, float] = {}
    kept = ids >= 0
    numbers = searched.collection.tables.rows.item[ids[kept]]
    order = np.lexsort((numbers, distances[kept]))
    for number, distance in zip(numbers[order].tolist(), distances[kept][order].tolist(), strict=True):
        least.setdefault(number, distance)
    found: list[Similar] = []
    nearer, farthest = 0, 0.0
    for number, distance in least.items():
        head = searched.item(number)
        if head is None or not head.is_head or not searched.usable(head):
            continue
        if nearer >= query.k and distance > farthest and not head.members:
            continue  # k results are nearer than this one, which stands alone
        star = _star(searched, query, head, distance)
        if query.grouped:
            if own is not None and own.head == head.number:
                continue
            (first, nearest), *others = star
            found.append(Similar(first, head, nearest, 1 + len(head.members), tuple(others)))
        else:
            found += [Similar(one, head, d, 1 + len(head.members)) for one, d in star if one is not own]
        if head is not own:
            nearer, farthest = nearer + 1, distance  # none of them is farther than its head
    if own is not None and own.head not in least and not query.grouped:
        head = searched.item(own.head)
        if head is not None:  # far from what was fetched, as a clip of it may be
            star = _star(searched, query, head, _least(query.vectors, searched.vectors(head)))
            found += [Similar(one, head, d, 1 + len(head.members)) for one, d in star if one is not own]
    found = [one for one in found if one.distance <= query.max_distance]
    found.sort(key=lambda one: (one.distance, one.item.number))
    return found[: query.k]


def _star(searched: _Searched, query: Query, head: Item, distance: float) -> list[tuple[Item, float]]:
    """Return the items of a star with their distances, nearest first."""
    if not head.members:
        return [(head, distance)]
    members = [searched.item(number) for number in head.members[:MAX_MEMBERS]]
    by_member = [(one, _least(query.vectors, searched.vectors(one))) for one in members if one is not None]
    return sorted([(head, distance), *by_member], key=lambda one: (one[1], one[0].number))


def _least(queries: Descriptors, vectors: Descriptors) -> float:
    """Return the least distance between descriptors (n, d) and (m, d); 4 where there are none."""
    if not len(queries) or not len(vectors):
        return 4.0
    q, v = np.unravel_index(int(np.argmax(queries @ vectors.T)), (len(queries), len(vectors)))
    return float(np.square(queries[q] - vectors[v]).sum())  # by differences, as the index does it
