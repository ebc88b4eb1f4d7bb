"""What a proof needs of one picture: its grey pixels at a small size and their key points, found once.

Key points are ORB's: corners of a pyramid, each with 256 comparisons of pixels around it, turned by its own angle, so
that a rotated or resized copy gives the same bits. A mirrored copy does not: its points are described anew.
Source: Rublee et al. 2011, "ORB: an efficient alternative to SIFT or SURF".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ShapeError
from neardup.pipeline.prove.once import once
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
FEW, _CELL = 0.4, 40
"""A first look takes this share of the key points, as many from each square of so many pixels as from any other: the
strongest alone are often all in a caption."""
GLANCE = 64
_COLOUR_SIDE = 64
_EDGE, _PATCH, _LEVELS, _FACTOR, _CONTRAST = 12, 31, 8, 1.2, 7
_POINT_BYTES = 8 + 32 + 32 + 4 + 4 + 12
_PAGE, _WRITTEN = 0.9, 0.05
"""A document: its ground is smooth on this share of it, and this share at least is ink."""

Grey: TypeAlias = npt.NDArray[np.uint8]
"""(h, w), 0 black to 255 white."""
Points: TypeAlias = npt.NDArray[np.float32]
"""(n, 2): x and y in pixels; the middle of the first pixel is (0, 0)."""


class Corners(NamedTuple):
    """Key points of a picture, the strongest first.

    Attributes:
        points: float32 (n, 2), x and y in pixels.
        descriptors: uint8 (n, 32), 256 bits each.
        angles: float32 (n,), degrees from 0 to 360, clockwise from the x axis.
        sizes: float32 (n,), diameters in pixels of what they describe.
    """

    points: Points
    descriptors: npt.NDArray[np.uint8]
    angles: npt.NDArray[np.float32]
    sizes: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Keypoints:
    """One picture, ready to be proved. Key points are found when they are first asked for: stage 0 needs none.

    Attributes:
        grey: uint8 (h, w), the longest side at most what was asked for.
        colour: uint8 (≤ 64, ≤ 64, 3), RGB thumbnail that shows how saturated the picture is; None for a grey one.
        scale: longest side of `grey` over that of the original. Below 1 the picture shows more at a larger side.
    """

    grey: Grey
    colour: Pixels | None
    scale: float

    @property
    def side(self) -> int:
        """Longest side of `grey` in pixels."""
        return int(max(self.grey.shape))

    @property
    def size_bytes(self) -> int:
        """Most bytes of all arrays, those included that are made when they are asked for: 180 kB at SIDE."""
        colour = 0 if self.colour is None else self.colour.nbytes
        return self.grey.nbytes + colour + _POINT_BYTES * _features(self.grey) + 4 * GLANCE**2

    @once
    def corners(self) -> Corners:
        """Its key points."""
        found, descriptors = _orb(self.grey).detectAndCompute(self.grey, None) if _has_room(self.grey) else ((), None)
        if descriptors is None:
            nothing = np.zeros(0, np.float32)
            return Corners(np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8), nothing, nothing)
        response, angle, size = np.array(
            ([one.response for one in found], [one.angle for one in found], [one.size for one in found]), np.float32
        )
        order = np.argsort(-response, kind="stable")[: _features(self.grey)]
        points = np.asarray(cv2.KeyPoint.convert(found), np.float32)
        return Corners(points[order], descriptors[order], angle[order], size[order])

    @property
    def points(self) -> Points:
        """Places of its key points."""
        return self.corners.points

    @property
    def descriptors(self) -> npt.NDArray[np.uint8]:
        """Descriptors of its key points."""
        return self.corners.descriptors

    @once
    def spread(self) -> npt.NDArray[np.intp]:
        """Places in `corners` of a few key points from all over the picture, in rising order; FEW of what there may be.

        From each square come its strongest ones.
        """
        cells = (self.points // _CELL).astype(np.intp)
        number = cells[:, 1] * (1 + self.grey.shape[1] // _CELL) + cells[:, 0]
        order = np.argsort(number, kind="stable")
        starts = np.r_[0, np.bincount(number).cumsum()][:-1]
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order)) - starts[number[order]]
        return np.sort(np.argsort(rank, kind="stable")[: round(FEW * _features(self.grey))])

    @once
    def mirrored(self) -> npt.NDArray[np.uint8]:
        """Descriptors of the same key points as a mirror shows them, uint8 (n, 32)."""
        return self._mirror(np.arange(len(self.points)))

    @once
    def spread_mirrored(self) -> npt.NDArray[np.uint8]:
        """Descriptors of those of `spread` as a mirror shows them, uint8 (m, 32)."""
        return self._mirror(self.spread)

    def _mirror(self, which: npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
        points, _, angles, sizes = (one[which] for one in self.corners)
        described = np.zeros((len(points), 32), np.uint8)
        if len(points):
            width = self.grey.shape[1]
            octaves = (np.log(sizes / _PATCH) / np.log(_FACTOR)).round().astype(int)
            turned = [
                cv2.KeyPoint(width - 1 - x, y, size, (180 - angle) % 360, 0.0, octave, number)
                for number, ((x, y), size, angle, octave) in enumerate(
                    zip(points.tolist(), sizes.tolist(), angles.tolist(), octaves.tolist(), strict=True)
                )
            ]
            found, bits = _orb(self.grey).compute(np.ascontiguousarray(self.grey[:, ::-1]), turned)
            described[[one.class_id for one in found]] = bits
        return described

    @once
    def glance(self) -> npt.NDArray[np.float32]:
        """The whole picture squeezed to 64 × 64, without what changes slowly: float32 (4096,), of unit length or 0."""
        small = cv2.resize(self.grey, (GLANCE, GLANCE), interpolation=cv2.INTER_AREA).astype(np.float32)
        rest = (cv2.GaussianBlur(small, (0, 0), 1.0) - cv2.blur(small, (15, 15))).ravel()
        return np.asarray(rest / max(float(np.linalg.norm(rest)), 1e-6) if rest.std() > 0.5 else rest * 0)

    @once
    def repetition(self) -> float:
        """How alike the whole picture is to itself when shifted, 0 to 1; 1 if there is nothing to see so small."""
        return self_likeness(self.glance.reshape(GLANCE, GLANCE))

    @once
    def is_document(self) -> bool:
        """Whether this is a page: a smooth ground, light or dark, with writing or lines on it."""
        grey = self.grey if 2 * np.count_nonzero(self.grey >= 110) >= self.grey.size else 255 - self.grey
        ground = cv2.morphologyEx(grey, cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
        if np.count_nonzero(cv2.subtract(ground, grey) > 40) < _WRITTEN * grey.size:
            return False
        smooth = cv2.absdiff(ground, cv2.blur(ground, (25, 25))) < 10
        return bool(np.count_nonzero(smooth) >= _PAGE * grey.size)


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
    return Keypoints(grey, _thumbnail(pixels), scale * stored_scale)


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


def _features(grey: Grey) -> int:
    """Return how many key points a picture has at most."""
    return int(min(MOST_FEATURES, round(FEATURES * max(1.0, (max(grey.shape) / SIDE) ** 2))))


def _has_room(grey: Grey) -> bool:
    """Return whether there is room for a corner and what is around it."""
    return bool(min(grey.shape) > 2 * _EDGE)


def _orb(grey: Grey) -> cv2.ORB:
    return cv2.ORB.create(
        nfeatures=_features(grey), scaleFactor=_FACTOR, nlevels=_LEVELS, edgeThreshold=_EDGE, patchSize=_PATCH,
        fastThreshold=_CONTRAST,
    )  # fmt: skip
