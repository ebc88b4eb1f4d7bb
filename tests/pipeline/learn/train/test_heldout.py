from __future__ import annotations

import numpy as np
import pytest

from neardup.pipeline.learn.shared.pairs import Relations
from neardup.pipeline.learn.shared.pictures import Pictures
from neardup.pipeline.learn.train.heldout import HeldOut, build_held_out, measure, normalise
from neardup.pipeline.types import Descriptors, Pixels


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    random = np.random.default_rng(0)
    pixels = tuple(random.integers(0, 256, (20, 24, 3), dtype=np.uint8) for _ in range(30))
    names = tuple(f"{i:02}" for i in range(30))
    return Pictures(names, pixels, names, frozenset())


STRANGERS = Relations(np.arange(30), np.zeros(30, dtype=bool))


@pytest.fixture(scope="module")
def held_out(pictures: Pictures) -> HeldOut:
    return build_held_out(pictures, STRANGERS, list(range(18)), list(range(18, 30)), list(range(10)), 8)


def test_three_quarters_are_references_with_three_copies_each(held_out: HeldOut) -> None:
    assert held_out.correct.sum(axis=0).tolist() == [3] * 9 + [0] * 4
    assert held_out.correct.sum(axis=1).tolist() == [1] * 27 + [0] * 3
    assert held_out.counted.all()


def test_known_look_alikes_count_neither_way(pictures: Pictures) -> None:
    alike = Relations(STRANGERS.labels, STRANGERS.forged, {"unknown": {18: frozenset({19}), 19: frozenset({18})}})
    held_out = build_held_out(pictures, alike, list(range(18)), list(range(18, 30)), list(range(10)), 8)
    assert np.argwhere(~held_out.counted).tolist() == [[0, 1], [1, 1], [2, 1], [3, 0], [4, 0], [5, 0]]


def test_of_classes_every_second_genuine_picture_is_searched_for_among_the_others(pictures: Pictures) -> None:
    # Held out: a class of three genuine and two forged pictures, one of two, and one of a single picture.
    labels = np.array([*range(18), *[50] * 5, *[51] * 2, 52, *range(60, 64)])
    forged = np.isin(np.arange(30), [21, 22])
    held_out = build_held_out(pictures, Relations(labels, forged), list(range(18)), list(range(18, 26)), [0], 8)
    assert (len(held_out.queries), len(held_out.references)) == (3, 5)  # 18, 20, 23 against 19, 21, 22, 24, 25
    assert held_out.correct.tolist() == [[True, *[False] * 4]] * 2 + [[*[False] * 3, True, False]]
    assert held_out.counted.all()
    assert set(held_out.edits) == {""}


def test_the_background_is_no_reference(held_out: HeldOut) -> None:
    assert len(held_out.background) == 10
    assert len(held_out.references) == 9 + 4  # of the other training pictures half are distractors, half pasted in
    background = {tile.tobytes() for tile in held_out.background}
    assert not background & {tile.tobytes() for tile in held_out.references}


def test_the_same_pictures_give_the_same_set(pictures: Pictures, held_out: HeldOut) -> None:
    again = build_held_out(pictures, STRANGERS, list(range(18)), list(range(18, 30)), list(range(10)), 8)
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
            return axes[np.where(held_out.correct.any(axis=1), held_out.correct.argmax(axis=1), rows)]
        return axes[:rows] if tiles is held_out.references else axes[[rows + 1] * len(tiles)]

    best = measure(held_out, knowing)
    assert (best.micro_ap_raw, best.micro_ap, best.recall_at_p90, best.recall_at_1) == (1, 1, 1, 1)

    worst = measure(held_out, lambda tiles: np.full((len(tiles), 4), 0.5, np.float32))
    assert worst.micro_ap < 0.1
    assert worst.recall_at_p90 == 0
