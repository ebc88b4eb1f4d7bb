from __future__ import annotations

import pytest

from neardup.pipeline.learn.shared.intervals import wilson


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(0, 0, 0.0, 1.0), (0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (1, 29, 0.0061, 0.1718), (10, 10, 0.7225, 1.0)],
)
def test_interval_of_a_share(count: int, total: int, low: float, high: float) -> None:
    """1 of 29 is an example of Newcombe 1998, Statistics in Medicine 17, page 861."""
    assert wilson(count, total) == pytest.approx((low, high), abs=5e-5)


def test_a_higher_level_is_wider() -> None:
    assert wilson(3, 40, 0.99)[1] > wilson(3, 40)[1] > wilson(3, 40, 0.9)[1]
