from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from neardup.pipeline.learn.train.losses import (
    LOSSES,
    Contrastive,
    CrossEntropy,
    InfoNce,
    Loss,
    Triplet,
    contrastive,
    cross_entropy,
    mine_batch_hard,
    mine_semi_hard,
    pairwise,
    triplet,
)

DISTANCES = ("euclidean", "cosine")


def rows(*degrees: float) -> Tensor:
    """Return unit vectors in the plane at these angles."""
    angles = torch.tensor(degrees) * math.pi / 180
    return torch.stack((angles.cos(), angles.sin()), dim=1)


def masks(labels: list[int]) -> tuple[Tensor, Tensor]:
    """Return what is the same and what is different in a batch with these labels; no row is compared with itself."""
    equal = torch.tensor(labels)[:, None] == torch.tensor(labels)
    return equal & ~torch.eye(len(labels), dtype=torch.bool), ~equal


def of_batch(loss: Loss, batch: Tensor, labels: list[int]) -> Tensor:
    result: Tensor = loss(batch, batch, *masks(labels))
    return result


# ---- distances -------------------------------------------------------------------------------------------------------
def test_distances_of_unit_rows_by_hand() -> None:
    sixty = rows(0, 60)
    assert pairwise(sixty, sixty, "euclidean")[0, 1].item() == pytest.approx(1.0, abs=1e-6)
    assert pairwise(sixty, sixty, "cosine")[0, 1].item() == pytest.approx(0.5, abs=1e-6)


def test_euclidean_distance_needs_no_unit_rows_and_cosine_ignores_length() -> None:
    a, b = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    assert pairwise(a, b, "euclidean").item() == pytest.approx(5.0)
    assert pairwise(a, 7 * a, "cosine").item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
def test_equal_rows_have_distance_zero_and_a_finite_gradient(distance: str) -> None:
    both = rows(10, 10).requires_grad_()
    found = pairwise(both, both, distance)  # type: ignore[arg-type]
    assert found.max().item() == pytest.approx(0.0, abs=1e-3)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert both.grad is not None
    assert torch.isfinite(both.grad).all()


# ---- contrastive -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("distance", "similar", "loss"),
    [(200.0, False, 800.0**2), (1200.0, False, 0.0), (2000.0, False, 0.0), (200.0, True, 200.0**2), (0.0, True, 0.0)],
)
def test_contrastive_loss_with_a_margin_of_1000(distance: float, similar: bool, loss: float) -> None:
    assert contrastive(torch.tensor(distance), torch.tensor(similar), margin=1000.0).item() == loss


def test_contrastive_pulls_similar_pairs_and_pushes_dissimilar_ones_only_inside_the_margin() -> None:
    # Slopes by hand: 2D for similar pairs; -2 (margin - D) inside the margin; 0 outside.
    distance = torch.tensor([0.5, 0.5, 1.5], requires_grad=True)
    contrastive(distance, torch.tensor([True, False, False]), margin=1.0).sum().backward()  # type: ignore[no-untyped-call]
    assert distance.grad is not None
    assert distance.grad.tolist() == [1.0, -1.0, 0.0]


def test_a_batch_of_contrastive_pairs_by_hand() -> None:
    # One similar pair at D = 1 (60°), the third row 90° from the first (D = √2, outside) and 30° from the second.
    near = 2 * math.sin(math.radians(15))
    loss = of_batch(Contrastive(margin=1.0), rows(0, 60, 90), [0, 0, 1])
    assert loss.item() == pytest.approx(1.0 + (1 - near) ** 2, abs=1e-5)


# ---- triplet ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("positive", "negative", "loss"), [(0.5, 0.6, 0.2), (0.5, 0.8, 0.0), (0.5, 2.0, 0.0), (0.9, 0.4, 0.8)]
)
def test_triplet_loss_by_hand(positive: float, negative: float, loss: float) -> None:
    cost = triplet(torch.tensor(positive), torch.tensor(negative), margin=0.3)
    assert cost.item() == pytest.approx(loss, abs=1e-6)


