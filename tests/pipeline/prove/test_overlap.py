from __future__ import annotations

import numpy as np
import pytest

from neardup.pipeline.prove.keypoints import find_keypoints
from neardup.pipeline.prove.overlap import lay_over
from tests.pipeline.prove.conftest import photograph

PHOTO = find_keypoints(photograph("astronaut"))
HALF = find_keypoints(photograph("astronaut")[::2, ::2][:128, :128])  # the upper left quarter, enlarged twice to 256


def test_pictures_are_seen_in_the_pixels_of_the_coarser_one() -> None:
    found = lay_over(HALF, PHOTO, np.diag([0.625, 0.625, 1.0]))  # 256 pixels on 160
    assert found is not None
    assert max(found.query.shape) == pytest.approx(160, abs=6)
    assert found.query_share == pytest.approx(1, abs=0.01)
    assert found.reference_share == pytest.approx(0.25, abs=0.01)
    assert np.corrcoef(found.query.ravel(), found.reference.ravel())[0, 1] > 0.98


def test_the_other_way_round_both_are_the_same() -> None:
    found = lay_over(PHOTO, HALF, np.diag([1.6, 1.6, 1.0]))
    assert found is not None
    assert found.reference_share == pytest.approx(1, abs=0.01)
    assert np.corrcoef(found.query.ravel(), found.reference.ravel())[0, 1] > 0.98


def test_blocks_have_the_means_of_what_both_cover() -> None:
    turn = np.array([[0.8, -0.6, 128.0], [0.6, 0.8, -64.0], [0, 0, 1]])
    found = lay_over(PHOTO, PHOTO, turn)
    assert found is not None
    assert found.mask is not None
    assert found.covered.min() < 0.2
    ones = np.ones(found.query.shape, np.float32)
    assert np.allclose(found.mean(ones)[found.covered > 0.01], 1, atol=1e-3)


def test_what_hardly_overlaps_is_not_laid_over() -> None:
    aside = np.array([[1, 0, 310.0], [0, 1, 0], [0, 0, 1]])
    assert lay_over(PHOTO, PHOTO, aside) is None
    assert lay_over(PHOTO, PHOTO, np.diag([0.01, 0.01, 1.0])) is None
