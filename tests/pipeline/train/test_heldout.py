from __future__ import annotations

import numpy as np
import pytest

from neardup.pipeline.train.heldout import HeldOut, build_held_out, measure, normalise
from neardup.pipeline.train.pictures import Pictures
from neardup.pipeline.types import Descriptors, Pixels


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    random = np.random.default_rng(0)
    pixels = tuple(random.integers(0, 256, (20, 24, 3), dtype=np.uint8) for _ in range(30))
    names = tuple(f"{i:02}" for i in range(30))
    return Pictures(names, pixels, names, frozenset())


@pytest.fixture(scope="module")
def held_out(pictures: Pictures) -> HeldOut:
    return build_held_out(pictures, list(range(18)), list(range(18, 30)), list(range(10)), 8)


def test_three_quarters_are_references_with_three_copies_each(held_out: HeldOut) -> None:
    assert (held_out.truth >= 0).sum() == 9 * 3
    assert (held_out.truth == -1).sum() == 3
    assert np.bincount(held_out.truth[held_out.truth >= 0]).tolist() == [3] * 9


def test_the_background_is_no_reference(held_out: HeldOut) -> None:
    assert len(held_out.background) == 10
    assert len(held_out.references) == 9 + 8  # the other training pictures are distractors
    background = {tile.tobytes() for tile in held_out.background}
    assert not background & {tile.tobytes() for tile in held_out.references}


def test_the_same_pictures_give_the_same_set(pictures: Pictures, held_out: HeldOut) -> None:
    again = build_held_out(pictures, list(range(18)), list(range(18, 30)), list(range(10)), 8)
    np.testing.assert_array_equal(again.queries, held_out.queries)
    assert again.edits == held_out.edits


def test_normalising_subtracts_the_mean_of_the_three_nearest() -> None:
    similarities = np.array([[0.9, 0.1], [0.5, 0.4]], np.float32)
    background = np.array([[0.3, 0.1, 0.2, -1.0], [0.0, 0.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(normalise(similarities, background), [[0.7, -0.1], [0.5, 0.4]], atol=1e-6)


def test_without_a_background_nothing_is_subtracted() -> None:
    similarities = np.array([[0.9]], np.float32)
    np.testing.assert_array_equal(normalise(similarities, np.zeros((1, 0), np.float32)), similarities)


def test_a_network_that_knows_the_answer_scores_one_and_a_constant_one_nothing(held_out: HeldOut) -> None:
    rows = len(held_out.references)

    def knowing(tiles: Pixels) -> Descriptors:
        """Return an axis per reference: the right one for each copy, and one that nobody shares for the rest."""
        axes = np.eye(rows + 2, dtype=np.float32)
        if tiles is held_out.queries:
            return axes[np.where(held_out.truth < 0, rows, held_out.truth)]
        return axes[:rows] if tiles is held_out.references else axes[[rows + 1] * len(tiles)]

    best = measure(held_out, knowing)
    assert (best.micro_ap_raw, best.micro_ap, best.recall_at_p90, best.recall_at_1) == (1, 1, 1, 1)

    worst = measure(held_out, lambda tiles: np.full((len(tiles), 4), 0.5, np.float32))
    assert worst.micro_ap < 0.1
    assert worst.recall_at_p90 == 0