TABLE = torch.tensor([[0.0, 0.2, 0.5, 0.3, 0.6, 0.9]])
SAME = torch.tensor([[False, True, True, False, False, False]])
DIFFERENT = torch.tensor([[False, False, False, True, True, True]])


def test_batch_hard_takes_the_furthest_positive_and_the_nearest_negative() -> None:
    row, positive, negative = mine_batch_hard(TABLE, SAME, DIFFERENT, 0.2)
    assert (row.tolist(), positive.tolist(), negative.tolist()) == ([0], [2], [3])


def test_semi_hard_takes_the_nearest_negative_beyond_each_positive_within_the_margin() -> None:
    row, positive, negative = mine_semi_hard(TABLE, SAME, DIFFERENT, 0.2)
    assert (row.tolist(), positive.tolist(), negative.tolist()) == ([0, 0], [1, 2], [3, 4])
    # Beyond 0.5 and within 0.05 there is none, beyond 0.2 and within 0.05 neither.
    assert mine_semi_hard(TABLE, SAME, DIFFERENT, 0.05)[0].tolist() == []


def test_an_anchor_without_positives_or_negatives_is_in_no_triplet() -> None:
    table, none = torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.bool)
    off = ~torch.eye(2, dtype=torch.bool)
    for mine in (mine_batch_hard, mine_semi_hard):
        assert mine(table, none, off, 0.3)[0].tolist() == []
        assert mine(table, off, none, 0.3)[0].tolist() == []


def test_a_triplet_that_is_far_enough_does_not_dilute_the_others() -> None:
    # The first row's negative is 50° away and costs nothing, the second's 30° and does; the others have no positive.
    def chord(degrees: float) -> float:
        return 2 * math.sin(math.radians(degrees / 2))

    assert chord(20) - chord(50) + 0.3 < 0
    loss = of_batch(Triplet(margin=0.3), rows(0, 20, 50, 180), [0, 0, 1, 2])
    assert loss.item() == pytest.approx(chord(20) - chord(30) + 0.3, abs=1e-5)


# ---- binary cross-entropy --------------------------------------------------------------------------------------------
def test_cross_entropy_is_even_at_offset_over_scale() -> None:
    scale, offset = torch.tensor(10.0), torch.tensor(5.0)
    for similar in (True, False):
        cost = cross_entropy(torch.tensor(0.5), torch.tensor(similar), scale, offset)
        assert cost.item() == pytest.approx(math.log(2))
    near = cross_entropy(torch.tensor(0.0), torch.tensor(False), scale, offset)
    assert near.item() == pytest.approx(-math.log(1 - 1 / (1 + math.exp(-5))), rel=1e-5)


def test_cross_entropy_is_finite_at_any_distance() -> None:
    cost = cross_entropy(torch.tensor(1e4), torch.tensor(True), torch.tensor(10.0), torch.tensor(5.0))
    assert cost.item() == pytest.approx(99_995)


def test_scale_and_offset_learn() -> None:
    loss = CrossEntropy()
    of_batch(loss, rows(0, 40, 80, 120), [0, 0, 1, 1]).backward()  # type: ignore[no-untyped-call]
    assert {name for name, value in loss.named_parameters() if value.grad is not None and value.grad != 0} == {
        "log_scale",
        "offset",
    }


def test_pairs_that_count_neither_way_cost_nothing() -> None:
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    assert CrossEntropy()(rows(0, 1), rows(0, 1), nothing, nothing).item() == 0


# ---- InfoNCE ---------------------------------------------------------------------------------------------------------
def test_two_pairs_at_right_angles_by_hand() -> None:
    # Each row: its positive at cosine 1, two negatives at cosine 0; the nearest negative is √2 away.
    loss = of_batch(InfoNce(temperature=0.5, spread=2.0), rows(0, 90, 0, 90), [0, 1, 0, 1])
    contrast = -math.log(math.exp(2) / (math.exp(2) + 2))
    assert loss.item() == pytest.approx(contrast - 2.0 * math.log(math.sqrt(2)), abs=1e-5)


