"""Find rectangles that look like a picture within a picture: pasted in, a cell of a collage, what bars or an app frame.

What gives them away are straight edges along the axes that end at corners. Nearly all photographs have none and cost
nothing but the search, a fraction of a millisecond on the tile that the network sees anyway. A region is described like
a picture of its own, so finding one too many costs time and a little precision, finding none costs the copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from neardup.pipeline.media.tile import squeeze
from neardup.pipeline.types import Box, Frame, Pixels, RegionMode

Mode: TypeAlias = RegionMode
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
_MOST_BYTES = 2**25
"""Pictures that are kept until others are there have no more bytes together."""
Floats = npt.NDArray[np.float32]
Boxes = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Cutter:
    """Adds the regions of pictures to their frames, of several pictures at once; for one thread.

    Args:
        mode: no regions, those that `find_regions` finds, or fixed ones.
    """

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self._waiting: list[tuple[list[Frame], Pixels]] = []
        self._bytes = 0

    def add(self, frames: list[Frame], rgb: Pixels) -> None:
        """Take a picture in, whose regions are there after `cut`; or earlier, where pictures are large.

        Args:
            frames: the whole picture, uint8 (s, s, 3); its regions are appended.
            rgb: uint8 (h, w, 3), the picture as it was decoded.
        """
        if self.mode == "none":
            return
        self._waiting.append((frames, rgb))
        self._bytes += rgb.size
        if self._bytes > _MOST_BYTES:
            self.cut()

    def cut(self) -> None:
        """Find the regions of all pictures that were added, and cut them out."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if not waiting:
            return
        tiles = [frames[0].tile for frames, _ in waiting]
        found = [GRID] * len(tiles) if self.mode == "grid" else find_regions(tiles)
        for (frames, rgb), boxes in zip(waiting, found, strict=True):
            frames.extend(_cut(rgb, boxes, len(frames[0].tile)))


def cut_regions(tile: Pixels, rgb: Pixels, mode: Mode) -> list[Frame]:
    """Return the regions of one picture as frames of their own.

    Args:
        tile: uint8 (s, s, 3), the whole picture squeezed. rgb: uint8 (h, w, 3), the picture as it was decoded.
    """
    frames = [Frame(0.0, tile)]
    cutter = Cutter(mode)
    cutter.add(frames, rgb)
    cutter.cut()
    return frames[1:]


def _cut(rgb: Pixels, boxes: tuple[Box, ...], size: int) -> Iterator[Frame]:
    height, width = rgb.shape[:2]
    for box in boxes:
        left, top, right, bottom = (round(share * side) for share, side in zip(box, (width, height) * 2, strict=True))
        if right > left and bottom > top:
            yield Frame(0.0, squeeze(np.array(rgb[top:bottom, left:right]), size), box)


def find_regions(tiles: Sequence[Pixels] | Pixels) -> list[tuple[Box, ...]]:
    """Return at most MOST rectangles of each picture, the most certain first, as shares of the picture.

    A side's score is its log-likelihood ratio of being an edge all along to being what the rest of the picture is.
    Nine of ten photographs have no edges that could add up to a rectangle, which is seen of all tiles at once.

    Args:
        tiles: n of uint8 (s, s, 3), s a multiple of 8.
    """
    lines = _Lines(_grey(tiles))
    found: list[tuple[Box, ...]] = [()] * len(tiles)
    for i in lines.possible().tolist():
        found[i] = _rectangles(*lines.edges(i), len(tiles[i]))
    return found


