from __future__ import annotations

import numpy as np

from neardup.pipeline.learn.shared.mistakes import Missed, Stranger, worst_missed, worst_strangers

SCORES = np.array([[0.9, 0.8, 0.1], [0.7, 0.2, 0.6], [0.3, 0.95, 0.5]])
CORRECT = np.array([[True, False, False], [False, True, False], [False, False, False]])
ALL = np.ones((3, 3), dtype=bool)


def test_the_highest_wrong_pairs_come_first_with_each_side_once() -> None:
    assert worst_strangers(SCORES, CORRECT, ALL, 9) == [Stranger(2, 1, 0.95), Stranger(1, 0, 0.7), Stranger(0, 2, 0.1)]
    assert worst_strangers(SCORES, CORRECT, ALL, 1) == [Stranger(2, 1, 0.95)]


def test_pairs_that_do_not_count_are_no_mistakes() -> None:
    counted = ALL.copy()
    counted[2, 1] = False
    assert worst_strangers(SCORES, CORRECT, counted, 1) == [Stranger(0, 1, 0.8)]
    assert worst_strangers(SCORES, CORRECT, CORRECT, 3) == []


def test_missed_copies_are_those_behind_another_reference() -> None:
    assert worst_missed(SCORES, CORRECT, ALL, 9) == [Missed(1, 1, 0, 0.2, 0.7)]


def test_an_original_is_shown_once_by_its_worst_copy() -> None:
    scores, correct = np.array([[0.5, 0.6], [0.1, 0.9]]), np.array([[True, False], [True, False]])
    assert worst_missed(scores, correct, np.ones((2, 2), dtype=bool), 9) == [Missed(1, 0, 1, 0.1, 0.9)]


def test_a_ranking_without_copies_has_none_to_miss() -> None:
    assert worst_missed(SCORES, np.zeros((3, 3), dtype=bool), ALL, 3) == []
