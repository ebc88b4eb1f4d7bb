from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neardup.pipeline.errors import UsageError
from neardup.pipeline.learn.calibrate import distractors
from neardup.pipeline.learn.calibrate.distractors import cut, describe_distractors
from neardup.pipeline.learn.shared.pictures import Pictures
from neardup.pipeline.types import Embedded, Pixels


class Colours:
    """Describes a tile by its mean colour, and counts what it was asked."""

    space, dimension, size, engine = "test", 3, 32, "a test"

    def __init__(self) -> None:
        self.asked = 0

    def embed(self, tiles: Pixels) -> Embedded:
        self.asked += len(tiles)
        means = tiles.reshape(len(tiles), -1, 3).mean(axis=1).astype(np.float32)
        vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
        return Embedded(vectors, np.zeros((len(tiles), 32), np.uint8), np.full(len(tiles), 50, np.uint8))


@pytest.fixture
def pictures() -> Pictures:
    random = np.random.default_rng(0)
    pixels = tuple(random.integers(0, 256, (40, 60, 3), dtype=np.uint8) for _ in range(3))
    names = tuple(f"{n:040x}" for n in (5, 6, 7))
    return Pictures(names, pixels, names, frozenset(), tuple(map(Path, names)))


def test_cut_lies_within_the_picture_and_is_the_same_each_time(pictures: Pictures) -> None:
    one = cut(pictures.pixels[0], pictures.sha1[0], 4)
    assert 0.3 * 40 <= one.shape[0] <= 0.8 * 40
    assert 0.3 * 60 <= one.shape[1] <= 0.8 * 60
    assert np.array_equal(one, cut(pictures.pixels[0], pictures.sha1[0], 4))
    assert not np.array_equal(one, cut(pictures.pixels[0], pictures.sha1[0], 5))


def test_cuts_are_made_of_each_picture_in_turn(pictures: Pictures) -> None:
    found = describe_distractors(pictures, [2, 0], 5, Colours())
    assert found.made_of.tolist() == [2, 0, 2, 0, 2]
    assert found.vectors.shape == (5, 3)


def test_a_second_run_goes_on_where_the_first_ended(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distractors, "PORTION", 4)
    first, second, third = Colours(), Colours(), Colours()
    few = describe_distractors(pictures, [0, 1], 8, first, tmp_path)
    more = describe_distractors(pictures, [0, 1], 11, second, tmp_path)
    assert (first.asked, second.asked) == (8, 3)
    assert np.array_equal(more.vectors[:8], few.vectors)
    assert len(more.vectors) == 11
    for path in tmp_path.glob("*/00001.npz"):
        path.write_bytes(path.read_bytes()[:100])
    again = describe_distractors(pictures, [0, 1], 11, third, tmp_path)
    assert third.asked == 4
    assert np.array_equal(again.vectors, more.vectors)


def test_no_picture_to_cut_is_refused(pictures: Pictures) -> None:
    with pytest.raises(UsageError, match="no picture"):
        describe_distractors(pictures, [], 5, Colours())
