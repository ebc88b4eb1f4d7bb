from __future__ import annotations

import itertools

import numpy as np
import pytest

from neardup.pipeline.learn.shared.pictures import Pictures, squeeze
from neardup.pipeline.learn.train.views import Batches


@pytest.fixture
def pictures() -> Pictures:
    """Forty pictures of noise."""
    random = np.random.default_rng(0)
    pixels = tuple(random.integers(0, 256, (24, 32, 3), dtype=np.uint8) for _ in range(40))
    names = tuple(f"{i:02}" for i in range(40))
    return Pictures(names, pixels, names, frozenset())


def test_a_step_always_gives_the_same_batch(pictures: Pictures) -> None:
    first, again = (Batches(pictures, list(range(40)), 8, seed=1).make(5, 16) for _ in range(2))
    np.testing.assert_array_equal(first.left, again.left)
    np.testing.assert_array_equal(first.right, again.right)


def test_steps_and_seeds_give_other_batches(pictures: Pictures) -> None:
    members = list(range(40))
    batches = [Batches(pictures, members, 8, seed).make(step, 16) for seed, step in ((0, 0), (0, 1), (1, 0))]
    for one, other in itertools.combinations(batches, 2):
        assert (one.left != other.left).any()


def test_views_have_the_wanted_size_and_number(pictures: Pictures) -> None:
    batch = Batches(pictures, list(range(40)), 8, 0).make(0, 16)
    assert batch.left.shape == batch.right.shape == (8, 16, 16, 3)
    assert len(set(batch.pictures.tolist())) == 8


def test_fewer_pictures_than_wanted_make_a_smaller_batch(pictures: Pictures) -> None:
    assert len(Batches(pictures, [3, 4, 5], 64, 0).make(0, 16).left) == 3


def test_companions_are_drawn_together(pictures: Pictures) -> None:
    batches = Batches(pictures, list(range(40)), 16, 0, [[i ^ 1] for i in range(40)])
    for step in range(20):
        chosen = batches.make(step, 8).pictures.tolist()
        assert len(chosen) == len(set(chosen)) == 16
        assert all(i ^ 1 in chosen for i in chosen)


def test_without_edits_both_views_are_the_picture(pictures: Pictures) -> None:
    batch = Batches(pictures, list(range(40)), 8, 0, edits=0.0).make(0, 16)
    np.testing.assert_array_equal(batch.left, batch.right)
    np.testing.assert_array_equal(batch.left[0], squeeze(pictures.pixels[batch.pictures[0]], 16))


def test_batches_hold_each_picture_once_and_bring_neighbours(pictures: Pictures) -> None:
    batches = Batches(pictures, list(range(40)), 16, 0)
    batches.neighbours = np.array([[i ^ 1, i ^ 1] for i in range(40)])
    for step in range(20):
        chosen = batches._choose(np.random.default_rng(step))
        assert len(chosen) == len(set(chosen)) == 16
        assert sum(i ^ 1 in chosen for i in chosen) >= 6


def test_the_stream_goes_on_from_the_first_step(pictures: Pictures) -> None:
    batches = Batches(pictures, list(range(40)), 4, 0)
    stream = batches.stream(7, 16, threads=2)
    for step in (7, 8, 9, 10):
        np.testing.assert_array_equal(next(stream).left, batches.make(step, 16).left)
    stream.close()


def test_squeeze_takes_in_the_whole_picture() -> None:
    halves = np.zeros((10, 40, 3), np.uint8)
    halves[:, 20:] = 200
    tile = squeeze(halves, 8)
    assert tile.shape == (8, 8, 3)
    assert tile[:, :3].max() == 0
    assert tile[:, 5:].min() == 200
