"""Figures of one system on an evaluation set, over all queries and cut by kind, family, strength and edit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neardup.pipeline.learn.evaluate.queries import EvaluationSet, Query
from neardup.pipeline.learn.shared.ranking import Ranking

PAIR_RATE = 1e-6
CUTS = ("kind", "family", "strength", "edit")


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the queries.

    Attributes:
        copies: queries of it that have an original. micro_ap: of its queries ranked by themselves.
        recall: share of its copies above the threshold that has 90 % precision over *all* queries.
    """

    name: str
    copies: int
    micro_ap: float
    recall: float


@dataclass(frozen=True, slots=True)
class Result:
    """What a system scored; all figures from 0 to 1.

    Attributes:
        threshold: the lowest score that has 90 % precision; inf where none has.
        recall_at_rate: of the copies, above a threshold that one false pair in a million reaches.
        recall_at_1: of the copies, with the original ranked first, ahead of any tie.
        cuts: the slices by each of CUTS. curve: recall and precision.
    """

    name: str
    micro_ap: float
    recall_at_p90: float
    threshold: float
    recall_at_1: float
    recall_at_rate: float
    cuts: dict[str, list[Slice]]
    curve: tuple[list[float], list[float]]


def measure(name: str, given: EvaluationSet, scores: npt.NDArray[np.float32]) -> Result:
    """Return the figures of a system that gave these scores (q, m)."""
    ranking = Ranking(scores[given.counted], given.correct[given.counted])
    recall, threshold = ranking.recall_at_precision(0.9)
    copies: npt.NDArray[np.bool_] = np.any(given.correct, axis=1)
    own = np.where(given.correct, scores, -np.inf).max(axis=1)
    other = np.where(given.counted & ~given.correct, scores, -np.inf).max(axis=1)
    return Result(
        name=name,
        micro_ap=ranking.micro_ap,
        recall_at_p90=recall,
        threshold=threshold,
        recall_at_1=float((own > other)[copies].mean()),
        recall_at_rate=ranking.recall_at_false_rate(PAIR_RATE),
        cuts={cut: _cut(given, scores, cut, copies, own >= threshold) for cut in CUTS},
        curve=ranking.curve(),
    )


def _cut(
    given: EvaluationSet,
    scores: npt.NDArray[np.float32],
    cut: str,
    copies: npt.NDArray[np.bool_],
    found: npt.NDArray[np.bool_],
) -> list[Slice]:
    values = np.array([_value(query, cut) for query in given.queries])
    slices = []
    for value in np.unique(values):
        rows = np.flatnonzero(values == value)
        if not copies[rows].any():
            continue
        counted = given.counted[rows]
        ranking = Ranking(scores[rows][counted], given.correct[rows][counted])
        number = int(copies[rows].sum())
        slices.append(Slice(str(value), number, ranking.micro_ap, float(found[rows][copies[rows]].mean())))
    return slices


def _value(query: Query, cut: str) -> str:
    if cut == "edit":
        return query.family if "+" in query.edits else query.edits
    return str(getattr(query, cut))
