"""Lay two pictures over each other by a transform.

Both are seen in the pixels of the coarser one, of which the finer one holds every detail. Only what lies between fine
and coarse counts: noise and compression are blurred away, and light and shade that change slowly are taken off, so that
gradients prove nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from neardup.pipeline.prove.keypoints import SIDE, Grey, Keypoints
from neardup.pipeline.prove.once import once
from neardup.pipeline.prove.transform import Matrix, is_degenerate, warp
from neardup.pipeline.types import Box

Levels: TypeAlias = npt.NDArray[np.float32]
"""(h, w), what is left of grey levels around 0."""
Blocks: TypeAlias = npt.NDArray[np.float32]
"""(rows, columns), one value for each block."""

BLOCKS = 10
"""Rows and columns of blocks at SIDE, in proportion at larger sides."""
_SMALLEST_BLOCK = 12
_SMALLEST_OVERLAP = 24
_RIM = 0.006
"""What is beside a picture shows at its rim, where a transform is a little off: so much of it is not compared."""
_MAY_LOSE = 0.03
"""Share of a line of pixels that is left out rather than to change the number of blocks."""
_FINE, _COARSE, _KERNEL = 1.5, 25, (9, 9)
"""Sigma of the blur, and side of the square whose mean is taken off, in pixels."""


@dataclass(frozen=True, eq=False)
class Overlap:
    """Two pictures in the same pixels.

    Attributes:
        query, reference: uint8 (h, w), grey levels of both where they overlap.
        mask: float32 (h, w), 1 where both have pixels; None if that is everywhere.
        matrix: query to reference, in pixels of the pictures.
        query_share, reference_share: how much of each picture lies in the overlap, 0 to 1.
        into_query, into_reference: float64 (3, 3), from pixels of the overlap to those of each picture.
        side: longest side of the coarser picture. of_query: whether that is the query.
        grid: rows and columns of blocks; each has a whole number of pixels.
    """

    query: Grey
    reference: Grey
    mask: npt.NDArray[np.float32] | None
    matrix: Matrix
    query_share: float
    reference_share: float
    into_query: Matrix
    into_reference: Matrix
    side: int
    of_query: bool
    grid: tuple[int, int]

    def mean(self, values: npt.NDArray[Any]) -> Blocks:
        """Return the mean of values (h, w) over the overlap in each block, (rows, columns)."""
        if self.mask is None:
            return self._shrink(np.asarray(values, np.float32))
        return np.asarray(self._shrink(values * self.mask) / np.maximum(self.covered, 1e-6), np.float32)

    @once
    def covered(self) -> Blocks:
        """Share of each block that lies in the overlap."""
        return np.ones(self.grid, np.float32) if self.mask is None else self._shrink(self.mask)

    @once
    def means(self) -> tuple[Blocks, Blocks]:
        """Mean grey levels of query and reference in each block."""
        return self.mean(self.query), self.mean(self.reference)

    @once
    def bands(self) -> tuple[Levels, Levels]:
        """Query and reference, each without noise and without what changes slowly."""
        if self.mask is None:
            return band(self.query), band(self.reference)
        known = _blur(self.mask), cv2.blur(self.mask, (_COARSE, _COARSE))
        query, reference = (_masked_band(side, self.mask, *known) for side in (self.query, self.reference))
        return query, reference

    def _shrink(self, values: Levels) -> Blocks:
        # Five times as fast where all blocks have the same whole number of pixels.
        return np.asarray(cv2.resize(values, self.grid[::-1], interpolation=cv2.INTER_AREA)).reshape(self.grid)


def band(grey: Grey) -> Levels:
    """Return grey levels around 0, without noise and what changes slowly."""
    fine = _blur(np.asarray(grey, np.float32))
    return np.asarray(cv2.subtract(fine, cv2.boxFilter(grey, cv2.CV_32F, (_COARSE, _COARSE)), dst=fine), np.float32)


def _masked_band(grey: Grey, mask: Levels, near: Levels, around: Levels) -> Levels:
    """Return the same where there are pixels, given how many lie near and around each."""
    fine = _blur(grey * mask) / np.maximum(near, 1e-3) * mask
    return np.asarray((fine - cv2.blur(fine, (_COARSE, _COARSE)) / np.maximum(around, 1e-3)) * mask, np.float32)


def _blur(levels: Levels) -> Levels:
    return np.asarray(cv2.GaussianBlur(levels, _KERNEL, _FINE), np.float32)


def lay_over(query: Keypoints, reference: Keypoints, matrix: Matrix, part: Box | None = None) -> Overlap | None:
    """Return both pictures where they overlap; None if they hardly do, or if the transform is degenerate.

    Args:
        matrix: float64 (3, 3), pixels of the query to pixels of the reference.
        part: only this part of the reference, in shares.
    """
    if is_degenerate(matrix, query.grey.shape):
        return None
    back = np.asarray(np.linalg.inv(matrix), np.float64)
    common = _intersect(matrix, query.grey, reference.grey, part)
    inner = _intersect(matrix, query.grey, reference.grey, part, _RIM)
    if common is None or inner is None:
        return None
    shares = _area(warp(back, common)) / query.grey.size, _area(common) / reference.grey.size
    polygons = warp(back, inner), inner
    areas = [_area(one) for one in polygons]
    coarse = reference if areas[1] <= areas[0] else query
    ours, fine, to_fine = (polygons[1], query, back) if coarse is reference else (polygons[0], reference, matrix)
    left, top = np.floor(ours.min(0) + 0.5).astype(int).clip(0).tolist()
    right, bottom = np.minimum(np.ceil(ours.max(0) + 0.5).astype(int), coarse.grey.shape[::-1]).tolist()
    if min(right - left, bottom - top) < _SMALLEST_OVERLAP:
        return None
    left, right, columns = _divide(left, right, coarse.side)
    top, bottom, rows = _divide(top, bottom, coarse.side)
    place = np.array([[1, 0, left], [0, 1, top], [0, 0, 1]], np.float64)
    held = coarse.grey[top:bottom, left:right]
    laid = _warped(fine.grey, to_fine @ place, (right - left, bottom - top), (min(areas) / max(areas)) ** 0.5)
    area = (right - left) * (bottom - top)
    mask = None
    if min(areas) < 0.98 * area:
        mask = np.zeros((bottom - top, right - left), np.float32)
        cv2.fillConvexPoly(mask, np.round(ours - (left, top)).astype(np.int32), 1.0)
    one, other = (laid, held) if coarse is reference else (held, laid)
    return Overlap(
        query=one,
        reference=other,
        mask=mask,
        matrix=matrix,
        query_share=min(1.0, shares[0]),
        reference_share=min(1.0, shares[1]),
        into_query=to_fine @ place if coarse is reference else place,
        into_reference=place if coarse is reference else to_fine @ place,
        side=coarse.side,
        of_query=coarse is query,
        grid=(rows, columns),
    )


def _divide(start: int, end: int, side: int) -> tuple[int, int, int]:
    """Return where a line of pixels starts and ends, shortened to equal blocks, and their number."""
    most = max(BLOCKS, round(BLOCKS * side / SIDE))
    wanted = max(2, min(most, round((end - start) / _SMALLEST_BLOCK)))
    blocks = min(
        (wanted, wanted - 1, wanted + 1), key=lambda count: max(_MAY_LOSE * (end - start), (end - start) % count)
    )
    over = (end - start) % blocks
    return start + over // 2, end - (over + 1) // 2, blocks


def _corners(grey: Grey, rim: float = 0.0) -> npt.NDArray[np.float64]:
    """Return the corners of a picture, or of what is within its rim, a share of its longest side."""
    height, width = grey.shape
    margin = min(rim * max(grey.shape), min(grey.shape) / 4)
    low, right, bottom = margin - 0.5, width - margin - 0.5, height - margin - 0.5
    return np.array([(low, low), (right, low), (right, bottom), (low, bottom)])


def _intersect(
    matrix: Matrix, query: Grey, reference: Grey, part: Box | None, rim: float = 0.0
) -> npt.NDArray[np.float64] | None:
    """Return the polygon that both cover, in the reference's pixels; None if it is too small."""
    outline, frame = warp(matrix, _corners(query, rim)), _corners(reference, rim)
    if part is not None:
        left, top, right, bottom = part
        shares = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
        frame = np.clip(shares * reference.shape[::-1] - 0.5, frame[0], frame[2])
    (ax, ay), (bx, by), (cx, cy) = outline[:3].tolist()
    if (bx - ax) * (cy - by) < (by - ay) * (cx - bx):  # a mirrored picture's corners run the other way
        outline = outline[::-1]
    area, polygon = cv2.intersectConvexConvex(outline.astype(np.float32), frame.astype(np.float32))
    if polygon is None or area < _SMALLEST_OVERLAP**2 / 4 or len(polygon) < 3:
        return None
    return np.asarray(polygon[:, 0], np.float64)


