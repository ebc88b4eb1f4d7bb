"""Where two items match, and what the match is to them."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from neardup.pipeline.log.records import Comparison, Matched
from neardup.pipeline.types import Box, Decision, Span
from neardup.pipeline.where import NOWHERE, WHOLE, Relation, Where, WhereKind, located

LEFT: Box = (0.0, 0.0, 0.5, 1.0)
SPAN = Span(0.0, 4.0, 10.0, 14.0, 0.8)
AFFINE = (0.5, 0.0, 0.25, 0.0, 0.5, 0.0)
PERSPECTIVE = (*AFFINE, 0.1, 0.0, 1.0)


@pytest.mark.parametrize(
    "where",
    [
        WHOLE,
        NOWHERE,
        Where(kind=WhereKind.WHOLE, reference_box=(0.0, 0.1, 1.0, 0.9), transform=AFFINE),
        Where(kind=WhereKind.WHOLE, spans=(SPAN,)),
        Where(kind=WhereKind.WHOLE, spans=(Span(0.0, 4.0, 10.0, 14.0, 0.8, backwards=True),)),
        Where(kind=WhereKind.PART, query_box=LEFT, transform=PERSPECTIVE),
        Where(kind=WhereKind.PART, query_box=LEFT, reference_box=LEFT, spans=(SPAN, SPAN)),
    ],
)
def test_where_survives_the_log_and_json(where: Where) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(where), type=Where) == where
    assert msgspec.json.decode(msgspec.json.encode(where), type=Where) == where


def test_a_span_that_runs_forwards_is_as_on_the_wire_before() -> None:
    old = {"query_start": 0.0, "query_end": 4.0, "reference_start": 10.0, "reference_end": 14.0, "evidence": 0.8}
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(SPAN)) == old
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(old), type=Span) == SPAN


@pytest.mark.parametrize(
    ("reference_end", "speed"), [(14.0, 1.0), (14.5, 1.0), (13.45, 1.0), (18.0, 2.0), (12.0, 0.5), (10.0, 1.0)]
)
def test_speed_of_a_span_is_another_where_its_ends_cannot_make_the_difference(
    reference_end: float, speed: float
) -> None:
    assert Span(0.0, 4.0, 10.0, reference_end).speed == speed


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"kind": WhereKind.PART}, "a part has a box or a span"),
        ({"kind": WhereKind.PART, "transform": AFFINE}, "a part has a box or a span"),
        ({"kind": WhereKind.NOTHING, "query_box": LEFT}, "matches nowhere"),
        ({"kind": WhereKind.NOTHING, "spans": (SPAN,)}, "matches nowhere"),
        ({"kind": WhereKind.NOTHING, "transform": AFFINE}, "matches nowhere"),
        ({"kind": WhereKind.PART, "query_box": (0.5, 0.0, 0.5, 1.0)}, "left, top, right and bottom"),
        ({"kind": WhereKind.PART, "reference_box": (0.0, -0.1, 0.5, 1.0)}, "left, top, right and bottom"),
        ({"kind": WhereKind.PART, "reference_box": (0.0, 0.0, 1.5, 1.0)}, "left, top, right and bottom"),
        ({"kind": WhereKind.PART, "query_box": (0.0, 0.0, math.nan, 1.0)}, "left, top, right and bottom"),
        ({"kind": WhereKind.PART, "spans": (Span(4.0, 3.0, 0.0, 1.0),)}, "ends before it begins"),
        ({"kind": WhereKind.WHOLE, "spans": (Span(0.0, 1.0, 2.0, 1.0),)}, "ends before it begins"),
        ({"kind": WhereKind.WHOLE, "transform": AFFINE[:5]}, "six or nine"),
        ({"kind": WhereKind.WHOLE, "transform": (*AFFINE[:5], math.inf)}, "six or nine"),
    ],
)
def test_what_cannot_be_is_not_built(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Where(**fields)


def test_what_cannot_be_is_not_read_either() -> None:
    with pytest.raises(msgspec.ValidationError, match="a part has a box or a span"):
        msgspec.msgpack.decode(msgspec.msgpack.encode({"kind": "part"}), type=Where)


def test_a_place_follows_from_what_is_known_of_it() -> None:
    assert located(True) is WHOLE
    assert located(False) is NOWHERE
    assert located(True, (None, LEFT)) == Where(kind=WhereKind.WHOLE, reference_box=LEFT)
    assert located(False, spans=(SPAN,)) == Where(kind=WhereKind.PART, spans=(SPAN,))
    assert (WHOLE.whole, NOWHERE.whole, located(False, (LEFT, None)).whole) == (True, False, False)


def test_on_the_wire_only_what_is_there_takes_bytes() -> None:
    assert msgspec.to_builtins(WHOLE) == {"kind": "whole"}
    assert msgspec.to_builtins(located(False, (LEFT, None))) == {"kind": "part", "query_box": LEFT}


def test_a_match_as_a_whole_takes_no_bytes_for_what_it_is_by_default() -> None:
    plain = matched(Decision.DUPLICATE, Relation.COPY)
    given = {"decision", "distance", "evidence", "probability", "reference", "bank"}
    assert msgspec.to_builtins(plain).keys() == given
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(plain), type=Matched) == plain


def matched(decision: Decision, relation: Relation) -> Matched:
    return Matched(
        reference="a", bank="seen", decision=decision, distance=0.1, evidence=0.9, probability=0.9, relation=relation
    )


@pytest.mark.parametrize("decision", [Decision.DUPLICATE, Decision.UNSURE])
def test_a_variant_is_distinct(decision: Decision) -> None:
    with pytest.raises(ValueError, match=f"a variant is distinct, not {decision.value}"):
        matched(decision, Relation.VARIANT)


def test_a_variant_is_listed_and_another_distinct_match_is_not() -> None:
    assert matched(Decision.DISTINCT, Relation.VARIANT).listed
    assert not matched(Decision.DISTINCT, Relation.COPY).listed
    assert matched(Decision.UNSURE, Relation.COPY).listed


def test_json_for_people_has_all_fields_the_empty_ones_too() -> None:
    full = matched(Decision.DUPLICATE, Relation.COPY).in_full()
    assert full.keys() >= set(Comparison.__struct_fields__)
    assert not [name for name in full if name.startswith("old_")]
    assert full["where"] == {
        "kind": WhereKind.WHOLE, "query_box": None, "reference_box": None, "spans": [], "transform": None,
    }  # fmt: skip
