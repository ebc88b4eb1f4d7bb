"""Scores and decisions of pictures once the best candidates are proved, as scan and match do it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from neardup.pipeline.learn.evaluate.queries import EvaluationSet
from neardup.pipeline.learn.shared.page import Table
from neardup.pipeline.log.verdicts import RANK, score_of
from neardup.pipeline.match.compare.compare import PROVED
from neardup.pipeline.match.decide.decide import Judge, PairOutcome, at_most_unsure
from neardup.pipeline.match.decide.evidence import Floats
from neardup.pipeline.prove.finding import Finding, Proved
from neardup.pipeline.prove.prover import Picture, Prover
from neardup.pipeline.types import Decision, Pixels
from neardup.pipeline.where import WHOLE, Relation

AT_ONCE = 32
"""Queries that a thread proves one after another."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided of one query and one reference.

    Attributes:
        copy: whether it is one. probability: that it is one, after calibration.
    """

    query: int
    reference: int
    copy: bool
    decision: Decision
    relation: Relation
    finding: Finding | None
    probability: float


def decide(given: EvaluationSet, evidence: Floats, judge: Judge, references: int, threads: int) -> list[Decided]:
    """Return what is decided of each query and its candidates among m references.

    Args:
        evidence: float32 (q, r).
        judge: one that proves.
        references: m, descriptors of all references.
    """
    least = judge.least(references)
    counted = np.where(given.counted, evidence, -np.inf)

    def some(start: int) -> list[Decided]:
        found: list[Decided] = []
        for query in range(start, min(start + AT_ONCE, len(given.queries))):
            prover = Prover(_InMemory(given.queries[query].pixels, given.references))
            order = np.argsort(-counted[query], kind="stable")
            for place, reference in enumerate(order[: int((counted[query] >= least).sum())].tolist()):
                strength = float(counted[query, reference])
                outcome = PairOutcome(judge.judge(strength, references), 0.0, strength, WHOLE, references)
                proved = prover.prove("query", str(reference)) if place < PROVED else None
                found.append(_decided(given, query, reference, outcome, proved, judge))
        return found

    with ThreadPoolExecutor(threads) as pool:
        return [one for part in pool.map(some, range(0, len(given.queries), AT_ONCE)) for one in part]


def proved_scores(evidence: Floats, decided: Sequence[Decided], judge: Judge, references: int) -> Floats:
    """Return the score of all pairs, float32 (q, r), see `verdicts.score`; what was no candidate is distinct."""
    log_odds = judge.calibration.intercept + judge.calibration.slope * evidence.astype(np.float64)
    log_odds -= judge.calibration.shift(references)
    found = (1.0 - 1.0 / (1.0 + np.exp(log_odds / 4))) / len(RANK)
    for one in decided:
        found[one.query, one.reference] = score_of(one.decision, one.probability)
    return np.asarray(found, np.float32)


def _decided(
    given: EvaluationSet, query: int, reference: int, outcome: PairOutcome, proved: Proved | None, judge: Judge
) -> Decided:
    outcome = at_most_unsure(outcome) if proved is None else judge.prove(outcome, proved)
    return Decided(
        query,
        reference,
        bool(given.correct[query, reference]),
        outcome.judgement.decision,
        outcome.relation,
        None if proved is None else proved.finding,
        outcome.judgement.probability,
    )


@dataclass(frozen=True, slots=True)
class _InMemory:
    query: Pixels
    references: Sequence[Pixels]

    def __call__(self, item: str, _second: float, _side: int, /) -> Picture | None:
        return Picture(self.query if item == "query" else self.references[int(item)])


def decision_table(name: str, decided: Sequence[Decided], given: EvaluationSet) -> Table:
    """Return how copies, other pairs and queries were decided."""
    copies = int(given.correct.any(axis=1).sum())
    rows = []
    for decision in (Decision.DUPLICATE, Decision.UNSURE, Decision.DISTINCT):
        of = [one for one in decided if one.decision is decision]
        right = sum(one.copy for one in of)
        rows.append((decision.value, f"{100 * right / max(copies, 1):.1f} %", f"{right:,}", f"{len(of) - right:,}"))
    sure = [one for one in decided if one.decision is Decision.DUPLICATE]
    expected = sum(1.0 - one.probability for one in sure)
    rows.append(("wrong duplicates, expected", "", "", f"{expected:.1f}"))
    variants = [one for one in decided if one.relation is Relation.VARIANT]
    right = sum(one.copy for one in variants)
    rows.append(
        ("distinct, as variant", f"{100 * right / max(copies, 1):.1f} %", f"{right:,}", f"{len(variants) - right:,}")
    )
    return Table((f"{name}, candidates", "of the copies", "copies", "other pairs"), rows)
