from __future__ import annotations

import cv2
import numpy as np
import pytest

from neardup.pipeline.prove.compare import correlate
from neardup.pipeline.prove.keypoints import Grey, find_keypoints
from neardup.pipeline.prove.motion import Motion, follow
from neardup.pipeline.prove.overlap import lay_over
from neardup.pipeline.prove.transform import Matrix, warp
from tests.pipeline.prove.conftest import photograph

PHOTO = find_keypoints(photograph("coffee")).grey


def followed(query: Grey) -> tuple[Matrix | None, Motion]:
    overlap = lay_over(find_keypoints(query), find_keypoints(PHOTO), np.eye(3))
    assert overlap is not None
    return follow(correlate(overlap))


def test_a_transform_that_is_a_little_off_is_corrected() -> None:
    shifted = cv2.warpAffine(
        PHOTO, np.array([[1, 0, 2.5], [0, 1, -1.5]]), PHOTO.shape[::-1], borderMode=cv2.BORDER_REFLECT
    )
    matrix, motion = followed(shifted)
    assert matrix is not None
    assert warp(matrix, np.array([(160.0, 100.0)]))[0] == pytest.approx((157.5, 101.5), abs=0.1)
    assert motion.shared < 0.1


def test_a_subject_that_moves_is_motion_and_the_scene_holds_the_transform() -> None:
    moved = PHOTO.copy()
    moved[40:140, 86:206] = PHOTO[40:140, 80:200]  # six pixels to the right
    matrix, motion = followed(moved)
    assert matrix is not None
    assert np.abs(matrix - np.eye(3))[:2, 2].max() < 0.5
    assert motion.moving >= 5
    assert motion.shared > 0.3


def test_noise_is_no_motion() -> None:
    noisy = (PHOTO + np.random.default_rng(0).normal(0, 20, PHOTO.shape)).clip(0, 255).astype(np.uint8)
    assert followed(noisy)[1].shared < 0.1


def test_nothing_can_be_followed_in_a_blank_picture() -> None:
    assert followed(np.full(PHOTO.shape, 90, np.uint8)) == (None, Motion())
