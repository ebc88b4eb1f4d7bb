"""How false matches are taken to grow beyond the references that were drawn."""

from __future__ import annotations

import numpy as np
import pytest

from neardup.pipeline.learn.calibrate.fit import growth


def drawn(shares: dict[int, float]) -> dict[int, np.ndarray]:
    """Return curves, (1, 3), whose middle point is where few queries find a stranger."""
    return {level: np.array([[0.5, share, 0.0]]) for level, share in shares.items()}


@pytest.mark.parametrize(
    ("shares", "times"),
    [
        ({100: 0.02, 1000: 0.02, 10_000: 0.02}, 1.0),  # not at all
        ({100: 0.0001, 1000: 0.001, 10_000: 0.01}, 100.0),  # as the references
        ({100: 0.001, 1000: 0.00316227766, 10_000: 0.01}, 10.0),  # as their root
        ({100: 0.02, 1000: 0.01, 10_000: 0.005}, 1.0),  # a fall is chance
        ({1: 0.0001, 10: 0.0001, 100: 0.02, 10_000: 0.02}, 1.0),  # few references say nothing
    ],
)
def test_false_matches_grow_on_as_the_draws_grew(shares: dict[int, float], times: float) -> None:
    assert growth(drawn(shares))(1_000_000) == pytest.approx([times], rel=1e-3)


@pytest.mark.parametrize(
    "shares",
    [
        {1: 0.01, 10: 0.01, 60: 0.01},  # none is large
        {100: 0.01, 500: 0.01},  # they reach too little
        {100: 0.0, 10_000: 0.0},  # no query finds anything
        {100: 0.9, 10_000: 0.9},  # nearly every query does
    ],
)
def test_false_matches_grow_with_the_references_where_the_draws_say_nothing(shares: dict[int, float]) -> None:
    most = max(shares)
    assert growth(drawn(shares))(50 * most).tolist() == [50.0]


def test_growth_is_trusted_as_far_as_the_draws_reach() -> None:
    times = growth(drawn({100: 0.01, 10_000: 0.01}))
    assert times(1_000_000).tolist() == [1.0]
    assert times(7_000_000).tolist() == [7.0]


def test_each_resampling_has_growth_of_its_own() -> None:
    first, second = drawn({100: 0.01, 10_000: 0.01}), drawn({100: 0.0001, 10_000: 0.01})
    both = {level: np.concatenate([first[level], second[level]]) for level in first}
    assert growth(both)(1_000_000) == pytest.approx([1.0, 100.0])
