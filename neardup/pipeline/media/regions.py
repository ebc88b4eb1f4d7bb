"""Find rectangles that look like a picture within a picture: pasted in, a cell of a collage, what bars or an app frame.

What gives them away are straight edges along the axes that end at corners. Nearly all photographs have none and cost
nothing but the search, a fraction of a millisecond on the tile that the network sees anyway. A region is described like
a picture of its own, so finding one too many costs time and a little precision, finding none costs the copy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
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
Places = npt.NDArray[np.int64]


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
    grey = _grey(tile)
    across, down = _edges(grey, 1), _edges(grey, size)
    if across.most + down.most < _MIN_SCORE:
        return ()
    x, y = _Spans(across.at, size), _Spans(down.at, size)
    upright, level = across.pairs(x, y), down.pairs(y, x)
    score = upright.score + level.score.T  # (spans of x, spans of y): each pair is a rectangle
    support = np.minimum(upright.support, level.support.T)
    i, j = np.nonzero((support >= _SUPPORT[x.inner[:, None] + y.inner]) & (score >= _MIN_SCORE))
    if not len(i):
        return ()
    score, inner = score[i, j], (x.inner[i], y.inner[j])
    area = x.length[i] * y.length[j] / size**2
    long = score >= _MIN_MEAN * (inner[0] * y.length[j] + inner[1] * x.length[i])
    good = np.flatnonzero(long & (area >= _MIN_AREA) & (area <= _MAX_AREA))
    boxes = np.stack([x.start[i], y.start[j], x.stop[i], y.stop[j]], axis=1)[good] / size
    # Between a cell and the row of cells that it stands in, the cell: it has more sides of its own.
    rank = (score * (0.7 + 0.1 * (inner[0] + inner[1])))[good]
    return tuple(map(_box, _complete(_distinct(boxes, rank))))


@dataclass(frozen=True, slots=True)
class _Sides:
    """Pairs of opposite sides of rectangles, (p, q): the score of both, the lower share that shows an edge."""

    score: Floats
    support: Floats


class _Spans:
    """All ways to begin at one edge, or the picture's border, and to end at a later one."""

    def __init__(self, at: Places, size: int) -> None:
        places = np.concatenate([[0], at, [size]])
        first, last = _pairs_of(len(places))
        length = places[last] - places[first]
        wide = np.flatnonzero(length >= _SIDE * size)
        self.first, self.last, self.length = first[wide], last[wide], length[wide]
        self.start, self.stop = places[self.first], places[self.last]
        self.inner = (self.first > 0).astype(np.int64) + (self.last < len(places) - 1)
        """How many of the two ends are not the picture's border."""


@cache
def _pairs_of(count: int) -> tuple[Places, Places]:
    return np.triu_indices(count, 1)


@dataclass(frozen=True, slots=True)
class _Edges:
    """The strongest straight edges in one direction.

    Attributes:
        at: the pixel that begins behind each of n edges, rising.
        hits: float32 (n + 2, s + 1), how much of each shows before a pixel; first and last the picture's own borders,
            which count neither way.
        most: what two sides on them can score together.
        yes, no: what a pixel scores that shows an edge, or none.
    """

    at: Places
    hits: Floats
    most: float
    yes: float
    no: float

    def pairs(self, spans: _Spans, others: _Spans) -> _Sides:
        """Return the two sides at the ends of p spans, over q spans of the other direction."""
        hits = self.hits[:, others.stop] - self.hits[:, others.start]  # (n + 2, q)
        length = others.length.astype(np.float32)
        score = np.float32(self.yes - self.no) * hits + np.float32(self.no) * length
        support = hits / length
        score[[0, -1]], support[[0, -1]] = 0.0, 1.0
        return _Sides(score[spans.first] + score[spans.last], np.minimum(support[spans.first], support[spans.last]))


def _grey(tile: Pixels) -> Pixels:
    """Return (red + 2 green + blue) / 4, of colours rounded down: all at once, as taking every third byte is slow."""
    flat = tile.reshape(-1)
    quarter, grey = flat >> 2, flat[1:-1] >> 1
    grey += quarter[:-2]
    grey += quarter[2:]
    return np.ascontiguousarray(grey[::3]).reshape(tile.shape[:2])


def _edges(grey: Pixels, stride: int) -> _Edges:
    """Return the edges between pixels that are `stride` apart in memory: they run down for 1, across for a row."""
    size = len(grey)
    strong = _strong(grey, stride)
    hits = _hits(strong, stride)
    share = min(max(int(np.add.reduce(hits, axis=None, dtype=np.int64)) / strong.size, 0.03), 0.45)
    yes, no = math.log(0.8 / share), math.log(0.2 / (1 - share))
    scores = np.float32(yes - no) * hits + np.float32(_BLOCK * no)
    # No stretch of a line scores more than all its blocks that speak for an edge; few lines have enough of them.
    possible = np.flatnonzero(np.add.reduce(np.maximum(scores, 0.0), axis=0) > _MIN_LINE)
    if not len(possible):
        return _Edges(possible, np.zeros((2, size + 1), dtype=np.float32), 0.0, yes, no)
    best = np.zeros(size + 2, dtype=np.float32)
    best[possible + 1] = _best_stretch(scores[:, possible])
    here = best[possible + 1]
    peaks = possible[(here > _MIN_LINE) & (here >= best[possible]) & (here >= best[possible + 2])]
    peaks = peaks[np.argsort(-best[peaks + 1], kind="stable")[:_LINES]]
    most = float(best[peaks[:2] + 1].sum())
    peaks.sort()
    along = np.zeros((len(peaks) + 2, size + 1), dtype=np.float32)
    np.cumsum(strong[:, peaks].T if stride == 1 else strong[peaks], axis=1, out=along[1:-1, 1:])
    return _Edges(peaks + 1, along, most, yes, no)


def _hits(strong: npt.NDArray[np.bool_], stride: int) -> Pixels:
    """Count the marks in blocks along the edges, uint8 (s / 8, s)."""
    if stride == 1:
        return np.asarray(np.add.reduce(strong.view(np.uint8).reshape(-1, _BLOCK, len(strong)), axis=1, dtype=np.uint8))
    return np.asarray(np.bitwise_count(strong.view(np.uint64)).T)  # eight pixels of a row are one word


def _strong(grey: Pixels, stride: int) -> npt.NDArray[np.bool_]:
    """Mark the pixels, (s, s), behind which there is a step.

    An edge is at one place all along: blurred ones spread over two, so neighbours may be up to twice as high.
    """
    size, flat = len(grey), grey.reshape(-1)
    steps = np.zeros(len(flat) + 2 * stride, dtype=np.uint8)  # with one more before and after
    inside = steps[stride : -2 * stride]
    np.maximum(flat[stride:], flat[:-stride], out=inside)
    inside -= np.minimum(flat[stride:], flat[:-stride])
    if stride == 1:
        steps[size::size] = 0  # from the end of a row to the next
    half = steps >> 1
    middle = steps[stride:-stride]
    strong = middle > _STEP
    strong &= middle >= half[: -2 * stride]
    strong &= middle >= half[2 * stride :]
    return strong.reshape(size, size)


def _best_stretch(scores: Floats) -> Floats:
    """Return the highest sum of consecutive rows, (s,) of (blocks, s)."""
    sums = np.cumsum(scores, axis=0)
    lowest = np.minimum.accumulate(np.minimum(sums, 0), axis=0)
    return np.asarray(np.maximum(sums[0], (sums[1:] - lowest[:-1]).max(axis=0)))


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
