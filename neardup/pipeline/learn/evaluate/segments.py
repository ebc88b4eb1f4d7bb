"""How well copied stretches of videos are located: precision and recall by how long they overlap.

A copied segment of two videos is a box: a stretch of the query by a stretch of the reference. Within one pair of
videos,

    precision = covered seconds of the predicted boxes / their seconds
    recall    = covered seconds of the true boxes / their seconds

on the query's axis, times the same on the reference's, where a box is covered, on an axis, by the union of its
intersections with the other side's boxes that overlap it. A segment in pieces, or several as one, is not punished; one
that is too long, too short or shifted is. Overall, precision is the mean over the pairs in which something was
predicted, recall over the pairs that have something in common.

Source: He et al. 2022, arXiv:2203.02654, and its code, github.com/alipay/VCSL (`precision_recall`, `evaluate_micro`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float64]
"""(n, 4): start and end in the query, start and end in the reference, in seconds."""
Pair = tuple[str, str]
"""Query and reference."""
_AXES = (slice(0, 2), slice(2, 4))


@dataclass(frozen=True, slots=True)
class SegmentQuality:
    """All from 0 to 1. `pairs`: in which something was predicted; `wrong`: of these, with nothing in common."""

    precision: float
    recall: float
    pairs: int
    wrong: int

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def measure_segments(predicted: Mapping[Pair, Boxes], true: Mapping[Pair, Boxes]) -> SegmentQuality:
    """Return precision and recall over all pairs of videos; pairs without boxes may be left out."""
    found = {pair: boxes for pair, boxes in predicted.items() if len(boxes)}
    real = {pair: boxes for pair, boxes in true.items() if len(boxes)}
    none = np.zeros((0, 4))
    precision = [covered(boxes, real.get(pair, none)) for pair, boxes in found.items()]
    recall = [covered(boxes, found.get(pair, none)) for pair, boxes in real.items()]
    return SegmentQuality(
        precision=float(np.mean(precision)) if precision else 0.0,
        recall=float(np.mean(recall)) if recall else 0.0,
        pairs=len(found),
        wrong=len(found.keys() - real.keys()),
    )


def covered(boxes: Boxes, by: Boxes) -> float:
    """Return the share of the boxes' seconds that the others cover, on both axes, multiplied; 0 to 1.

    An axis on which no box has any length, as that of a still picture, counts as covered where any box overlaps.
    """
    share = 1.0
    for axis in _AXES:
        length = float((boxes[:, axis][:, 1] - boxes[:, axis][:, 0]).sum())
        parts = [_crossings(box, by) for box in boxes]
        if length > 0:
            share *= sum(_union(part[:, axis]) for part in parts) / length
        elif not any(map(len, parts)):
            share = 0.0
    return share


def _crossings(box: npt.NDArray[np.float64], others: Boxes) -> Boxes:
    """Return the intersections of a box with those that overlap it, (n, 4)."""
    start = np.maximum(box[[0, 2]], others[:, [0, 2]])
    end = np.minimum(box[[1, 3]], others[:, [1, 3]])
    # Boxes that touch in a point do not overlap, but a still picture has no length to overlap with.
    flat = (box[[1, 3]] == box[[0, 2]]) | (others[:, [1, 3]] == others[:, [0, 2]])
    overlap = np.all((end > start) | (flat & (end >= start)), axis=1)
    return np.stack((start[:, 0], end[:, 0], start[:, 1], end[:, 1]), axis=1)[overlap]


def _union(stretches: npt.NDArray[np.float64]) -> float:
    """Return the seconds that stretches (n, 2) cover together."""
    total, reached = 0.0, -np.inf
    for start, end in stretches[np.argsort(stretches[:, 0])].tolist():
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
