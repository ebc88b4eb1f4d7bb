"""What a proof needs of one picture: its grey pixels at a small size and their key points, found once.

Key points are ORB's: corners of a pyramid, each with 256 comparisons of pixels around it, turned by its own angle, so
that a rotated or resized copy gives the same bits. A mirrored copy does not: it is described anew where it is needed.
Source: Rublee et al. 2011, "ORB: an efficient alternative to SIFT or SURF".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ShapeError
from neardup.pipeline.prove.repetition import self_likeness
from neardup.pipeline.types import Pixels

SIDE = 320
"""Longest side, in pixels, at which pictures are proved."""
DOCUMENT_SIDE = 1024
"""Longest side that tells apart documents, whose writing is lost at SIDE."""
MOST_ENLARGED = 2.0
FEATURES = 500
"""Key points of a picture of SIDE; those of a larger one grow with its area."""
MOST_FEATURES = 1500
_COLOUR_SIDE = 32
_EDGE = 12
GLANCE = 64
_PAGE, _WRITTEN = 0.9, 0.05
"""A document: its ground is smooth on this share of it, and this share at least is ink."""

Grey: TypeAlias = npt.NDArray[np.uint8]
"""(h, w), 0 black to 255 white."""
Points: TypeAlias = npt.NDArray[np.float32]
"""(n, 2): x and y in pixels; the middle of the first pixel is (0, 0)."""


@dataclass(frozen=True, eq=False)
class Keypoints:
    """One picture, ready to be proved: at most side² + 40 × features + 3,072 bytes of arrays, 125 kB at SIDE.

    Attributes:
        grey: uint8 (h, w), the longest side at most what was asked for.
        points: float32 (n, 2), x and y in pixels of `grey`, the strongest first.
        descriptors: uint8 (n, 32), 256 bits each.
        colour: uint8 (≤ 32, ≤ 32, 3), RGB thumbnail that shows how saturated the picture is; None for a grey one.
        scale: longest side of `grey` over that of the original. Below 1 the picture shows more at a larger side.
    """

    grey: Grey
    points: Points
    descriptors: npt.NDArray[np.uint8]
    colour: Pixels | None
    scale: float

    @property
    def side(self) -> int:
        """Longest side of `grey` in pixels."""
        return int(max(self.grey.shape))

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays."""
        colour = 0 if self.colour is None else self.colour.nbytes
        return self.grey.nbytes + self.points.nbytes + self.descriptors.nbytes + colour

    @cached_property
    def mirrored(self) -> Keypoints:
        """The picture with left and right swapped."""
        grey = np.ascontiguousarray(self.grey[:, ::-1])
        points, descriptors = _detect(grey)
        colour = None if self.colour is None else np.ascontiguousarray(self.colour[:, ::-1])
        return Keypoints(grey, points, descriptors, colour, self.scale)

    @cached_property
    def glance(self) -> npt.NDArray[np.float32]:
        """The whole picture squeezed to 64 × 64, without what changes slowly: float32 (4096,), of unit length or 0."""
        small = cv2.resize(self.grey, (GLANCE, GLANCE), interpolation=cv2.INTER_AREA).astype(np.float32)
        rest = (cv2.GaussianBlur(small, (0, 0), 1.0) - cv2.blur(small, (15, 15))).ravel()
        return np.asarray(rest / max(float(np.linalg.norm(rest)), 1e-6) if rest.std() > 0.5 else rest * 0)

    @cached_property
    def repetition(self) -> float:
        """How alike the whole picture is to itself when shifted, 0 to 1; 1 if there is nothing to see so small."""
        return self_likeness(self.glance.reshape(GLANCE, GLANCE))

    @cached_property
    def is_document(self) -> bool:
        """Whether this is a page: a smooth ground, light or dark, with writing or lines on it."""
        grey = self.grey if np.median(self.grey) >= 110 else 255 - self.grey
        ground = cv2.morphologyEx(grey, cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
        smooth = cv2.absdiff(ground, cv2.blur(ground, (25, 25))) < 10
        return bool(smooth.mean() >= _PAGE and (cv2.subtract(ground, grey) > 40).mean() >= _WRITTEN)


def find_keypoints(pixels: Pixels | Grey, side: int = SIDE, stored_scale: float = 1.0) -> Keypoints:
    """Return a picture's key points; the same pixels give the same ones, whatever the number of threads.

    Args:
        pixels: uint8 (h, w, 3) RGB or (h, w) grey, of any size from one pixel.
        side: longest side in pixels; a larger picture is made smaller. Below SIDE one is enlarged, at most twice.
        stored_scale: longest side of `pixels` over that of the original, where a small one was stored in its place.
    Raises:
        ShapeError: not uint8, or neither (h, w, 3) nor (h, w), or without a pixel.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)) or not pixels.size:
        raise ShapeError(f"picture is {pixels.dtype} {pixels.shape}, wanted uint8 (h, w, 3) or (h, w)")
    height, width = pixels.shape[:2]
    longest = max(height, width)
    scale = min(side / longest, max(1.0, min(SIDE / longest, MOST_ENLARGED)))
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    pixels = np.ascontiguousarray(pixels)
    if scale < 1:  # in colour first only where that is less work
        small = cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA)
        grey = small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    else:
        grey = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        if scale > 1:
            grey = cv2.resize(grey, shape, interpolation=cv2.INTER_CUBIC)
    grey = grey.reshape(shape[1], shape[0])
    points, descriptors = _detect(grey)
    return Keypoints(grey, points, descriptors, _thumbnail(pixels), scale * stored_scale)


def use_one_thread() -> None:
    """Keep OpenCV of this process to the calling thread; workers that prove side by side call it at their start."""
    cv2.setNumThreads(1)


def _thumbnail(pixels: Pixels | Grey) -> Pixels | None:
    if pixels.ndim == 2:
        return None
    share = min(1.0, _COLOUR_SIDE / max(pixels.shape[:2]))
    shape = tuple(max(1, round(size * share)) for size in (pixels.shape[1], pixels.shape[0]))
    small: Pixels = cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA)
    return small


def _detect(grey: Grey) -> tuple[Points, npt.NDArray[np.uint8]]:
    """Return points and descriptors, the strongest first."""
    if min(grey.shape) <= 2 * _EDGE:  # no room for a corner and what is around it
        return np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8)
    features = min(MOST_FEATURES, round(FEATURES * max(1.0, (max(grey.shape) / SIDE) ** 2)))
    orb = cv2.ORB.create(
        nfeatures=features, scaleFactor=1.2, nlevels=8, edgeThreshold=_EDGE, patchSize=31, fastThreshold=7
    )
    found, descriptors = orb.detectAndCompute(grey, None)
    if descriptors is None:
        return np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8)
    order = np.argsort([-point.response for point in found], kind="stable")[:features]
    points = np.array([point.pt for point in found], np.float32)
    return points[order], descriptors[order]
