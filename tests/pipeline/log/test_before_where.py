"""Records of a time before `where` and `relation` are read as they were meant.

`before_where` holds bytes that the code of commit 615adc0 wrote, the last one with the loose fields `whole`, `spans`,
`query_box` and `reference_box`: envelopes, matches as Redis keeps them, and the tables of a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from neardup.pipeline.log.records import Envelope, Event, Matched, RetroMatched, Rolling, Verdict
from neardup.pipeline.match.apply.snapshot import _Tables
from neardup.pipeline.types import Exact, Span
from neardup.pipeline.where import Relation, WhereKind

FOLDER = Path(__file__).with_name("before_where")
ENVELOPES = (FOLDER / "envelopes.msgpack").read_bytes()
MATCHES = (FOLDER / "matches.json").read_bytes()


def matches_of(events: list[Event]) -> Iterator[Matched]:
    for event in events:
        if isinstance(event, Verdict):
            yield from event.matches
        elif isinstance(event, Rolling):
            yield from (*event.verdict.matches, *([event.flagged] if event.flagged else []))
        elif isinstance(event, RetroMatched):
            yield event.match


def events_of(envelopes: bytes) -> list[Event]:
    read = msgspec.msgpack.decode(envelopes, type=list[Envelope])
    return [event for envelope in read for event in envelope.events]


def loose_of(value: object) -> Iterator[dict[str, Any]]:
    """Yield each match in what was written, in order, with nothing but its loose fields read into values."""
    if isinstance(value, dict):
        if "whole" in value:
            yield value
        else:
            for one in value.values():
                yield from loose_of(one)
    elif isinstance(value, list):
        for one in value:
            yield from loose_of(one)


def is_meant(match: Matched, loose: dict[str, Any]) -> bool:
    """Return whether a match says what its loose fields said."""
    boxes = [None if loose[name] is None else tuple(loose[name]) for name in ("query_box", "reference_box")]
    spans = tuple(Span(**one) for one in loose["spans"])
    place = (match.where.whole, match.where.query_box, match.where.reference_box, match.where.spans)
    return place == (loose["whole"], *boxes, spans)


def test_matches_of_old_envelopes_are_where_they_were() -> None:
    loose = list(loose_of(msgspec.msgpack.decode(ENVELOPES)))
    read = list(matches_of(events_of(ENVELOPES)))
    assert len(read) == len(loose) == 24
    assert all(is_meant(match, one) for match, one in zip(read, loose, strict=True))
    assert all(match.relation is Relation.COPY and match.where.transform is None for match in read)


def test_old_envelopes_hold_every_place_that_there_was() -> None:
    places = {
        (one.where.kind, bool(one.where.query_box), bool(one.where.reference_box), bool(one.where.spans))
        for one in matches_of(events_of(ENVELOPES))
    }
    assert places == {
        (WhereKind.WHOLE, False, False, False),
        (WhereKind.WHOLE, False, True, False),
        (WhereKind.WHOLE, False, False, True),
        (WhereKind.PART, True, False, False),
        (WhereKind.PART, False, True, False),
        (WhereKind.PART, True, True, False),
        (WhereKind.PART, False, False, True),
        (WhereKind.PART, True, False, True),
        (WhereKind.NOTHING, False, False, False),
    }
    exact = {(one.exact, bool(one.where.spans)) for one in matches_of(events_of(ENVELOPES)) if one.exact}
    assert exact == {(Exact.BYTES, False), (Exact.BYTES, True)}


def test_old_envelopes_equal_what_is_written_of_them_now() -> None:
    """A follower compares a published envelope with its own."""
    read = msgspec.msgpack.decode(ENVELOPES, type=list[Envelope])
    written = msgspec.msgpack.encode(read)
    assert msgspec.msgpack.decode(written, type=list[Envelope]) == read
    assert not list(loose_of(msgspec.msgpack.decode(written)))
    assert len(written) < len(ENVELOPES) * 5 / 6


def test_old_matches_in_redis_are_where_they_were() -> None:
    read = msgspec.json.decode(MATCHES, type=list[Matched])
    loose = msgspec.json.decode(MATCHES)
    assert len(read) == 22
    assert all(is_meant(match, one) for match, one in zip(read, loose, strict=True))


def test_the_match_of_a_live_video_in_an_old_snapshot_is_where_it_was() -> None:
    tables = msgspec.msgpack.decode((FOLDER / "tables.msgpack").read_bytes(), type=_Tables)
    (live,) = tables.live
    places = {one.match.reference: one.match.where for one in live.sightings.values() if one.match is not None}
    assert {name: where.kind for name, where in places.items()} == {"film": WhereKind.PART, "still": WhereKind.PART}
    (span,) = places["film"].spans
    assert (span.query_start, span.reference_start) == pytest.approx((4.5, 10.0), abs=0.5)
