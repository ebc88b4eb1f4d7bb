from __future__ import annotations

import math

import numpy as np
import pytest

from neardup.pipeline.errors import UsageError
from neardup.pipeline.learn.shared.verification import Pairs, Roc, all_pairs, interval, take


def scored(genuine: list[float], impostor: list[float]) -> Pairs:
    """Return pairs of as many people as there are pairs."""
    score = np.array(genuine + impostor)
    own = np.arange(len(score))
    return Pairs(score, np.arange(len(score)) < len(genuine), own, np.where(own < len(genuine), own, own - 1))


def test_rates_that_meet_at_a_threshold() -> None:
    # From 0.6 up: one of four impostors is accepted, one of four genuine ones rejected.
    roc = Roc(scored([0.9, 0.8, 0.7, 0.3], [0.6, 0.5, 0.2, 0.1]))
    assert roc.equal_error_rate == 0.25
    assert roc.equal_error_threshold == 0.6


def test_rates_that_meet_between_thresholds() -> None:
    # Down to 0.6: FAR 0, FRR 1/2. At 0.5: FAR 1, FRR 1/2. Halfway there the first is 1/2, too.
    assert Roc(scored([0.6, 0.4], [0.5])).equal_error_rate == pytest.approx(0.5)
    # At 0.8: FAR 0, FRR 2/3. At 0.7: FAR 1/2, FRR 2/3. At 0.6: FAR 1/2, FRR 1/3, so they met where FAR was 1/2.
    assert Roc(scored([0.8, 0.6, 0.5], [0.7, 0.1])).equal_error_rate == pytest.approx(0.5)


def test_separate_scores_have_no_error_and_equal_ones_say_nothing() -> None:
    assert Roc(scored([0.9, 0.8], [0.2, 0.1, 0.0])).equal_error_rate == 0
    assert Roc(scored([0.5] * 3, [0.5] * 5)).equal_error_rate == pytest.approx(0.5)
    assert Roc(scored([0.1], [0.9])).equal_error_rate == 1


def test_a_threshold_keeps_the_rate_of_false_accepts() -> None:
    roc = Roc(scored([0.9, 0.7, 0.5, 0.3], [0.8, 0.6, 0.4, 0.2]))
    assert (roc.threshold_at(0.0), roc.true_accept_at(0.0)) == (0.9, 0.25)
    assert (roc.threshold_at(0.25), roc.true_accept_at(0.25)) == (0.7, 0.5)
    assert (roc.threshold_at(0.24), roc.true_accept_at(0.24)) == (0.9, 0.25)
    assert (roc.threshold_at(1.0), roc.true_accept_at(1.0)) == (0.2, 1.0)
    worst = Roc(scored([0.1], [0.9]))
    assert (worst.threshold_at(0.0), worst.true_accept_at(0.0)) == (math.inf, 0.0)


def test_curve_goes_from_nothing_to_everything() -> None:
    false, true = Roc(scored([0.9, 0.7], [0.8, 0.6])).curve()
    assert false == [0, 0, 0.5, 0.5, 1]
    assert true == [0, 0.5, 0.5, 1, 1]


def test_a_pair_that_counts_twice_is_as_two_pairs() -> None:
    pairs = scored([0.9, 0.4], [0.6, 0.1])
    twice = scored([0.9, 0.4, 0.4], [0.6, 0.1])
    assert Roc(pairs, np.array([1.0, 2, 1, 1])).equal_error_rate == pytest.approx(Roc(twice).equal_error_rate)


@pytest.mark.parametrize("pairs", [scored([0.5], []), scored([], [0.5]), scored([], [])])
def test_one_kind_of_pairs_has_no_rate(pairs: Pairs) -> None:
    with pytest.raises(UsageError, match="both genuine and impostor"):
        Roc(pairs)


def test_pairs_of_two_forgeries_are_left_out_and_those_with_one_are_impostors() -> None:
    scores = np.arange(25.0).reshape(5, 5)
    pairs = all_pairs(scores, np.array([1, 1, 1, 1, 2]), np.array([False, False, True, True, False]))
    told = list(zip(pairs.score.tolist(), pairs.genuine.tolist(), strict=True))
    assert told == [
        (1, True), (2, False), (3, False), (4, False), (7, False), (8, False), (9, False), (14, False), (19, False),
    ]  # fmt: skip
    own = take(pairs, pairs.a == pairs.b)
    assert own.score.tolist() == [1, 2, 3, 7, 8]


def test_the_interval_holds_the_rate_and_narrows_with_more_people() -> None:
    def of(people: int) -> Pairs:
        rng = np.random.default_rng(1)
        labels = np.repeat(np.arange(people), 4)
        place = rng.standard_normal((people, 3))[labels] + 0.8 * rng.standard_normal((4 * people, 3))
        return all_pairs(-np.linalg.norm(place[:, None] - place[None], axis=2), labels)

    few, many = interval(of(8), 200), interval(of(60), 200)
    assert few[0] < Roc(of(8)).equal_error_rate < few[1]
    assert many[0] < Roc(of(60)).equal_error_rate < many[1]
    assert many[1] - many[0] < (few[1] - few[0]) / 1.5
    assert interval(of(8), 200) == few
