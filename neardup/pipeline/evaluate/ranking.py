"""Quality of one global ranking of (query, reference) predictions, as DISC21 defines it.

All pairs of all queries are ranked together, and recall counts *all* true pairs, found or not. Pairs with the same
score are ranked worst-case, false before true, so that a constant score earns nothing.

Source: Douze et al. 2021, arXiv:2106.09672, section 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ShapeError

Scores = npt.NDArray[np.floating[Any]]
Truth = npt.NDArray[np.bool_]


def micro_average_precision(scores: Scores, correct: Truth, positives: int | None = None) -> float:
    """Return the area under the precision-recall curve of the ranking, Σ (recall step × precision), 0 to 1.

    Args:
        scores: (p,) of the predicted pairs, higher is more alike.
        correct: (p,) whether the pair is a true one.
        positives: number of true pairs in the ground truth; those that were predicted without it.
    Raises:
        ShapeError: the arrays differ in shape.
    """
    precision, hits, total = _rank(scores, correct, positives)
    return float(precision[hits].sum() / total) if total else 0.0


def recall_at_precision(
    scores: Scores, correct: Truth, positives: int | None = None, precision: float = 0.9
) -> tuple[float, float]:
    """Return the highest recall that a threshold reaches with at least this precision, and the threshold.

    A threshold takes all pairs of its score or none. Where no threshold is precise enough: (0.0, inf).

    Args, Raises: as `micro_average_precision`.
    """
    reached, hits, total = _rank(scores, correct, positives)
    ordered = np.sort(scores)[::-1]
    ends = np.append(ordered[1:] < ordered[:-1], True) if len(ordered) else np.zeros(0, dtype=bool)
    good = np.flatnonzero(ends & (reached >= precision))
    if not len(good) or not total:
        return 0.0, float("inf")
    return float(hits[: good[-1] + 1].sum() / total), float(ordered[good[-1]])


def _rank(scores: Scores, correct: Truth, positives: int | None) -> tuple[npt.NDArray[np.float64], Truth, int]:
    """Return precision after each pair of the ranking, whether the pair is true, and the number of true pairs."""
    if scores.shape != correct.shape or scores.ndim != 1:
        raise ShapeError(f"scores have shape {scores.shape} and correct {correct.shape}, expected both (p,)")
    order = np.lexsort((correct, -scores))
    hits = correct[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return precision, hits, int(correct.sum()) if positives is None else positives
