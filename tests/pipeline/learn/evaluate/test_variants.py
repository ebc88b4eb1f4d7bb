"""How outcomes of look-alikes and copies become shares, tables and a page."""

from __future__ import annotations

import pytest

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.learn.evaluate.variant_report import (
    describe_variants,
    find_mistakes,
    variant_chapter,
    variant_tables,
)
from neardup.pipeline.learn.evaluate.variants import Outcome, Sample, VariantResult, judge, make_samples, shares
from neardup.pipeline.learn.variants import KINDS, render
from neardup.pipeline.learn.variants.copies import WAYS, copy_of
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.prove.prover import Prover
from neardup.pipeline.types import Decision
from tests.pipeline.match.build import a_state, picture

YES, MAYBE, NO = Decision.DUPLICATE, Decision.UNSURE, Decision.DISTINCT


def outcome(kind: str, decision: Decision, way: str = "", evidence: float = 0.5, number: int = 0) -> Outcome:
    return Outcome(kind, number, "one", way, decision, evidence)


@pytest.fixture
def result() -> VariantResult:
    """`receipt` is held out, `form` is not."""
    return VariantResult(
        "mine",
        [
            outcome("form", YES),
            outcome("form", YES, "sticker"),
            *(outcome("receipt", one) for one in (YES, MAYBE, MAYBE, NO)),
            *(outcome("receipt", one, "sticker") for one in (YES, YES, YES, NO)),
        ],
    )


def test_shares_of_decisions(result: VariantResult) -> None:
    found = shares(one for one in result.outcomes if not one.way)
    assert (found.pairs, found.duplicate, found.unsure, found.distinct) == (5, 0.4, 0.4, 0.2)
    assert found.interval == pytest.approx((0.1176, 0.7693), abs=1e-4)
    assert shares([]).duplicate == 0.0


def test_held_out_kinds_come_first_and_apart(result: VariantResult) -> None:
    by_kind, by_amount, by_way = variant_tables(result)
    assert [row[:3] for row in by_kind.rows] == [
        ("held-out kinds", "4", "25.0 %"),
        ("other kinds", "1", "100.0 %"),
        ("receipt (held out)", "4", "25.0 %"),
        ("form", "1", "100.0 %"),
    ]
    assert [row[6] for row in by_kind.rows] == ["75.0 %", "100.0 %", "75.0 %", "100.0 %"]
    assert by_amount.rows[0][:2] == ("one field differs", "5")
    assert {row[0]: row[1:3] for row in by_way.rows}["captions and stickers"] == ("5", "80.0 %")
    assert describe_variants(result).startswith("5 pairs of look-alikes of 2 kinds, 1 of them held out")


def test_the_worst_of_each_kind_is_shown() -> None:
    variant = render("logo", 0)
    samples = [Sample(variant, *copy_of(variant.a, 0))]
    outcomes = [
        outcome("logo", MAYBE, evidence=0.9),
        outcome("logo", YES, evidence=0.5),
        outcome("logo", YES, evidence=0.6),
        outcome("logo", NO, "re-encoded", 0.1),
        outcome("logo", YES, "re-encoded"),
    ]
    found = find_mistakes(samples, outcomes)
    assert [(one.outcome.decision, one.outcome.evidence) for one in found] == [(YES, 0.6), (NO, 0.1)]
    chapter = variant_chapter([VariantResult("mine", outcomes)], found)
    assert chapter.title.startswith("Look-alikes of held-out kinds called duplicate: 66.7 % (20.8 to 93.9)")
    notes = [case.note for section in chapter.sections for case in section.cases]
    assert notes == [
        "logo (held out), one field differs: duplicate, evidence 0.600",
        "logo (held out), re-encoded: distinct, evidence 0.100",
    ]
    assert find_mistakes(samples, [outcome("logo", MAYBE), outcome("logo", YES, "re-encoded")]) == []


def test_samples_of_every_kind_come_with_a_copy() -> None:
    made = list(make_samples(1, None, 2))
    assert [[(one.variant.kind, one.variant.number, one.way) for one in chunk] for chunk in made] == [
        [(kind, 0, next(iter(WAYS)))] for kind in KINDS
    ]
    assert list(made[0][0].files) == ["00000-a", "00000-b", "00000-copy"]


def proving_state(prover: Prover) -> State:
    return a_state(stars=False, prover=prover)


def test_pairs_are_decided_as_two_items_are_compared() -> None:
    variant = render("burst", 5)
    sample = Sample(variant, "re-encoded", variant.a)
    files = {"00005-a": [picture("a", 0)], "00005-b": [picture("b", 60)], "00005-copy": [picture("c", 20)]}
    found = judge([sample], files, proving_state)
    assert [(one.kind, one.number, one.differs, one.way) for one in found] == [
        ("burst", 5, variant.differs, ""),
        ("burst", 5, variant.differs, "re-encoded"),
    ]
    assert found[0].decision is NO
    assert (found[1].decision, found[1].ground) == (YES, "agrees")
    assert found[1].evidence > found[0].evidence


def test_a_picture_that_cannot_be_read_ends_it() -> None:
    variant = render("stripes", 5)
    files = {
        "00005-a": [picture("a", 0)],
        "00005-b": InvalidFrame(Reason.DECODE, "broken"),
        "00005-copy": [picture("c", 20)],
    }
    with pytest.raises(InvalidFrame, match="broken"):
        judge([Sample(variant, "re-encoded", variant.a)], files, proving_state)