def _area(polygon: npt.NDArray[np.float64]) -> float:
    return float(cv2.contourArea(polygon.astype(np.float32)))


def _warped(grey: Grey, into: Matrix, size: tuple[int, int], scale: float) -> Grey:
    """Return the finer picture in the coarser one's pixels: made small first, as a warp alone would alias.

    Args:
        into: from the result's pixels to those of `grey`. scale: pixels of the result for one of `grey`, 0 to 1.
    """
    if scale < 0.8:
        height, width = grey.shape
        small = max(1, round(width * scale)), max(1, round(height * scale))
        grey = cv2.resize(grey, small, interpolation=cv2.INTER_AREA).reshape(small[1], small[0])
        x, y = small[0] / width, small[1] / height
        into = np.array([[x, 0, x / 2 - 0.5], [0, y, y / 2 - 0.5], [0, 0, 1]]) @ into  # middles of pixels
    x, y = (int(value) for value in into[:2, 2].round())
    inside = 0 <= x <= grey.shape[1] - size[0] and 0 <= y <= grey.shape[0] - size[1]
    if inside and np.abs(into - [[1, 0, x], [0, 1, y], [0, 0, 1]]).max() < 1e-4:  # it lies there already
        return grey[y : y + size[1], x : x + size[0]]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpPerspective(grey, into, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(laid, np.uint8)
