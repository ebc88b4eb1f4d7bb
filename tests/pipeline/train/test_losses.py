from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from neardup.pipeline.train.losses import info_nce_koleo


def rows(*degrees: float) -> Tensor:
    """Return unit vectors in the plane at these angles."""
    angles = torch.tensor(degrees) * math.pi / 180
    return torch.stack((angles.cos(), angles.sin()), dim=1)


ALL = torch.ones(2, 2, dtype=torch.bool)


def test_two_pairs_at_right_angles_by_hand() -> None:
    # Each row: its positive at cosine 1, two negatives at cosine 0; the nearest negative is √2 away.
    loss = info_nce_koleo(rows(0, 90), rows(0, 90), ALL, temperature=0.5, spread=2.0)
    contrast = -math.log(math.exp(2) / (math.exp(2) + 2))
    assert loss.item() == pytest.approx(contrast - 2.0 * math.log(math.sqrt(2)), abs=1e-5)


def test_equal_pairs_cost_less_than_different_ones() -> None:
    near = info_nce_koleo(rows(0, 90), rows(5, 95), ALL, spread=0)
    far = info_nce_koleo(rows(0, 90), rows(45, 135), ALL, spread=0)
    assert near < far


def test_known_look_alikes_are_not_pushed_apart() -> None:
    apart = torch.tensor([[True, False], [False, True]])
    left = rows(0, 10).requires_grad_()
    loss = info_nce_koleo(left, rows(0, 10), apart, spread=0.0)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    loss.backward()  # type: ignore[no-untyped-call]
    assert left.grad is not None
    assert left.grad.abs().max() < 1e-6


def test_the_regulariser_pushes_negatives_apart_and_not_positives() -> None:
    close = info_nce_koleo(rows(0, 10), rows(0, 10), ALL, temperature=1e6, spread=1.0)
    wide = info_nce_koleo(rows(0, 90), rows(0, 90), ALL, temperature=1e6, spread=1.0)
    assert close - wide == pytest.approx(math.log(math.sqrt(2) / (2 * math.sin(math.radians(5)))), abs=1e-4)


def test_identical_items_give_a_finite_loss_and_gradient() -> None:
    left = rows(0, 0).requires_grad_()
    loss = info_nce_koleo(left, rows(0, 0), ALL)
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert left.grad is not None
    assert torch.isfinite(left.grad).all()
