"""Find rectangles that look like a picture within a picture: pasted in, a cell of a collage, what bars or an app frame.

What gives them away are straight edges along the axes that end at corners. Nearly all photographs have none and cost
nothing but the search, a fraction of a millisecond on the tile that the network sees anyway. A region is described like
a picture of its own, so finding one too many costs time and a little precision, finding none costs the copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from neardup.pipeline.media.tile import squeeze
from neardup.pipeline.types import Box, Frame, Pixels

Mode: TypeAlias = Literal["none", "boxes", "grid"]
MOST = 4
"""Regions of one picture."""
GRID: tuple[Box, ...] = (
    *((0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5), (0.0, 0.5, 0.5, 1.0), (0.5, 0.5, 1.0, 1.0)),
    *((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, 1.0)),
    (0.25, 0.25, 0.75, 0.75),
)
"""Quarters, halves and the middle: what `boxes` is measured against."""

_STEP = 10
"""Grey levels from one pixel of the tile to the next that can be an edge."""
_BLOCK = 8
_LINES = 8
"""Edges looked at in each direction, the strongest."""
_MIN_LINE = 55.0
_SIDE, _MIN_AREA, _MAX_AREA = 0.22, 0.08, 0.93
"""Least side, least and largest area of a region, as shares of the picture."""
_SUPPORT = np.array([9.0, 0.92, 0.8, 0.7, 0.65], dtype=np.float32)
"""Least share of a side's length that shows an edge, by how many of the four sides are not the picture's own border."""
_MIN_SCORE, _MIN_MEAN, _RELATIVE = 120.0, 0.6, 0.4
"""Least score of a region: in all, by pixel of its sides, and as a share of the best region's."""
_SAME = 0.5
"""Overlap (intersection over union) from which two rectangles are one region."""
_BORDER = 0.05
Floats = npt.NDArray[np.float32]
Boxes = npt.NDArray[np.float64]


def cut_regions(tile: Pixels, rgb: Pixels, mode: Mode) -> Iterator[Frame]:
    """Yield the regions of a picture as frames of their own.

    Args:
        tile: uint8 (s, s, 3), the whole picture squeezed. rgb: uint8 (h, w, 3), the picture as it was decoded.
        mode: no regions, those that `find_regions` finds, or fixed ones.
    """
    boxes = () if mode == "none" else GRID if mode == "grid" else find_regions(tile)
    height, width = rgb.shape[:2]
    for box in boxes:
        left, top, right, bottom = (round(share * side) for share, side in zip(box, (width, height) * 2, strict=True))
        if right > left and bottom > top:
            yield Frame(0.0, squeeze(np.array(rgb[top:bottom, left:right]), len(tile)), box)


def find_regions(tile: Pixels) -> tuple[Box, ...]:
    """Return at most MOST rectangles, the most certain first, as shares of the picture.

    A side's score is its log-likelihood ratio of being an edge all along to being what the rest of the picture is.

    Args:
        tile: uint8 (s, s, 3), s a multiple of 8.
    """
    size = len(tile)
    grey = (tile[..., 1] * np.uint16(2) + tile[..., 0] + tile[..., 2]).astype(np.int16)  # 0 to 1020
    across = _edges(grey)
    down = _edges(np.ascontiguousarray(grey.T))
    if across.most + down.most < _MIN_SCORE:
        return ()
    x, y = _Spans(across.at, size), _Spans(down.at, size)
    # (spans of x, spans of y): each pair is a rectangle
    left, right = across.along(x.first, y), across.along(x.last, y)
    top, bottom = down.along(y.first, x), down.along(y.last, x)
    score = left.score + right.score + top.score.T + bottom.score.T
    support = np.minimum(np.minimum(left.support, right.support), np.minimum(top.support, bottom.support).T)
    length = x.inner[:, None] * y.length + y.inner * x.length[:, None]
    area = x.length[:, None] * y.length / size**2
    good = (score >= np.maximum(_MIN_SCORE, _MIN_MEAN * length)) & (area >= _MIN_AREA) & (area <= _MAX_AREA)
    good &= support >= _SUPPORT[x.inner[:, None] + y.inner]
    i, j = np.nonzero(good)
    boxes = np.stack([x.start[i], y.start[j], x.stop[i], y.stop[j]], axis=1) / size
    # Between a cell and the row of cells that it stands in, the cell: it has more sides of its own.
    rank = score[i, j] * (0.7 + 0.1 * (x.inner[i] + y.inner[j]))
    return tuple(map(_box, _complete(_distinct(boxes, rank))))


@dataclass(frozen=True, slots=True)
class _Sides:
    """Sides of rectangles, (p, q): the score of each, and the share of its length that shows an edge."""

    score: Floats
    support: Floats


