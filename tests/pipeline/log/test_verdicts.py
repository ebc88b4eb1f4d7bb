"""What a match counts for: in the decision of its item, in clusters, as a flag."""

from __future__ import annotations

import msgspec
import pytest

from neardup.pipeline.log.changes import Action, Outcome
from neardup.pipeline.log.records import Matched
from neardup.pipeline.log.verdicts import (
    RANK,
    as_judged,
    as_of_now,
    combine,
    is_counted,
    is_silenced,
    lets_pass,
    score,
    star_head,
)
from neardup.pipeline.types import Decision, Span
from neardup.pipeline.where import Relation, Where, WhereKind, located


def matched(reference: str = "a", decision: Decision = Decision.DUPLICATE, **how: object) -> Matched:
    known = {"bank": "seen", "distance": 0.1, "evidence": 0.9, "probability": 0.9}
    return Matched(reference=reference, decision=decision, **{**known, **how})  # type: ignore[arg-type]


def intro(start: float, end: float) -> Where:
    return located(False, spans=(Span(start, end, 0.0, end - start),))


VARIANT = matched("receipt", Decision.DISTINCT, relation=Relation.VARIANT)


def test_scores_are_in_the_order_of_decisions_and_then_of_probability() -> None:
    # What is unsure for another reason than its probability, as a film of the same scene is, stays below.
    likely = [0.0, 1e-9, 0.3, 0.9, 0.999999, 1 - 1e-9, 1.0]
    pairs = [matched(decision=decision, probability=p, evidence=0.0) for decision in RANK for p in likely]
    ordered = sorted(pairs, key=lambda one: (RANK[one.decision], one.probability))
    scores = [score(one) for one in ordered]
    assert all(a < b or one.probability == 1.0 for a, b, one in zip(scores, scores[1:], ordered, strict=False))
    assert scores == sorted(scores)
    assert (min(scores), max(scores)) == (0.0, 1.0)
    assert score(matched(decision=Decision.UNSURE, probability=1 - 1e-12)) < score(matched(probability=0.01))


@pytest.mark.parametrize("action", list(Action))
def test_a_variant_counts_for_nothing(action: Action) -> None:
    variant = msgspec.structs.replace(VARIANT, action=action)
    verdict = combine("b", [variant])
    assert (verdict.decision, verdict.matches, verdict.allowed) == (Decision.DISTINCT, (variant,), "")
    assert (is_counted(variant), lets_pass(variant), star_head(verdict)) == (False, False, None)


def test_a_variant_stands_behind_what_counts_and_silences_nothing() -> None:
    allowed = msgspec.structs.replace(VARIANT, action=Action.ALLOW, bank="allowed")
    unsure = matched(decision=Decision.UNSURE, evidence=0.1)
    verdict = combine("b", [VARIANT, unsure, allowed])
    assert verdict.decision is Decision.UNSURE
    assert [match.reference for match in verdict.matches] == ["receipt", "a", "receipt"]
    assert not any(match.silenced for match in verdict.matches)


def test_a_variant_that_a_reviewer_matched_is_a_copy() -> None:
    (judged,) = as_of_now(combine("b", [VARIANT]), outcomes={("seen", "receipt"): Outcome.MATCH}).matches
    assert (judged.decision, judged.relation, judged.probability) == (Decision.DUPLICATE, Relation.COPY, 1.0)
    assert as_judged(VARIANT, Outcome.NOT_A_MATCH) is None
    assert as_judged(VARIANT, None) == VARIANT


def test_an_allowed_whole_silences_all_and_an_allowed_part_what_lies_within_it() -> None:
    whole = matched(action=Action.ALLOW)
    part = matched(action=Action.ALLOW, where=intro(0.0, 5.0))
    inside, outside = matched(where=intro(1.0, 4.0)), matched(where=intro(1.0, 20.0))
    picture = matched(where=Where(kind=WhereKind.PART, query_box=(0.0, 0.0, 0.5, 1.0)))
    assert [is_silenced(one, [whole]) for one in (inside, outside, picture)] == [True, True, True]
    assert [is_silenced(one, [part]) for one in (inside, outside, picture)] == [True, False, True]
    assert (lets_pass(whole), lets_pass(part)) == (True, False)


def test_only_a_duplicate_as_a_whole_is_the_head_of_a_star() -> None:
    part, unsure = matched("part", where=intro(0.0, 5.0)), matched("unsure", Decision.UNSURE)
    other, whole = matched("other", bank="blocked"), matched("whole", evidence=0.1)
    assert star_head(combine("b", [part, unsure, other])) is None
    assert star_head(combine("b", [part, unsure, other, whole])) == "whole"