def test_infonce_by_euclidean_distance_by_hand() -> None:
    loss = of_batch(InfoNce("euclidean", temperature=0.5, spread=0.0), rows(0, 90, 0, 90), [0, 1, 0, 1])
    far = math.exp(-math.sqrt(2) / 0.5)
    assert loss.item() == pytest.approx(-math.log(1 / (1 + 2 * far)), abs=1e-3)


def test_the_regulariser_pushes_negatives_apart_and_not_positives() -> None:
    close = of_batch(InfoNce(temperature=1e6, spread=1.0), rows(0, 10, 0, 10), [0, 1, 0, 1])
    wide = of_batch(InfoNce(temperature=1e6, spread=1.0), rows(0, 90, 0, 90), [0, 1, 0, 1])
    expected = math.log(math.sqrt(2) / (2 * math.sin(math.radians(5))))
    assert (close - wide).item() == pytest.approx(expected, abs=1e-4)


# ---- all of them -----------------------------------------------------------------------------------------------------
EVERY = pytest.mark.parametrize(
    "make",
    [
        *(lambda name=name, distance=distance: LOSSES[name](distance) for name in LOSSES for distance in DISTANCES),
        lambda: Triplet(mining="semi-hard"),
    ],
)
Make = Callable[[], Loss]


@EVERY
def test_equal_pairs_cost_less_than_different_ones(make: Make) -> None:
    labels = [0, 1, 0, 1]
    assert of_batch(make(), rows(0, 50, 5, 45), labels) <= of_batch(make(), rows(0, 50, 40, 20), labels)


@EVERY
def test_gradients_agree_with_finite_differences(make: Make) -> None:
    loss = make().double()
    same, different = masks([0, 1, 2, 0, 1, 2])
    start = torch.randn(6, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()

    def of_rows(batch: Tensor) -> Tensor:
        unit = torch.nn.functional.normalize(batch, dim=1)
        value: Tensor = loss(unit, unit, same, different)
        return value

    assert torch.autograd.gradcheck(of_rows, (start,), eps=1e-6, atol=1e-5)


@EVERY
def test_identical_rows_give_a_finite_loss_and_gradient(make: Make) -> None:
    batch = rows(0, 0, 0, 0).requires_grad_()
    loss = of_batch(make(), batch, [0, 1, 0, 1])
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert batch.grad is not None
    assert torch.isfinite(batch.grad).all()


@EVERY
def test_known_look_alikes_are_not_pushed_apart(make: Make) -> None:
    batch = rows(0, 10, 0, 10).requires_grad_()
    same, _ = masks([0, 1, 0, 1])
    loss = make()(batch, batch, same, torch.zeros_like(same))
    loss.backward()  # type: ignore[no-untyped-call]
    assert batch.grad is not None
    assert batch.grad.abs().max() < 1e-4


@EVERY
def test_a_batch_without_pairs_costs_nothing_and_can_be_learned_from(make: Make) -> None:
    batch = rows(0, 90).requires_grad_()
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    loss = make()(batch, batch, nothing, nothing)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0


@EVERY
def test_descending_the_loss_brings_copies_together_and_strangers_apart(make: Make) -> None:
    loss, labels = make(), [0, 1, 2, 0, 1, 2]
    batch = torch.randn(6, 8, generator=torch.Generator().manual_seed(5)).requires_grad_()
    optimizer = torch.optim.Adam([batch], lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        of_batch(loss, torch.nn.functional.normalize(batch, dim=1), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    distances = pairwise(batch, batch, "cosine")
    same, different = masks(labels)
    assert distances[same].max() < distances[different].min()


@EVERY
def test_what_lies_in_a_memory_counts_as_the_batch_does(make: Make) -> None:
    anchors, memory = rows(0, 20, 40).requires_grad_(), rows(0, 30)
    same = torch.tensor([[False, True, False, True, False], [True, False, False, True, False], [False] * 4 + [True]])
    different = ~same
    different[torch.arange(3), torch.arange(3)] = False
    loss = make()(anchors, torch.cat((anchors, memory)), same, different)
    loss.backward()  # type: ignore[no-untyped-call]
    assert anchors.grad is not None
    assert loss > -10
    assert anchors.grad.abs().max() > 0
