"""From what a comparison found to a match of the log; see docs/new-match-field.md."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from neardup.pipeline.log.records import Comparison
from neardup.pipeline.match.compare.compare import exactly, matched
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.match.decide.decide import DISTINCT, PairOutcome
from neardup.pipeline.types import Exact, Span
from neardup.pipeline.where import WHOLE, Where, WhereKind
from tests.pipeline.match.build import Log, picture

SAID_OTHERWISE = {"decision", "probability", "exact"}
"""By the judgement, and by `exactly`."""


@pytest.fixture
def item() -> Item:
    log = Log()
    log.add(picture("a", 0))
    found = log.state.items.named("a")
    assert found is not None
    return found


@pytest.mark.parametrize("name", sorted(set(Comparison.__struct_fields__) - SAID_OTHERWISE))
def test_a_match_says_what_its_outcome_says(name: str, item: Item) -> None:
    value = object()
    outcome = replace(PairOutcome(DISTINCT, 0.1, 0.9, WHOLE), **{name: value})
    assert getattr(matched(item, outcome), name) is value


def test_identical_items_match_as_a_whole_whatever_was_compared(item: Item) -> None:
    span = Span(0.0, 4.0, 0.0, 4.0)
    part = Where(kind=WhereKind.PART, query_box=(0.0, 0.0, 0.5, 1.0), spans=(span,))
    match = exactly(item, item, Exact.PIXELS, PairOutcome(DISTINCT, 0.1, 0.9, part))
    assert match.where == Where(kind=WhereKind.WHOLE, spans=(span,))
