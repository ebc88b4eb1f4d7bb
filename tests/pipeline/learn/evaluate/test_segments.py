from __future__ import annotations

import numpy as np
import pytest

from neardup.pipeline.learn.evaluate.segments import Boxes, SegmentQuality, covered, measure_segments


def boxes(*rows: tuple[float, float, float, float]) -> Boxes:
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


TRUE = boxes((0, 10, 20, 30))


@pytest.mark.parametrize(
    ("predicted", "precision", "recall"),
    [
        (TRUE, 1, 1),
        (boxes((0, 5, 20, 25)), 1, 0.25),  # half of it on both axes
        (boxes((0, 20, 20, 40)), 0.25, 1),  # twice as long
        (boxes((5, 15, 25, 35)), 0.25, 0.25),  # shifted by half
        (boxes((0, 5, 20, 25), (5, 10, 25, 30)), 1, 1),  # in two pieces
        (boxes((0, 10, 20, 30), (0, 10, 20, 30)), 1, 1),  # twice: the union counts once, its length twice
        (boxes((0, 10, 50, 60)), 0, 0),  # elsewhere in the reference
        (boxes((10, 20, 30, 40)), 0, 0),  # touches in a point
        (boxes((0, 10, 20, 30), (40, 50, 60, 70)), 0.25, 1),  # one more that is wrong
        (boxes((0, 10, 20, 25)), 1, 0.5),  # played at half speed: one axis is right
    ],
)
def test_overlap_on_both_axes(predicted: Boxes, precision: float, recall: float) -> None:
    assert covered(predicted, TRUE) == pytest.approx(precision)
    assert covered(TRUE, predicted) == pytest.approx(recall)


def test_a_still_in_a_video_has_no_length_on_its_axis() -> None:
    assert covered(boxes((0, 0, 4, 6)), boxes((0, 0, 5, 6))) == pytest.approx(0.5)
    assert covered(boxes((0, 0, 4, 6)), boxes((0, 0, 7, 9))) == 0
    assert covered(boxes((0, 0, 4, 4)), boxes((0, 0, 4, 4))) == 1


def test_precision_is_over_what_was_predicted_and_recall_over_what_is_true() -> None:
    true = {("q", "r"): TRUE, ("q", "s"): boxes((0, 4, 0, 4))}
    predicted = {("q", "r"): boxes((0, 5, 20, 25)), ("q", "t"): boxes((0, 1, 0, 1)), ("p", "r"): boxes()}
    found = measure_segments(predicted, true)
    assert found == SegmentQuality(precision=0.5, recall=0.125, pairs=2, wrong=1)
    assert found.f1 == pytest.approx(0.2)


def test_nothing_found_and_nothing_true() -> None:
    assert measure_segments({}, {("q", "r"): TRUE}).f1 == 0
    assert measure_segments({("q", "r"): TRUE}, {}) == SegmentQuality(0.0, 0.0, 1, 1)