class _Spans:
    """All ways to begin at one edge, or the picture's border, and to end at a later one."""

    def __init__(self, at: npt.NDArray[np.int64], size: int) -> None:
        places = np.concatenate([[0], at, [size]])
        first, last = np.triu_indices(len(places), 1)
        wide = places[last] - places[first] >= _SIDE * size
        self.first, self.last = first[wide], last[wide]
        self.start, self.stop = places[self.first], places[self.last]
        self.length = self.stop - self.start
        self.inner = (self.first > 0).astype(np.int64) + (self.last < len(places) - 1)
        """How many of the two ends are not the picture's border."""


class _Edges:
    """The strongest straight edges in one direction.

    Attributes:
        at: the pixel that begins behind each edge, rising.
        most: what two sides on them can score together.
    """

    def __init__(
        self, strong: npt.NDArray[np.bool_], at: npt.NDArray[np.int64], most: float, yes: float, no: float
    ) -> None:
        self.at, self.most = at + 1, most
        # One more at each end: the picture's own borders, which count neither way.
        self._hits = np.zeros((len(strong) + 1, len(at) + 2), dtype=np.float32)
        np.cumsum(strong[:, at], axis=0, out=self._hits[1:, 1:-1])
        self._yes, self._no = yes, no

    def along(self, edge: npt.NDArray[np.int64], spans: _Spans) -> _Sides:
        """Return sides on p edges, over q spans of the other direction."""
        hits = (self._hits[spans.stop] - self._hits[spans.start]).T  # (edges, q)
        score = self._no * spans.length + (self._yes - self._no) * hits
        support = hits / spans.length
        score[[0, -1]], support[[0, -1]] = 0.0, 1.0
        return _Sides(score[edge], support[edge])


def _edges(grey: npt.NDArray[np.int16]) -> _Edges:
    """Return the edges that run down a picture of 0 to 1020."""
    steps = np.abs(np.diff(grey, axis=1))
    # An edge is at one place all along: blurred ones spread over two, so neighbours may be up to twice as high.
    strong = steps > 4 * _STEP
    strong[:, 1:] &= 2 * steps[:, 1:] >= steps[:, :-1]
    strong[:, :-1] &= 2 * steps[:, :-1] >= steps[:, 1:]
    share = min(max(float(np.count_nonzero(strong)) / strong.size, 0.03), 0.45)
    yes, no = float(np.log(0.8 / share)), float(np.log(0.2 / (1 - share)))
    hits = np.add.reduce(strong.reshape(-1, _BLOCK, strong.shape[1]), axis=1, dtype=np.int16)
    sums = np.cumsum(_BLOCK * no + (yes - no) * hits, axis=0)
    lowest = np.minimum.accumulate(np.minimum(sums, 0.0), axis=0)
    best = np.maximum(sums[0], (sums[1:] - lowest[:-1]).max(axis=0))  # of all stretches of the line
    padded = np.pad(best, 1)
    peaks = np.flatnonzero((best >= padded[:-2]) & (best >= padded[2:]) & (best > _MIN_LINE))
    peaks = peaks[np.argsort(-best[peaks], kind="stable")[:_LINES]]
    return _Edges(strong, np.sort(peaks), float(best[peaks[:2]].sum()), yes, no)


def _distinct(boxes: Boxes, rank: Floats) -> list[Boxes]:
    """Return the best boxes that do not stand for one another."""
    order = np.argsort(-rank, kind="stable")
    order = order[rank[order] >= _RELATIVE * rank[order[:1]]]
    kept: list[Boxes] = []
    while len(order) and len(kept) < MOST:
        kept.append(boxes[order[0]])
        order = order[overlap(boxes[order], kept[-1]) < _SAME]
    return kept


def _complete(kept: list[Boxes]) -> list[Boxes]:
    """Add the other cells of a collage that the best box is a cell of: white beside white shows no edge."""
    if not kept:
        return kept
    left, top, right, bottom = kept[0]
    xs = [0.0, *(x for x in (left, right) if _BORDER < x < 1 - _BORDER), 1.0]
    ys = [0.0, *(y for y in (top, bottom) if _BORDER < y < 1 - _BORDER), 1.0]
    if len(xs) + len(ys) > 6:  # not in a corner, nor from border to border
        return kept
    cells = [np.array([*low, *high]) for low, high in _cells(xs, ys)]
    for cell in cells:
        room = len(kept) < MOST and float((cell[2:] - cell[:2]).min()) >= _SIDE
        if room and overlap(np.stack(kept), cell).max() < _SAME:
            kept.append(cell)
    return kept


def _cells(xs: list[float], ys: list[float]) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    for x in range(len(xs) - 1):
        for y in range(len(ys) - 1):
            yield (xs[x], ys[y]), (xs[x + 1], ys[y + 1])


def overlap(boxes: Boxes, box: Boxes) -> Boxes:
    """Return the intersection over the union of (n, 4) boxes with another, (n,)."""
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.asarray(shared / (areas + np.prod(box[2:] - box[:2]) - shared))


def _box(box: Boxes) -> Box:
    left, top, right, bottom = box.tolist()
    return left, top, right, bottom
