"""What stands beside the part that two pictures share: a bar with a caption is content of one picture's own."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from neardup.pipeline.prove.compare import find_ink
from neardup.pipeline.prove.keypoints import Grey, Keypoints
from neardup.pipeline.prove.transform import Matrix, warp

_MARGIN = 5
"""Pixels around what was compared that may still belong to it."""
_LEAST = 0.03
"""Share of a picture below which nothing stands beside."""
_LEVELS, _PLAIN = 12, 0.8
"""A bar is plain: this share of what is no ink is so few grey levels from its median."""
_BORDER = 0.99
"""The same of a border, in which nothing is written."""
_CELL, _WRITTEN = 16, 0.1
"""Pixels of a square, and the share of ink from which it is written on."""


Mask = npt.NDArray[np.uint8]
"""1 where a picture lies beside what was compared, (h, w)."""


def find_beside(picture: Keypoints, into: Matrix, shape: tuple[int, ...]) -> Mask | None:
    """Return what of a picture lies beside what was compared; None if that is hardly anything.

    Args:
        into: from pixels of the overlap to those of the picture. shape: height and width of the overlap.
    """
    height, width = shape
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64) - 0.5
    beside = np.ones(picture.grey.shape, np.uint8)
    cv2.fillConvexPoly(beside, np.round(warp(into, corners)).astype(np.int32), 0)
    if np.count_nonzero(beside) < _LEAST * beside.size:
        return None
    eroded = cv2.erode(beside, np.ones((2 * _MARGIN + 1, 2 * _MARGIN + 1), np.uint8), borderValue=1)
    return None if np.count_nonzero(eroded) < _LEAST * beside.size else np.asarray(eroded, np.uint8)


def count_written(picture: Keypoints, beside: Mask | None) -> int:
    """Return how many squares of 16 pixels have writing on plain ground beside what was compared.

    A photograph that goes on there has none: its ground is not plain.
    """
    if beside is None:
        return 0
    ink = find_ink(picture.grey) & beside
    if _plain_share(picture.grey[beside > cv2.dilate(ink, np.ones((3, 3), np.uint8))]) < _PLAIN:
        return 0
    rows, columns = (size // _CELL for size in ink.shape)
    cells = ink[: rows * _CELL, : columns * _CELL].reshape(rows, _CELL, columns, _CELL).mean((1, 3))
    return int(np.count_nonzero(cells >= _WRITTEN))


def is_bordered(picture: Keypoints, beside: Mask | None) -> bool:
    """Return whether nothing lies beside what was compared, or a plain border alone, such as bars of a film."""
    return beside is None or _plain_share(picture.grey[beside > 0]) >= _BORDER


def _plain_share(ground: Grey) -> float:
    """Return the share of grey levels (n,) that are hardly another one than the usual one; 0 of none."""
    if not ground.size:
        return 0.0
    counts = np.bincount(ground, minlength=256)
    below = counts.cumsum()
    middle = [int(np.searchsorted(below, place, side="right")) for place in ((len(ground) - 1) // 2, len(ground) // 2)]
    usual = sum(middle) / 2
    return float(counts[np.abs(np.arange(256) - usual) <= _LEVELS].sum() / len(ground))
