"""The items with content like that of one, by the vectors of the similar head, for lookups.

As `similar`, whose queries and results it takes and gives; but the index holds the members of stars, too, and each item
has one vector. Items without one are not found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neardup.pipeline.errors import UsageError
from neardup.pipeline.index import Index
from neardup.pipeline.log.records import Described
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.match.decide.evidence import Floats
from neardup.pipeline.match.query.similar import Query, Similar
from neardup.pipeline.types import Descriptors, Ids

_LEAST_FETCHED = 64
_MOST_FETCHED = 16384


def content_of_item(state: State, item_id: str) -> Descriptors:
    """Return the vector to search for of an item that is held, (1, s); no row where it has none.

    Raises:
        UsageError: it is not held.
    """
    item = state.items.named(item_id)
    if item is None:
        raise UsageError(f"no item {item_id!r}")
    similars = state.similars
    return np.zeros((0, 0), np.float32) if similars is None else similars.read(item)


def content_of_record(state: State, record: Described) -> Descriptors:
    """Return the same of an item that is not held; its parts joined, see `messages.join_parts`."""
    return record.similar_vector(state.similars.space if state.similars is not None else "")


def like_content(state: State, queries: Sequence[Query]) -> list[list[Similar]]:
    """Return for each query, of one vector, what is most like it, nearest first; equal distances in order of arrival.

    Raises:
        UsageError: the state has no index of such vectors.
    """
    index = None if state.similars is None else state.similars.index
    if index is None:
        raise UsageError("similar items are not searched for by content here")
    return [_nearest(state, index, query) for query in queries]


def _nearest(state: State, index: Index, query: Query) -> list[Similar]:
    fetch = max(2 * query.k + 32, _LEAST_FETCHED)
    while True:
        fetch = min(fetch, len(index), _MOST_FETCHED)
        if fetch == 0:
            return []
        found = index.search(query.vectors, fetch)
        results = _results(state, query, found.ids[0], found.distances[0])
        beyond = found.distances[0, -1] > query.max_distance
        if len(results) >= query.k or beyond or fetch == min(len(index), _MOST_FETCHED):
            return results
        fetch *= 4


def _results(state: State, query: Query, ids: Ids, distances: Floats) -> list[Similar]:
    own = state.items.named(query.item) if query.item else None
    stars: dict[int, list[tuple[Item, float]]] = {}
    for number, distance in zip(ids.tolist(), distances.tolist(), strict=True):
        item = state.items.get(number)
        if item is None or distance > query.max_distance or item is own:
            continue
        if query.grouped and own is not None and item.head == own.head:
            continue
        stars.setdefault(item.head if query.grouped else number, []).append((item, distance))
    results = []
    for (item, distance), *others in stars.values():
        head = state.items.get(item.head)
        assert head is not None  # a held item's head is held
        results.append(Similar(item, head, distance, 1 + len(head.members), tuple(others)))
    return results[: query.k]
