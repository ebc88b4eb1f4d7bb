"""Pictures without texture: a copy is one that differs in no pixel."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from neardup.pipeline.prove.finding import Finding
from neardup.pipeline.prove.keypoints import find_keypoints
from neardup.pipeline.prove.proof import prove
from neardup.pipeline.prove.relation import judge
from neardup.pipeline.types import Pixels


def gradient(end: int = 200, blue: int = 90) -> Pixels:
    ramp = np.tile(np.linspace(40, end, 300, dtype=np.uint8), (200, 1))
    return np.dstack([ramp, ramp, np.full_like(ramp, blue)])


def stripes(period: int = 20, phase: int = 0) -> Pixels:
    row = np.where((np.arange(300) + phase) % period < period // 2, 220, 30).astype(np.uint8)
    return np.dstack([np.tile(row, (200, 1))] * 3)


def finding(query: Pixels, reference: Pixels) -> Finding:
    return judge(prove(find_keypoints(query), find_keypoints(reference))).finding


def encoded(pixels: Pixels) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("picture", [gradient(), stripes()])
def test_one_that_was_encoded_or_resized_is_a_copy(picture: Pixels) -> None:
    assert finding(encoded(picture), picture) is Finding.COPY
    assert finding(cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), picture) is Finding.COPY


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (gradient(), gradient(end=160)),
        (gradient(), gradient(blue=140)),
        (stripes(), stripes(phase=5)),
        (stripes(), stripes(period=24)),
        (gradient(), gradient()[:, :200]),
        (np.full((90, 120, 3), 128, np.uint8), np.full((90, 120, 3), 128, np.uint8)),
    ],
)
def test_others_are_not(one: Pixels, other: Pixels) -> None:
    assert finding(one, other) is not Finding.COPY
