from __future__ import annotations

import numpy as np
import pytest

from neardup.pipeline.prove.keypoints import find_keypoints
from neardup.pipeline.prove.transform import Matrix, fit, is_degenerate, match, may_fit, warp
from tests.pipeline.prove.conftest import photograph

SHAPE = (240, 320)


def scaled(x: float, y: float) -> Matrix:
    return np.diag([x, y, 1.0])


@pytest.mark.parametrize(
    "matrix",
    [
        scaled(0.05, 0.05),
        scaled(12.0, 12.0),
        scaled(4.0, 1.0),
        np.array([[1, 0, 0], [0, 1, 0], [-1 / 160, 0, 1.0]]),  # the horizon runs through the picture
        np.full((3, 3), np.nan),
        np.zeros((3, 3)),
    ],
    ids=["tiny", "huge", "skewed", "folded", "nan", "nothing"],
)
def test_what_no_picture_undergoes_is_degenerate(matrix: Matrix) -> None:
    assert is_degenerate(matrix, SHAPE)


@pytest.mark.parametrize("matrix", [np.eye(3), scaled(-1, 1), scaled(0.2, 0.2), scaled(2.0, 1.0)])
def test_what_pictures_undergo_is_not(matrix: Matrix) -> None:
    assert not is_degenerate(matrix, SHAPE)


def test_points_that_a_homography_moves_give_it_back() -> None:
    random = np.random.default_rng(0)
    true = np.array([[0.9, -0.2, 30], [0.25, 0.8, 5], [0.0004, -0.0003, 1]])
    a = random.uniform(0, (320, 240), (150, 2)).astype(np.float32)
    b = warp(true, a).astype(np.float32)
    b[100:] = random.uniform(0, 300, (50, 2))  # matches that are wrong
    found = fit(a, b, SHAPE)
    assert found is not None
    assert found.inliers >= 80
    assert np.abs(warp(found.matrix, a[:100]) - b[:100]).max() < 1


def test_inliers_within_one_cell_count_once() -> None:
    a = np.repeat(np.random.default_rng(0).uniform(0, 200, (20, 2)), 5, axis=0).astype(np.float32)
    a += np.random.default_rng(1).uniform(0, 0.5, a.shape).astype(np.float32)
    found = fit(a, a + 10, SHAPE)
    assert found is not None
    assert found.inliers <= 40
    assert len(found.points) == 100


def test_points_at_random_fit_nothing() -> None:
    random = np.random.default_rng(3)
    a, b = (random.uniform(0, 300, (60, 2)).astype(np.float32) for _ in range(2))
    found = fit(a, b, SHAPE)
    assert found is None or found.inliers < 8


def test_points_are_matched_in_a_picture_and_itself_only() -> None:
    own, other = find_keypoints(photograph("astronaut")), find_keypoints(photograph("coffee"))
    a, b = match(own, own)
    assert np.array_equal(a, b)
    assert len(match(own, other)[0]) < 30
    assert len(match(own, find_keypoints(np.zeros((90, 90), np.uint8)))[0]) == 0


def test_a_few_key_points_tell_a_small_crop_from_strangers() -> None:
    photo = photograph("coffee")
    whole, crop = find_keypoints(photo), find_keypoints(photo[100:300, 150:400])
    mirrored = find_keypoints(photo[100:300, 150:400][:, ::-1])
    assert may_fit(*match(crop, whole, few=True))
    assert may_fit(*match(mirrored, whole, mirrored=True, few=True))
    for name in ("astronaut", "chelsea"):
        stranger = find_keypoints(photograph(name))
        assert not may_fit(*match(stranger, whole, few=True))
        assert not may_fit(*match(stranger, whole, mirrored=True, few=True))
