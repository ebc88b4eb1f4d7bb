"""Two items compared as A with B and as B with A; see docs/new-match-field.md."""

from __future__ import annotations

import msgspec
import pytest

from neardup.pipeline.log.records import Comparison
from neardup.pipeline.match.query.compare_two import compare_both_ways
from neardup.pipeline.types import Decision, Doubt
from neardup.pipeline.where import NOWHERE, Relation, located
from tests.pipeline.match.build import a_state, picture

FORTH = Comparison(
    decision=Decision.DISTINCT, distance=0.2, evidence=0.8, probability=0.4, relation=Relation.VARIANT,
    where=located(False, (None, (0.0, 0.0, 0.5, 1.0))), doubt=Doubt.NO,
)  # fmt: skip
BACK = Comparison(decision=Decision.UNSURE, distance=0.1, evidence=0.6, probability=0.6, doubt=Doubt.STRETCHED)


def joined(monkeypatch: pytest.MonkeyPatch, forth: Comparison, back: Comparison) -> Comparison:
    ways = iter((forth, back))
    monkeypatch.setattr("neardup.pipeline.match.query.compare_two._one_way", lambda *_: next(ways))
    return compare_both_ways([], [], a_state)


def test_what_a_comparison_says_does_not_depend_on_which_is_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new field is joined in `compare_both_ways`, or stands below as one that is A's."""
    forth, back = joined(monkeypatch, FORTH, BACK), joined(monkeypatch, BACK, FORTH)
    assert forth == Comparison(
        decision=Decision.UNSURE, distance=0.1, evidence=pytest.approx(0.7), probability=0.5, where=FORTH.where,
        relation=Relation.COPY, doubt=Doubt.STRETCHED,
    )  # fmt: skip
    assert msgspec.structs.replace(back, where=FORTH.where) == forth
    ours, symmetric = {"where", "proof"}, {"exact"}
    known = {"decision", "distance", "evidence", "probability", "relation", "doubt"}
    assert set(Comparison.__struct_fields__) == known | ours | symmetric


def test_a_variant_is_one_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    found = joined(monkeypatch, FORTH, FORTH)
    assert (found.decision, found.relation) == (Decision.DISTINCT, Relation.VARIANT)


def test_two_that_have_nothing_in_common_match_nowhere() -> None:
    found = compare_both_ways([picture("a", 0)], [picture("b", 90, detail=0)], a_state)
    assert (found.decision, found.where) == (Decision.DISTINCT, NOWHERE)
