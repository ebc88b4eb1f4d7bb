from __future__ import annotations

import numpy as np
import pytest

from neardup.pipeline.errors import ShapeError
from neardup.pipeline.learn.shared.ranking import micro_average_precision, recall_at_precision


def arrays(scores: list[float], correct: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(scores), np.array(correct, dtype=bool)


def test_a_perfect_ranking_scores_one() -> None:
    assert micro_average_precision(*arrays([0.9, 0.8, 0.1], [1, 1, 0])) == 1.0


def test_a_hand_computed_ranking() -> None:
    # Ranked: true, false, true, false. Precision at the true ones: 1/1 and 2/3.
    scores, correct = arrays([0.2, 0.9, 0.5, 0.7], [0, 1, 1, 0])
    assert micro_average_precision(scores, correct) == pytest.approx((1 + 2 / 3) / 2)


def test_true_pairs_that_were_not_predicted_count() -> None:
    scores, correct = arrays([0.9, 0.5], [1, 1])
    assert micro_average_precision(scores, correct, positives=4) == pytest.approx(0.5)


def test_ties_are_ranked_false_before_true() -> None:
    scores, correct = arrays([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0])
    assert micro_average_precision(scores, correct) == pytest.approx(1 / 4)


def test_without_positives_the_score_is_zero() -> None:
    assert micro_average_precision(*arrays([0.5], [0])) == 0.0
    assert micro_average_precision(*arrays([], []), positives=3) == 0.0


def test_recall_at_precision_takes_the_lowest_threshold_that_holds() -> None:
    # Precision after each pair: 1, 1/2, 2/3, 3/4, 3/5.
    scores, correct = arrays([0.9, 0.8, 0.7, 0.6, 0.5], [1, 0, 1, 1, 0])
    assert recall_at_precision(scores, correct, precision=0.75) == (1.0, 0.6)
    recall, threshold = recall_at_precision(scores, correct, precision=0.8)
    assert recall == pytest.approx(1 / 3)
    assert threshold == 0.9
    assert recall_at_precision(scores, correct, positives=6, precision=0.75) == (0.5, 0.6)


def test_a_threshold_takes_all_pairs_of_its_score() -> None:
    scores, correct = arrays([0.9, 0.9, 0.8], [1, 0, 1])
    assert recall_at_precision(scores, correct, precision=0.9) == (0.0, float("inf"))
    assert recall_at_precision(scores, correct, precision=0.6) == (1.0, 0.8)


def test_an_empty_ranking_recalls_nothing() -> None:
    assert recall_at_precision(*arrays([], []), positives=2) == (0.0, float("inf"))


def test_arrays_of_different_length_are_refused() -> None:
    with pytest.raises(ShapeError):
        micro_average_precision(np.zeros(3), np.zeros(2, dtype=bool))