def _rectangles(down: _Edges, across: _Edges, size: int) -> tuple[Box, ...]:
    """Return the regions that edges enclose."""
    x, y = _Spans(down.at, size), _Spans(across.at, size)
    upright, level = down.pairs(x, y), across.pairs(y, x)
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
        yes, no: what a pixel scores that shows an edge, or none.
    """

    at: Places
    hits: Floats
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


class _Lines:
    """All straight lines of n pictures between pixels: of both directions, which are looked at together, down first.

    Args:
        grey: uint8 (n, s, s).
    """

    def __init__(self, grey: Pixels) -> None:
        count, size = grey.shape[:2]
        self._strong = _strong(grey, 1), _strong(grey, size)
        hits = np.stack([_hits_down(self._strong[0]), _hits_across(self._strong[1])])  # (2, n, s / 8, s)
        marks = np.min_scalar_type(size)  # holds those of a line
        share = np.add.reduce(np.add.reduce(hits, axis=2, dtype=marks), axis=2, dtype=np.int64) / size**2
        share = np.minimum(np.maximum(share, 0.03), 0.45)
        self._yes, self._no = yes, no = np.log(0.8 / share), np.log(0.2 / (1 - share))
        slope, start = yes - no, _BLOCK * no  # a block of h marks scores slope · h + start
        # No stretch of a line scores more than its marks beyond those that a block needs not to speak against an edge,
        # here rounded down: few lines have enough of them.
        needed = np.floor(-start / slope)
        least = np.floor(needed * (size // _BLOCK) + _MIN_LINE / slope)
        beyond = np.add.reduce(np.maximum(hits, needed.astype(marks)[..., None, None]), axis=2, dtype=marks)
        way, picture, line = np.nonzero(beyond > least.astype(marks)[..., None])
        slope, start = (some.astype(np.float32)[way, picture, None] for some in (slope, start))
        best = np.zeros((2, count, size + 2), dtype=np.float32)
        best[way, picture, line + 1] = _best_stretch(slope * hits[way, picture, :, line] + start)
        here = best[..., 1:-1]
        peak = (here > _MIN_LINE) & (here >= best[..., :-2]) & (here >= best[..., 2:])
        self._peaks = np.where(peak, here, np.float32(0.0))

    def possible(self) -> Places:
        """Return the pictures whose lines could be the sides of a rectangle, rising."""
        two = np.partition(self._peaks, -2, axis=2)[..., -2:]  # the best of each direction
        best, size = two[..., 1], self._peaks.shape[2]
        shown = float(_SUPPORT[2]) - 0.01  # for rounding
        # Where all inner sides have one direction they go from border to border.
        crosses = best >= size * (shown * self._yes + (1 - shown) * self._no)
        enough = two.sum(axis=2).sum(axis=0) >= _MIN_SCORE
        return np.flatnonzero(enough & ((best > 0).all(axis=0) | crosses.any(axis=0)))

    def edges(self, i: int) -> tuple[_Edges, _Edges]:
        """Return the strongest edges of one picture, down and across."""
        down, across = self._strong[0][i].T, self._strong[1][i]
        return self._edges(0, i, down), self._edges(1, i, across)

    def _edges(self, way: int, i: int, strong: Bools) -> _Edges:
        peaks = self._peaks[way, i]
        at = np.flatnonzero(peaks)
        if len(at) > _LINES:
            at = np.sort(at[np.argsort(-peaks[at], kind="stable")[:_LINES]])
        along = np.zeros((len(at) + 2, len(strong) + 1), dtype=np.float32)
        np.cumsum(strong[at], axis=1, out=along[1:-1, 1:])
        return _Edges(at + 1, along, float(self._yes[way, i]), float(self._no[way, i]))


def _grey(tiles: Sequence[Pixels] | Pixels) -> Pixels:
    """Return (red + 2 green + blue) / 4, of colours rounded down, (n, s, s).

    Computed for all bytes and then taken of every third: operations on every third byte are slow.
    """
    grey = np.empty((len(tiles), *tiles[0].shape[:2]), dtype=np.uint8)
    for tile, row in zip(tiles, grey.reshape(len(tiles), -1), strict=True):
        flat = tile.reshape(-1)
        quarter, sums = flat >> 2, flat[1:-1] >> 1
        sums += quarter[:-2]
        sums += quarter[2:]
        row[:] = sums[::3]
    return grey


def _hits_down(strong: Bools) -> Pixels:
    """Count the marks in blocks along the lines, uint8 (n, s / 8, s); eight pixels of a row are added at once."""
    count, size = strong.shape[:2]
    words = strong.view(np.uint64).reshape(count, size // _BLOCK, _BLOCK, -1)
    return np.asarray(np.add.reduce(words, axis=2)).view(np.uint8)


def _hits_across(strong: Bools) -> Pixels:
    """Count the marks in blocks along the lines, uint8 (n, s / 8, s)."""
    return np.asarray(np.bitwise_count(strong.view(np.uint64)).transpose(0, 2, 1))


def _strong(grey: Pixels, stride: int) -> Bools:
    """Mark the pixels, (n, s, s), behind which there is a step.

    An edge is at one place all along: blurred ones spread over two, so neighbours may be up to twice as high.
    """
    flat = grey.reshape(-1)
    steps = np.zeros(len(flat) + 2 * stride, dtype=np.uint8)  # with one more before and after
    middle = steps[stride:-stride]
    inside = middle[:-stride]
    np.maximum(flat[stride:], flat[:-stride], out=inside)
    inside -= np.minimum(flat[stride:], flat[:-stride])
    ends = middle.reshape(grey.shape)
    if stride == 1:
        ends[:, :, -1] = 0  # from the end of a row to the next
    else:
        ends[:, -1] = 0  # from a picture to the next
    least = np.maximum(steps[: -2 * stride], steps[2 * stride :])
    least >>= 1
    strong = middle > _STEP
    strong &= middle >= least
    return strong.reshape(grey.shape)


def _best_stretch(scores: Floats) -> Floats:
    """Return the highest sum of consecutive columns, (m,) of (m, blocks)."""
    sums = np.cumsum(scores, axis=1)
    lowest = np.minimum.accumulate(np.minimum(sums, 0), axis=1)
    return np.asarray(np.maximum(sums[:, 0], (sums[:, 1:] - lowest[:, :-1]).max(axis=1)))


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
