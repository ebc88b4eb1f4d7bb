from __future__ import annotations

import cv2
import numpy as np
import pytest

from neardup.pipeline.errors import ShapeError
from neardup.pipeline.prove.keypoints import DOCUMENT_SIDE, MOST_FEATURES, SIDE, find_keypoints
from tests.pipeline.prove.conftest import inside, photograph, receipt


def test_a_large_picture_is_made_small_and_a_small_one_is_enlarged_at_most_twice() -> None:
    photo = photograph("astronaut")
    assert find_keypoints(photo).grey.shape == (SIDE, SIDE)
    assert find_keypoints(cv2.resize(photo, (200, 100))).grey.shape == (160, SIDE)
    assert find_keypoints(cv2.resize(photo, (50, 80))).grey.shape == (160, 100)


def test_a_picture_is_not_enlarged_beyond_the_small_side() -> None:
    assert find_keypoints(photograph("astronaut"), DOCUMENT_SIDE).grey.shape == (512, 512)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 5000, 3), (3000, 2), (24, 24, 3), (30, 400)])
def test_any_shape_has_key_points_or_none(shape: tuple[int, ...]) -> None:
    found = find_keypoints(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    assert found.side <= SIDE
    assert found.descriptors.shape == (len(found.points), 32)
    assert found.mirrored.shape == found.descriptors.shape


def test_a_huge_picture_takes_as_little_as_any_other() -> None:
    huge = np.tile(photograph("coffee"), (20, 15, 1))  # 8000 × 9000
    found = find_keypoints(huge)
    assert found.side == SIDE
    assert found.size_bytes <= 180_000


def test_the_size_is_bounded_at_the_side_of_documents() -> None:
    found = find_keypoints(np.random.default_rng(0).integers(0, 256, (3000, 3000, 3), dtype=np.uint8), DOCUMENT_SIDE)
    assert len(found.points) <= MOST_FEATURES
    assert found.size_bytes <= 1_220_000


def test_key_points_do_not_depend_on_the_number_of_threads() -> None:
    photo = photograph("chelsea")
    one = find_keypoints(photo)
    cv2.setNumThreads(2)
    try:
        two = find_keypoints(photo)
    finally:
        cv2.setNumThreads(1)
    assert np.array_equal(one.points, two.points)
    assert np.array_equal(one.descriptors, two.descriptors)


def test_a_receipt_is_a_document_and_a_photograph_is_none() -> None:
    assert find_keypoints(receipt(1)).is_document
    assert find_keypoints(255 - receipt(1)).is_document  # dark mode
    assert not any(find_keypoints(photograph(name)).is_document for name in ("astronaut", "coffee", "chelsea"))
    assert not find_keypoints(inside(photograph("astronaut"), photograph("coffee"))).is_document


def test_other_arrays_are_refused() -> None:
    for wrong in (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ShapeError, match="wanted uint8"):
            find_keypoints(wrong)


def test_a_first_look_takes_key_points_from_all_over_the_picture() -> None:
    written = photograph("coffee").copy()
    written[300:, :, :] = 255 * (
        np.random.default_rng(0).integers(0, 2, (100, 600, 1), np.uint8)
    )  # the strongest are here
    found = find_keypoints(written)
    few = found.points[found.spread]
    assert len(few) == 200
    assert (np.diff(found.spread) > 0).all()
    above = found.points[:, 1] < 150
    assert above[found.spread].mean() > 1.2 * above[:200].mean()
    squares, taken = ({tuple(one) for one in (points // 40).tolist()} for points in (found.points, few))
    assert taken == squares


def test_a_few_key_points_are_mirrored_as_all_are() -> None:
    found = find_keypoints(photograph("chelsea"))
    np.testing.assert_array_equal(found.spread_mirrored, found.mirrored[found.spread])
    assert (found.spread_mirrored != found.descriptors[found.spread]).any()
