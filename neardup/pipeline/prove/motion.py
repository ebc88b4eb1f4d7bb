"""How far what two pictures show lies apart once they are laid over each other.

Corners of one are followed into the other by the method of Lucas and Kanade. A homography corrects the transform by
them; what it leaves is residual motion. Of a copy it leaves errors that point anywhere; of another shot it leaves
motion that neighbours share: parallax, or a subject that moved. Only shared motion counts.

Source: Bouguet 2001, "Pyramidal implementation of the affine Lucas Kanade feature tracker".
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from neardup.pipeline.prove.compare import Agreement
from neardup.pipeline.prove.keypoints import SIDE, Grey, Points
from neardup.pipeline.prove.overlap import Levels
from neardup.pipeline.prove.transform import Matrix, warp

_CORNERS, _CELL, _STRONG = 100, 12, 0.02
_FEWEST = 8
_WINDOW = 15
_RETURNS = 0.7
"""A corner counts if following it back ends so near its start, in pixels."""
_PATCH = 6
_STEPS = np.mgrid[-_PATCH : _PATCH + 1, -_PATCH : _PATCH + 1][::-1].reshape(2, -1).astype(np.float32)
"""Places in a square around a corner, x and y."""
_SAME = 0.95
"""Least correlation of the squares around a corner's two places: what is damaged says nothing of motion."""
_MOVES = 1.0
_CORRECTS = 1.5


@dataclass(frozen=True, slots=True)
class Motion:
    """What the transform does not explain, in pixels at SIDE.

    Attributes:
        shared: mean of the motion that corners share with their neighbours; about 0 of a copy.
        moving: corners that share one of a pixel or more.
        followed: corners that could be followed and look the same in both.
    """

    shared: float = 0.0
    moving: int = 0
    followed: int = 0


def follow(agreement: Agreement) -> tuple[Matrix | None, Motion]:
    """Follow corners of the reference, as laid over the query, into the query.

    Returns:
        A transform that fits those better which lie in blocks that agree, None if too few could be followed; and the
        motion that it leaves of all.
    """
    overlap = agreement.overlap
    query, reference = (_levels(one) for one in overlap.bands)
    mask = None
    if overlap.mask is not None:  # its edge is no corner of the picture
        mask = cv2.erode(overlap.mask.astype(np.uint8), np.ones((_WINDOW, _WINDOW), np.uint8))
    corners = _find_corners(reference, mask)
    if len(corners) < _FEWEST:
        return None, Motion()
    window = (_WINDOW, _WINDOW)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(reference, query, corners, None, winSize=window, maxLevel=2)
    back, again, _ = cv2.calcOpticalFlowPyrLK(query, reference, moved, None, winSize=window, maxLevel=2)
    start, end = corners, moved
    sure = (found[:, 0] == 1) & (again[:, 0] == 1) & (np.abs(back - start).max(1) < _RETURNS)
    start, end = start[sure], end[sure]
    # A subject may hold most of the corners: what agrees where it lies is the scene.
    cells = start * np.array(agreement.agrees.shape[::-1]) / np.array(query.shape[::-1])
    still = agreement.agrees[cells[:, 1].astype(int), cells[:, 0].astype(int)]
    correction = None
    if still.sum() >= _FEWEST:
        correction, _ = cv2.findHomography(end[still], start[still], cv2.RANSAC, _CORRECTS)
    elif agreement.in_register and len(start) >= _FEWEST:
        correction = np.eye(3)
    if correction is None:
        return None, Motion()
    matrix = overlap.into_reference @ correction @ np.linalg.inv(overlap.into_query)
    if not np.isfinite(matrix).all() or abs(matrix[2, 2]) < 1e-9:
        return None, Motion()
    same = _alike(query, end, reference, start) > _SAME
    left = warp(correction, end) - start
    return matrix / matrix[2, 2], _share(start[same], left[same], max(1.0, overlap.side / SIDE))


def _find_corners(grey: Grey, mask: npt.NDArray[np.uint8] | None) -> Points:
    """Return the strongest corners, float32 (n, 2), one at most in each small square.

    `cv2.goodFeaturesToTrack` does the same in four times the time.
    """
    strength = cv2.cornerMinEigenVal(grey, 3)
    if mask is not None:
        strength *= mask
    rows, columns = (size // _CELL for size in grey.shape)
    cells = strength[: rows * _CELL, : columns * _CELL].reshape(rows, _CELL, columns, _CELL)
    found = cells.max(1).max(2).ravel() if rows and columns else np.zeros(0, np.float32)
    best = np.argsort(-found, kind="stable")[:_CORNERS]
    row, column = np.divmod(best[found[best] > _STRONG * found.max(initial=0.0)], max(1, columns))
    inner = cells[row, :, column].reshape(len(row), _CELL * _CELL).argmax(1)
    return np.column_stack((column * _CELL + inner % _CELL, row * _CELL + inner // _CELL)).astype(np.float32)


def _share(places: Points, left: npt.NDArray[np.float64], unit: float) -> Motion:
    """Return what corners (n, 2) share of the motion (n, 2) that is left with two of their three nearest neighbours."""
    if len(places) < _FEWEST:
        return Motion(followed=len(places))
    (x, y), own = places.T[:, None], places.T[:, :, None]
    apart = (own[0] - x) ** 2 + (own[1] - y) ** 2
    np.fill_diagonal(apart, np.inf)
    near = np.argpartition(apart, 2, axis=1)[:, :3]
    size = np.linalg.norm(left, axis=1)
    larger = np.maximum(np.maximum(size[:, None], size[near]), 1e-6)
    shared = np.sort((left[:, None] * left[near]).sum(2) / larger, axis=1)[:, 1] / unit
    return Motion(float(shared.mean()), int((shared > _MOVES).sum()), len(places))


def _alike(a: Grey, at_a: Points, b: Grey, at_b: Points) -> npt.NDArray[np.float32]:
    """Return the correlation of the squares around places (n, 2) of two pictures, (n,)."""
    cut = []
    for side, at in ((a, at_a), (b, at_b)):
        found = cv2.remap(
            side, at[:, :1] + _STEPS[0], at[:, 1:] + _STEPS[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        values = found.astype(np.float32)
        cut.append(values - values.mean(1, keepdims=True))
    energy = np.sqrt(np.maximum((cut[0] ** 2).sum(1) * (cut[1] ** 2).sum(1), 1.0))
    return np.asarray((cut[0] * cut[1]).sum(1) / energy, np.float32)


def _levels(values: Levels) -> Grey:
    """Return a band as 8 bits, of the same contrast for all pictures."""
    scaled = values * (32 / max(float(values.std()), 2.0))
    scaled += 128
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)
