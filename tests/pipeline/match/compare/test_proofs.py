"""What proofs make of what evidence proposes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from msgspec.structs import astuple

from neardup.pipeline.log.records import Described, Matched, Verdict, pack_boxes
from neardup.pipeline.log.verdicts import score_of
from neardup.pipeline.match.compare.compare import MOMENTS, PROVED, moments_of
from neardup.pipeline.match.decide.decide import Judge, PairOutcome
from neardup.pipeline.match.query.lookup import lookup
from neardup.pipeline.prove.finding import BoxPair, Finding, Ground, ProofSummary, Proved
from neardup.pipeline.prove.prover import Asked, Prover
from neardup.pipeline.types import Decision, Doubt, Span
from neardup.pipeline.where import WHOLE, Relation, WhereKind
from tests.pipeline.match.build import (
    SHIFTED,
    Film,
    Log,
    a_calibration,
    a_state,
    at,
    described,
    edited,
    picture,
    times,
    video,
)

FINDINGS = {Ground.AGREES: Finding.COPY} | dict.fromkeys(
    (Ground.OTHER_WRITING, Ground.MOTION, Ground.CHANGED_SCENE, Ground.TEMPLATE), Finding.VARIANT
)


def proved(ground: Ground, **how: object) -> Proved:
    summary = ProofSummary(finding=FINDINGS.get(ground, Finding.UNPROVED), ground=ground)
    return Proved(summary, SHIFTED, **how)  # type: ignore[arg-type]


@dataclass
class Foreseeing(Prover):
    """Finds copies wherever it is asked, and notes what was foreseen and what was asked."""

    pictures: object = None  # type: ignore[assignment]
    threads: int = 2
    foreseen: list[Asked] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def look_ahead(self, asked: Sequence[Asked]) -> None:
        self.foreseen += asked

    def prove(
        self,
        query: str,
        reference: str,
        moments: Sequence[tuple[float, float]] = (),
        boxes: Sequence[BoxPair] = (),
    ) -> Proved | None:
        self.asked.append((query, reference, tuple(moments), tuple(boxes)))
        return proved(Ground.AGREES)


def test_proofs_are_foreseen_of_references_in_the_index_and_in_the_batch() -> None:
    def records() -> list[Described]:
        copies = [picture(f"copy {n}", 15.0, plane=n) for n in range(6)]
        part = described("part", at(90, 15, plane=3), boxes=pack_boxes([None, (0.0, 0.0, 0.5, 0.5)]))
        originals = [picture(f"original {n}", 0, plane=n) for n in range(6)]
        twin = picture("twin", 0, plane=5, sha256=b"same")
        return [*originals, twin, *copies, picture("again", 12.0), part, picture("stranger", 0, plane=7)]

    expected = [
        *((f"copy {n}", f"original {n}", (), ()) for n in range(6)),
        ("again", "original 0", (), ()),
        ("part", "original 3", (), (((0.0, 0.0, 0.5, 0.5), (0.0, 0.0, 1.0, 1.0)),)),
    ]
    verdicts = []
    for cut in (6, 16):  # the originals in an earlier batch, and all in one
        prover = Foreseeing()
        log = Log(a_state(prover=prover))
        said = records()
        found = log.add(*said[:cut]), log.add(*said[cut:])
        verdicts.append([event for envelopes in found for one in envelopes for event in one.events])
        asked = [one for one in prover.asked if one[0] != "twin"]
        assert set(expected) <= set(prover.foreseen)
        assert set(asked) <= set(prover.foreseen)
    assert verdicts[0] == verdicts[1]


@dataclass
class Found(Prover):
    """Finds what it was given for a query and a reference, and nothing else; remembers what it was asked."""

    pictures: object = None  # type: ignore[assignment]
    found: Mapping[tuple[str, str], Proved] = field(default_factory=dict)
    asked: list[tuple[str, str, Sequence[tuple[float, float]]]] = field(default_factory=list)

    def prove(
        self,
        query: str,
        reference: str,
        moments: Sequence[tuple[float, float]] = (),
        boxes: Sequence[BoxPair] = (),
    ) -> Proved | None:
        del boxes
        self.asked.append((query, reference, moments))
        return self.found.get((query, reference))


def a_log(*found: tuple[str, str, Proved]) -> tuple[Log, Found]:
    prover = Found(found={(query, reference): one for query, reference, one in found})
    return Log(a_state(prover=prover)), prover


def only(verdict: Verdict) -> Matched:
    (match,) = verdict.matches
    return match


HIGH, MIDDLE, LOW = 20.0, 30.0, 60.0
"""Angles whose evidence alone makes a duplicate, leaves it unsure, and is not worth a proof."""


def test_a_proved_copy_is_a_duplicate_where_evidence_alone_would_not_do() -> None:
    plain = Log(a_state())
    plain.add(picture("a", 0))
    assert only(plain.verdict(picture("b", MIDDLE))).decision is Decision.UNSURE
    log, _ = a_log(("b", "a", proved(Ground.AGREES)))
    log.add(picture("a", 0))
    verdict = log.verdict(picture("b", MIDDLE))
    match = only(verdict)
    assert verdict.decision is match.decision is Decision.DUPLICATE
    assert (match.where.kind, match.where.transform) == (WhereKind.WHOLE, SHIFTED)
    assert match.proof is not None
    assert match.proof.ground is Ground.AGREES
    assert verdict.head == "a"
    assert match.probability > 0.9


@pytest.mark.parametrize("ground", [Ground.OTHER_WRITING, Ground.MOTION, Ground.CHANGED_SCENE, Ground.TEMPLATE])
def test_a_variant_is_distinct_and_listed_and_joins_no_star(ground: Ground) -> None:
    log, _ = a_log(("b", "a", proved(ground)))
    log.add(picture("a", 0))
    verdict = log.verdict(picture("b", HIGH))
    match = only(verdict)
    assert (verdict.decision, match.decision, match.relation) == (
        Decision.DISTINCT,
        Decision.DISTINCT,
        Relation.VARIANT,
    )
    assert (match.where.kind, match.where.transform) == (WhereKind.WHOLE, SHIFTED)  # so that people see what differs
    assert log.state.items.named("b").is_head  # type: ignore[union-attr]
    assert all(item.kin == [] for item in log.state.items)  # cohorts count variants


def test_what_is_not_proved_is_unsure_however_alike_it_is() -> None:
    log, _ = a_log(("b", "a", proved(Ground.LITTLE_AGREES)))
    log.add(picture("a", 0))
    assert log.verdict(picture("b", 1.0)).decision is Decision.UNSURE


def test_evidence_decides_where_a_picture_is_not_to_be_had() -> None:
    log, prover = a_log()
    log.add(picture("a", 0))
    match = only(log.verdict(picture("b", HIGH)))
    assert (match.decision, match.proof) == (Decision.DUPLICATE, None)
    assert [pair[:2] for pair in prover.asked] == [("b", "a")]


def test_identical_content_needs_no_proof() -> None:
    log, prover = a_log()
    log.add(picture("a", 0, sha256=b"same"))
    assert log.verdict(picture("b", 0, sha256=b"same")).decision is Decision.DUPLICATE
    assert prover.asked == []


def test_what_a_proof_cannot_make_a_duplicate_is_not_proved() -> None:
    log, prover = a_log(("b", "a", proved(Ground.AGREES)))
    log.add(picture("a", 0))
    assert log.verdict(picture("b", LOW)).matches == ()
    assert prover.asked == []


def test_the_likeliest_few_are_proved_and_the_others_are_unsure() -> None:
    names = [f"r{n}" for n in range(PROVED + 2)]
    pairs = [("q", name, proved(Ground.AGREES)) for name in names]
    prover = Found(found={(query, reference): one for query, reference, one in pairs})
    log = Log(a_state(stars=False, prover=prover))
    for n, name in enumerate(names):
        log.add(picture(name, 2.0 * n))
    prover.asked.clear()
    (found,) = lookup(log.state, [picture("q", 0.0)], 20)
    assert [pair[1] for pair in prover.asked] == names[:PROVED]
    assert [match.decision for match in found] == [Decision.DUPLICATE] * PROVED + [Decision.UNSURE] * 2


@pytest.mark.parametrize(
    ("shares", "whole"), [((1.0, 0.6), True), ((1.0, 0.3), False), ((0.2, 1.0), False), ((0.8, 0.9), True)]
)
def test_a_proof_says_whether_it_is_a_part_that_was_copied(shares: tuple[float, float], whole: bool) -> None:
    box = (0.1, 0.2, 0.6, 0.8)
    how = {"query_share": shares[0], "reference_share": shares[1], "reference_box": box}
    log, _ = a_log(("b", "a", proved(Ground.AGREES, **how)))
    log.add(picture("a", 0))
    match = only(log.verdict(picture("b", HIGH)))
    assert match.where.whole is whole
    assert match.where.reference_box == (None if whole else box)
    assert (match.where.query_box, match.where.transform) == (None, SHIFTED)


@pytest.mark.parametrize(
    ("ground", "decision"),
    [
        (Ground.AGREES, Decision.DUPLICATE),
        (Ground.NO_TRANSFORM, Decision.DUPLICATE),
        (Ground.MOTION, Decision.DUPLICATE),
        (Ground.OTHER_WRITING, Decision.DISTINCT),
    ],
)
def test_agreeing_moments_need_no_proof_but_heed_positive_grounds(ground: Ground, decision: Decision) -> None:
    film = Film(1).at(times(20))
    log, prover = a_log(("b", "a", proved(ground)))
    log.add(video("a", film))
    verdict = log.verdict(video("b", edited(film)))
    assert only(verdict).decision is decision
    ((_, _, moments),) = prover.asked
    assert len(moments) == MOMENTS
    assert all(abs(a - b) < 0.5 for a, b in moments)


def test_moments_lie_within_the_longest_span() -> None:
    short, long = Span(0.0, 1.0, 5.0, 6.0, 0.9), Span(2.0, 8.0, 12.0, 18.0, 0.8)
    assert moments_of([short, long], of_videos=True) == [(3.0, 13.0), (5.0, 15.0), (7.0, 17.0)]
    back = Span(0.0, 4.0, 10.0, 14.0, 0.9, backwards=True)
    assert moments_of([back], of_videos=True)[0] == (pytest.approx(2 / 3), pytest.approx(14 - 2 / 3))
    assert moments_of([Span(2.0, 4.0, 0.0, 0.0, 0.9)], of_videos=False) == [(3.0, 0.0)]


def test_a_doubt_outlasts_a_proof() -> None:
    judge = Judge(a_calibration(), 0.99, proves=True)
    outcome = PairOutcome(judge.judge(0.99, 1), 0.1, 0.99, WHOLE, doubt=Doubt.STRETCHED)
    assert judge.prove(outcome, proved(Ground.AGREES)).judgement.decision is Decision.UNSURE


def test_scores_order_pairs_as_decisions_do() -> None:
    judge = Judge(a_calibration(), 0.99, proves=True)
    scores: dict[Decision, list[float]] = {decision: [] for decision in Decision}
    for evidence, ground, chances in itertools.product(np.linspace(0.3, 1.0, 40), [None, *Ground], (1, 2000, 10**6)):
        outcome = PairOutcome(judge.judge(float(evidence), chances), 0.1, float(evidence), WHOLE, chances)
        outcome = outcome if ground is None else judge.prove(outcome, proved(ground))
        scores[outcome.judgement.decision].append(score_of(*astuple(outcome.judgement)))
    assert min(scores[Decision.DUPLICATE]) >= max(scores[Decision.UNSURE])
    assert min(scores[Decision.UNSURE]) >= max(scores[Decision.DISTINCT])


def test_equal_logs_are_decided_alike_however_they_are_cut() -> None:
    pairs = [
        (f"p{n}", f"p{m}", proved(Ground.AGREES if (n + m) % 3 else Ground.TEMPLATE))
        for n in range(12)
        for m in range(n)
    ]
    records: list[Described] = [picture(f"p{n}", 9.0 * (n % 5) + n) for n in range(12)]
    one, other = (a_log(*pairs)[0] for _ in range(2))
    assert one.add(*records) == [envelope for record in records for envelope in other.add(record)]
