"""What would be said of items that are not taken in, and what is said of two that are held.

Parts of one item are joined first, see `messages.join_parts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import UsageError
from neardup.pipeline.log.records import Described, Matched, Verdict, unpack_boxes
from neardup.pipeline.log.verdicts import combine
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.compare.candidates import CANDIDATES, Found, split
from neardup.pipeline.match.compare.compare import MAX_MATCHES
from neardup.pipeline.match.decide.decide import Pairs, Side
from neardup.pipeline.match.decide.evidence import Pictures, pictures_of
from neardup.pipeline.match.decide.segments import Track
from neardup.pipeline.types import Ids, Kind, doubt_of


def lookup(state: State, queries: Sequence[Described], k: int) -> list[list[Matched]]:
    """Return for each whole item the k references most like it, best first, whatever the decision."""
    prepared = _prepare(state, queries, k)
    return [state.seen.comparer.matches(one.query, one.side, one.found)[:k] for one in prepared]


def ask(state: State, query: Described, now_ms: int, k: int = MAX_MATCHES) -> Verdict:
    """Return what would be said of a whole item at this time of the log, curated banks included.

    The verdict's head is unknown. A query without an id is asked about by its content where a bank is asked about a
    share of the items.
    """
    return ask_all(state, [query], now_ms, k)[0]


def ask_all(state: State, queries: Sequence[Described], now_ms: int, k: int = MAX_MATCHES) -> list[Verdict]:
    """Return what `ask` would for each of these."""
    return [_asked(state, one, now_ms, k) for one in _prepare(state, queries, k)]


def compare_stored(state: State, query_id: str, reference_id: str) -> Matched:
    """Compare two items that are held, with all that is known by now.

    Raises:
        UsageError: one of them is not held.
    """
    query, reference = state.items.named(query_id), state.items.named(reference_id)
    if query is None or reference is None:
        raise UsageError(f"no item {query_id if query is None else reference_id!r}")
    return state.seen.comparer.one(query, reference)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A query as a comparison needs it; `found` is among what was seen."""

    query: Described
    pictures: Pictures
    speaks: npt.NDArray[np.bool_]
    side: Side
    found: Found


def _asked(state: State, one: _Prepared, now_ms: int, k: int) -> Verdict:
    comparer, query = state.seen.comparer, one.query
    found = comparer.matches(query, one.side, Found(comparer.likely(query.kind, one.found), one.found.cohort))[:k]
    found = [match for match in found if match.listed]
    matches = state.reviews.respect(query, found, state.items)
    for bank in state.banks.asked(query.id or query.sha256.hex()):
        floor = np.full(len(one.speaks), -np.inf)
        theirs = bank.matches(
            query, one.side, bank.collection.candidates.search(one.pictures, one.speaks, CANDIDATES, floor), now_ms
        )
        matches += state.reviews.respect(query, theirs, bank.collection.tables.items)
    return combine(query.id, matches)


def _prepare(state: State, queries: Sequence[Described], k: int) -> Iterator[_Prepared]:
    """Yield each query with its pairs; all are searched for at once."""
    if not queries:
        return
    pictures, speaks = pictures_of(queries, state.evidence)
    floor = np.full(len(speaks), -np.inf)
    found = state.seen.candidates.search(pictures, speaks, max(CANDIDATES, 4 * k), floor)
    start = 0
    for query, mine in zip(queries, split(found.pairs, [len(query.pts) for query in queries]), strict=True):
        here = slice(start, start + len(query.pts))
        own = pictures.take(here)
        yield _Prepared(
            query,
            own,
            speaks[here],
            _side(query, own, speaks[here], _sharers(state, query, mine)),
            Found(mine, found.cohort.take(here)),
        )
        start = here.stop


def _side(query: Described, pictures: Pictures, speaks: npt.NDArray[np.bool_], shared: Ids) -> Side:
    track = Track(
        pts=np.asarray(query.pts),
        vectors=pictures.vectors,
        hashes=pictures.hashes,
        speaks=speaks,
        shared=shared,
        seconds=query.seconds,
    )
    boxes = unpack_boxes(query.boxes, len(query.pts)) if query.boxes else None  # without, all show all of the image
    return Side(query.kind, lambda: track, boxes=boxes, sound=query.extras.sound, doubt=doubt_of(query.extras))


def _sharers(state: State, query: Described, pairs: Pairs) -> Ids:
    """Return with how many items each frame is in common; an image is no intro, whoever has it too."""
    if query.kind is Kind.IMAGE:
        return np.zeros(len(query.pts), dtype=np.int64)
    return state.seen.comparer.sharers(pairs, len(query.pts))
