"""From key points of two pictures to the transform that lays one over the other.

A transform is a 3 × 3 matrix, homogeneous coordinates, query to reference. Here it is in pixels; `Proof` has it in
shares of width and height.
"""

from __future__ import annotations

from dataclasses import dataclass
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
_ITERATIONS = 2000


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


def match(query: Keypoints, reference: Keypoints) -> tuple[Points, Points]:
    """Return the places of points that look alike, in the query and in the reference, both float32 (n, 2)."""
    if len(query.points) < FEWEST or len(reference.points) < FEWEST:
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(query.descriptors, reference.descriptors, k=2)
    good = [first for first, second in pairs if first.distance < RATIO * second.distance]
    rows = [one.queryIdx for one in good], [one.trainIdx for one in good]
    return query.points[rows[0]], reference.points[rows[1]]


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


def is_degenerate(matrix: Matrix, shape: tuple[int, ...]) -> bool:
    """Return whether no picture of this shape is edited so: folded, or too much scaled or skewed somewhere in it."""
    height, width = shape[:2]
    corners = np.array([(0, 0, 1), (width, 0, 1), (width, height, 1), (0, height, 1), (width / 2, height / 2, 1)])
    u, v, w = corners @ matrix.T[:, 0], corners @ matrix.T[:, 1], corners @ matrix.T[:, 2]
    if not np.isfinite(matrix).all() or (w <= 1e-6).any():  # a corner lies behind the eye
        return True
    places = np.column_stack((u / w, v / w))
    jacobians = (matrix[:2, :2] - places[:, :, None] * matrix[2, :2]) / w[:, None, None]  # (5, 2, 2)
    large, small = np.linalg.svd(jacobians, compute_uv=False).T
    return bool((small < MIN_SCALE).any() or (large > MAX_SCALE).any() or (large > MAX_SKEW * small).any())


def warp(matrix: Matrix, points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return where a transform puts points (n, 2)."""
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(moved[:, :2] / moved[:, 2:])


def _distances(matrix: Matrix, a: Points, b: Points) -> npt.NDArray[np.float64]:
    return np.asarray(np.linalg.norm(warp(matrix, a) - b, axis=1))


def _support(matrix: Matrix, a: Points, b: Points, reach: float) -> Fit:
    """Return a transform with its inliers, counted once for each cell of either picture."""
    near = _distances(matrix, a, b) < reach
    cells = min((len(np.unique(side[near] // CELL, axis=0)) for side in (a, b)), default=0) if near.any() else 0
    return Fit(np.asarray(matrix, np.float64), cells, b[near])
