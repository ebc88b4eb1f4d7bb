"""From key points of two pictures to the transform that lays one over the other.

A transform is a 3 × 3 matrix, homogeneous coordinates, query to reference. Here it is in pixels; `Proof` has it in
shares of width and height.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot, isfinite
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from neardup.pipeline.prove.keypoints import Keypoints, Points

Matrix: TypeAlias = npt.NDArray[np.float64]
"""(3, 3), homogeneous."""
RATIO = 0.8
"""A match counts if its distance is less than this share of the distance to the second best."""
REACH = 5.0
"""Largest distance, in pixels, between a point and where the transform puts it."""
CELL = 6.0
"""Inliers within one square of so many pixels count once."""
FEWEST = 6
MIN_SCALE, MAX_SCALE, MAX_SKEW = 0.1, 10.0, 3.0
_ITERATIONS, _FIRST_ITERATIONS = 2000, 500


@dataclass(frozen=True, eq=False)
class Fit:
    """A transform and what supports it.

    Attributes:
        matrix: float64 (3, 3), pixels of the query to pixels of the reference.
        inliers: matches that it explains, one for each cell.
        points: float32 (n, 2), the inliers' places in the reference.
    """

    matrix: Matrix
    inliers: int
    points: Points


def match(query: Keypoints, reference: Keypoints, mirrored: bool = False, few: bool = False) -> tuple[Points, Points]:
    """Return the places of points that look alike, in the query and in the reference, both float32 (n, 2).

    Args:
        mirrored: compare the query as a mirror shows it; places are those of the query as it is.
        few: match only `Keypoints.spread` of the query.
    """
    if min(len(query.points), len(reference.points)) < FEWEST:
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
    if mirrored:
        points, descriptors = query.points, query.spread_mirrored if few else query.mirrored
    else:
        points, descriptors = query.points, query.descriptors[query.spread] if few else query.descriptors
    points = points[query.spread] if few else points
    apart = hamming(descriptors, reference.descriptors)
    rows = np.arange(len(apart))
    first = apart.min(1)
    nearest = (apart == first[:, None]).argmax(1)  # twice as fast as argmin
    apart[rows, nearest] = np.iinfo(apart.dtype).max
    good = first < RATIO * apart.min(1)
    return points[good], reference.points[nearest[good]]


def hamming(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return how many bits differ, at most 255, uint8 (n, m), for descriptors (n, 32) and (m, 32).

    NumPy needs half of the time of `cv2.batchDistance`, which in turn spares the objects of `cv2.BFMatcher`.
    """
    own, other = (np.ascontiguousarray(side.view(np.uint64).T) for side in (a, b))
    apart: npt.NDArray[np.uint8] = np.bitwise_count(own[0][:, None] ^ other[0])
    for one, two in zip(own[1:], other[1:], strict=True):
        cv2.add(apart, np.bitwise_count(one[:, None] ^ two), dst=apart)  # 255 at most
    return apart


def fit(a: Points, b: Points, shape: tuple[int, ...]) -> Fit | None:
    """Return the transform that takes most of the points a to b; None if there is none that a picture could undergo.

    A robust affine transform comes first, as three points fix it; a homography is fitted to what lies near it, and
    stands if it explains more.

    Args:
        shape: height and width of the picture of a.
    """
    if len(a) < FEWEST:
        return None
    affine, _ = cv2.estimateAffine2D(
        a, b, method=cv2.RANSAC, ransacReprojThreshold=REACH, maxIters=_ITERATIONS, confidence=0.99
    )
    if affine is None:
        return None
    best = _support(np.vstack((affine, (0, 0, 1))), a, b, REACH)
    near = _distances(best.matrix, a, b) < 3 * REACH
    if near.sum() >= 8:
        homography, _ = cv2.findHomography(a[near], b[near], cv2.RANSAC, REACH)
        if homography is not None and not is_degenerate(homography, shape):
            other = _support(homography, a, b, REACH)
            if other.inliers > best.inliers:
                best = other
    return None if best.inliers < FEWEST or is_degenerate(best.matrix, shape) else best


def may_fit(a: Points, b: Points) -> bool:
    """Return whether some transform takes FEWEST of a few points a to b: else all key points have none, either."""
    if len(a) < FEWEST:
        return False
    _, near = cv2.estimateAffine2D(
        a, b, method=cv2.RANSAC, ransacReprojThreshold=REACH, maxIters=_FIRST_ITERATIONS, confidence=0.99
    )
    return near is not None and int(near.sum()) >= FEWEST


def is_degenerate(matrix: Matrix, shape: tuple[int, ...]) -> bool:
    """Return whether no picture of this shape is edited so: folded, or too much scaled or skewed somewhere in it."""
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    if not all(map(isfinite, (a, b, c, d, e, f, g, h, i))):
        return True
    height, width = shape[:2]
    for x, y in ((0, 0), (width, 0), (width, height), (0, height), (width / 2, height / 2)):
        w = g * x + h * y + i
        if w <= 1e-6:  # it lies behind the eye
            return True
        u, v = (a * x + b * y + c) / w, (d * x + e * y + f) / w
        xx, xy, yx, yy = (a - u * g) / w, (b - u * h) / w, (d - v * g) / w, (e - v * h) / w
        # Singular values of a 2 × 2 matrix: what a circle of one pixel is stretched to.
        turned, folded = hypot(xx + yy, yx - xy), hypot(xx - yy, yx + xy)
        large, small = (turned + folded) / 2, abs(turned - folded) / 2
        if small < MIN_SCALE or large > MAX_SCALE or large > MAX_SKEW * small:
            return True
    return False


def warp(matrix: Matrix, points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return where a transform puts points (n, 2)."""
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(moved[:, :2] / moved[:, 2:])


def _distances(matrix: Matrix, a: Points, b: Points) -> npt.NDArray[np.float64]:
    apart = warp(matrix, a) - b
    return np.hypot(apart[:, 0], apart[:, 1])


def _support(matrix: Matrix, a: Points, b: Points, reach: float) -> Fit:
    """Return a transform with its inliers, counted once for each cell of either picture."""
    near = _distances(matrix, a, b) < reach
    cells = min(len(set(map(tuple, (side[near] // CELL).tolist()))) for side in (a, b))
    return Fit(np.asarray(matrix, np.float64), cells, b[near])
