"""Quality of one global ranking of (query, reference) predictions, as DISC21 defines it.

All pairs of all queries are ranked together, and recall counts *all* true pairs, found or not. Pairs with the same
score are ranked worst-case, false before true, so that a constant score earns nothing.

Source: Douze et al. 2021, arXiv:2106.09672, section 4.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ShapeError

Scores = npt.NDArray[np.floating[Any]]
Truth = npt.NDArray[np.bool_]


class Ranking:
    """A ranking of pairs. Sorting the false ones is nearly all of its cost, so ask one ranking for all figures."""

    def __init__(self, scores: Scores, correct: Truth, positives: int | None = None) -> None:
        """Rank.

        Args:
            scores: (p,) of the predicted pairs, higher is more alike.
            correct: (p,) whether the pair is a true one.
            positives: number of true pairs in the ground truth; those that were predicted without it.
        Raises:
            ShapeError: the arrays differ in shape.
        """
        if scores.shape != correct.shape or scores.ndim != 1:
            raise ShapeError(f"scores have shape {scores.shape} and correct {correct.shape}, expected both (p,)")
        self.true = np.sort(scores[correct])[::-1]
        self.false = np.sort(scores[~correct])
        self.positives = len(self.true) if positives is None else positives

    def false_from(self, scores: Scores) -> npt.NDArray[np.int64]:
        """Return how many false pairs have at least these scores."""
        return np.asarray(len(self.false) - np.searchsorted(self.false, scores, side="left"), dtype=np.int64)

    @cached_property
    def precision(self) -> npt.NDArray[np.float64]:
        """Precision after each true pair, in the order of the ranking."""
        found = np.arange(1, len(self.true) + 1)
        return np.asarray(found / (found + self.false_from(self.true)), dtype=np.float64)

    @property
    def micro_ap(self) -> float:
        """The area under the precision-recall curve, Σ (recall step × precision), 0 to 1."""
        return float(self.precision.sum() / self.positives) if self.positives else 0.0

    def recall_at_precision(self, precision: float = 0.9) -> tuple[float, float]:
        """Return the highest recall that a threshold reaches with at least this precision, and the threshold.

        A threshold takes all pairs of its score or none. Where no threshold is precise enough: (0.0, inf).
        """
        last = np.append(self.true[1:] < self.true[:-1], True) if len(self.true) else np.zeros(0, dtype=bool)
        good = np.flatnonzero(last & (self.precision >= precision))
        if not len(good) or not self.positives:
            return 0.0, float("inf")
        return float((good[-1] + 1) / self.positives), float(self.true[good[-1]])

    def recall_at_false_rate(self, rate: float) -> float:
        """Return the share of true pairs above a threshold that at most this share of the false pairs reaches."""
        allowed = int(rate * len(self.false))
        return float((self.false_from(self.true) <= allowed).sum() / self.positives) if self.positives else 0.0

    def curve(self, points: int = 200) -> tuple[list[float], list[float]]:
        """Return recall and precision along the ranking, at most so many points."""
        if not len(self.true):
            return [], []
        chosen = np.unique(np.linspace(0, len(self.true) - 1, points).astype(int)).tolist()
        return [(i + 1) / max(self.positives, 1) for i in chosen], [float(self.precision[i]) for i in chosen]


def micro_average_precision(scores: Scores, correct: Truth, positives: int | None = None) -> float:
    """Return `Ranking.micro_ap`; arguments and errors as `Ranking`."""
    return Ranking(scores, correct, positives).micro_ap


def recall_at_precision(
    scores: Scores, correct: Truth, positives: int | None = None, precision: float = 0.9
) -> tuple[float, float]:
    """Return `Ranking.recall_at_precision`; arguments and errors as `Ranking`."""
    return Ranking(scores, correct, positives).recall_at_precision(precision)
