from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from neardup.pipeline.learn.edits import EDITS, Draw, chain, draw_steps
from neardup.pipeline.types import Pixels


@pytest.fixture(scope="module")
def photo() -> Pixels:
    return np.ascontiguousarray(data.chelsea()[::2, ::2])  # 150 × 226


def draw(seed: int = 0, *others: Pixels) -> Draw:
    return Draw(np.random.default_rng(seed), others)


@pytest.mark.parametrize("name", sorted(EDITS))
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_every_edit_gives_an_rgb_picture_that_differs(photo: Pixels, name: str, strength: float) -> None:
    before = photo.copy()
    edited = EDITS[name](photo, strength, draw(3))
    np.testing.assert_array_equal(photo, before)
    assert edited.dtype == np.uint8
    assert edited.ndim == 3
    assert edited.shape[2] == 3
    assert min(edited.shape[:2]) >= 8
    if not (name in ("resize", "colour", "tone") and strength == 0):
        assert edited.shape != photo.shape or (edited != photo).any()


@pytest.mark.parametrize("name", sorted(EDITS))
@pytest.mark.parametrize("shape", [(1, 1, 3), (16, 9, 3), (9, 400, 3)])
def test_every_edit_bears_tiny_and_narrow_pictures(name: str, shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    for seed in range(4):
        assert EDITS[name](pixels, 1.0, draw(seed)).size


@pytest.mark.parametrize("name", sorted(EDITS))
def test_the_same_seed_gives_the_same_edit(photo: Pixels, name: str) -> None:
    np.testing.assert_array_equal(EDITS[name](photo, 0.7, draw(5)), EDITS[name](photo, 0.7, draw(5)))


def test_mirror_and_flip_swap_the_axes(photo: Pixels) -> None:
    np.testing.assert_array_equal(EDITS["mirror"](photo, 1, draw()), photo[:, ::-1])
    np.testing.assert_array_equal(EDITS["flip"](photo, 1, draw()), photo[::-1])


def test_a_quarter_turn_is_lossless(photo: Pixels) -> None:
    turned = EDITS["rotate_quarter"](photo, 1, draw())
    assert any(np.array_equal(turned, np.rot90(photo, turns)) for turns in (1, 2, 3))


@pytest.mark.parametrize(("strength", "share"), [(0.0, 0.95), (1.0, 0.2)])
def test_a_crop_keeps_the_stated_share(photo: Pixels, strength: float, share: float) -> None:
    kept = EDITS["crop"](photo, strength, draw(1))
    assert kept.shape[0] * kept.shape[1] / (photo.shape[0] * photo.shape[1]) == pytest.approx(share, rel=0.05)


def test_a_stronger_jpeg_is_further_from_the_original(photo: Pixels) -> None:
    errors = [np.abs(EDITS["jpeg"](photo, s, draw()).astype(int) - photo).mean() for s in (0.0, 0.5, 1.0)]
    assert errors == sorted(errors)
    assert errors[2] > 2 * errors[0]


def test_grey_has_equal_channels(photo: Pixels) -> None:
    grey = EDITS["grey"](photo, 1, draw())
    assert (grey[..., 0] == grey[..., 1]).all()
    assert (grey[..., 1] == grey[..., 2]).all()


def test_a_perspective_of_no_reach_would_be_the_picture_itself(photo: Pixels) -> None:
    edited = EDITS["perspective"](photo, 0.0, draw(2))
    assert edited.shape == photo.shape
    assert np.abs(edited[60:90, 90:130].mean() - photo[60:90, 90:130].mean()) < 12


def test_pasted_shows_the_whole_picture_inside_the_other_one(photo: Pixels) -> None:
    other = np.full((50, 50, 3), (0, 255, 0), np.uint8)
    edited = EDITS["pasted"](photo, 1.0, draw(0, other))
    assert edited.shape[0] == round(photo.shape[0] / 0.35)
    inside = (edited != (0, 255, 0)).any(axis=2)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    np.testing.assert_array_equal(edited[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], photo)


def test_collage_holds_the_picture_unchanged_in_one_cell(photo: Pixels) -> None:
    other = np.zeros((10, 10, 3), np.uint8)
    edited = EDITS["collage"](photo, 1.0, draw(0, other))
    h, w = photo.shape[:2]
    corners = (edited[:h, :w], edited[:h, -w:], edited[-h:, :w], edited[-h:, -w:])
    assert sum(np.array_equal(corner, photo) for corner in corners) == 1


def test_blend_at_full_strength_keeps_less_than_half(photo: Pixels) -> None:
    black = np.zeros((10, 10, 3), np.uint8)
    means = {round(float(EDITS["blend"](photo, 1.0, draw(seed, black)).mean() / photo.mean()), 2) for seed in range(9)}
    assert min(means) == pytest.approx(0.45, abs=0.01)


def test_a_chain_applies_its_steps_in_order(photo: Pixels) -> None:
    both = chain(photo, [("mirror", 1.0), ("grey", 1.0)], draw())
    np.testing.assert_array_equal(both, EDITS["grey"](photo[:, ::-1].copy(), 1.0, draw()))
    np.testing.assert_array_equal(chain(photo, [], draw()), photo)


def test_harder_chains_are_longer_and_none_is_empty_work() -> None:
    counts = [np.mean([len(draw_steps(draw(seed), hardness)) for seed in range(300)]) for hardness in (0.0, 0.35, 1.0)]
    assert counts[0] == 0
    assert counts[0] < counts[1] < counts[2]
    assert 2 < counts[2] < 4


def test_chains_use_every_edit() -> None:
    seen = {name for seed in range(3000) for name, _ in draw_steps(draw(seed), 1.0)}
    assert seen == set(EDITS)
