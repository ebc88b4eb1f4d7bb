"""What only one side has once two pictures are laid over each other, by pixels rather than by blocks.

An edit puts something on one of the two: a sticker, a caption, a frame. What lies below it is gone, yet only one side
has its outline, and below it the other side goes on as around it. Two pictures of one template or scene have something
of their own on both sides: other words, a car here on the one and there on the other. So each piece that changed is
counted to the side that has its outline; what could be of both proves that no edit of one side made the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from neardup.pipeline.prove.compare import Agreement
from neardup.pipeline.prove.keypoints import SIDE, Grey
from neardup.pipeline.prove.overlap import Blocks, Levels

Sums: TypeAlias = npt.NDArray[np.float64]
"""(count,), one value for each piece."""
MAX_ON_BOTH = 10.0
"""Pixels at SIDE on both sides: noise leaves fewer."""
_LEVELS, _OF_RANGE = 20, 0.2
"""A pixel has changed if it is so many grey levels, and such a share of the contrast around it, beyond what its
neighbours have on the other side."""
_TEXTURED, _USUAL, _MOST_PIXELS, _MOST_OF_RANGE = 40, 1.2, 97, 0.6
"""Where differences are usual, also in what agrees, more is allowed: the share grows with theirs."""
_RAGGED = 0.3
"""Share from which on pixels may lie twice as far aside."""
_SMALLEST = 6
"""Pixels of the smallest piece."""
_CLEARLY, _CLEARLY_IF_SHORT, _SHORT = 2.5, 3.5, 150
"""A side has an outline to itself if it has so many times as much of it."""
_OUTLINED = 0.12
"""Share of its rim that is on an outline; a piece with less is light or shade."""
_EDGE, _STRONGER = 40.0, 1.5
"""A pixel is on one side's outline if its edge across the rim is stronger by so much and such a factor. What goes on
below a piece crosses the rim, and has no edge along it."""
_GOES_ON, _FAINT = 1.6, 16.0
"""The other side goes on below a piece if its edges there are at most so many times those around, or so faint."""
_ALONG, _ACROSS, _OWN_OUTLINE, _COVERS = 0.85, 0.5, 0.45, 150
"""An edge runs along the rim if so much of it is across, and crosses it if so little is. Below what covers so many
pixels, edges run along so much of the rim, beyond those that cross it, only where the other side ends there, too."""
_BOUND, _FILL, _THICK, _SHADED = 0.5, 100, 1.0, 4.0
"""A thing of another shade: edges of both sides run along so much of its rim, it has so many pixels, and so many for
each of its rim, and is so many times as much darker or lighter than what is around it. Halos of a sharpened copy are
thinner, and a vignette goes on around."""
_LINE = 0.03
"""Height of a line of a document, of the longest side."""
_SOLID = 0.3
"""Share of a piece that is not near its rim: of strokes there is hardly any."""
_SOFTER = (0.8, 1.2, 1.8, 2.7, 4.0, 6.0)
"""Sigmas of the blurs that are tried to make two pictures equally sharp."""
_BESIDE = 13
"""Pixels beside what is looked at that filters need."""
_NEAR, _NEXT, _WIDE, _AROUND = (np.ones((size, size), np.uint8) for size in (3, 5, 9, 13))


@dataclass(frozen=True, slots=True)
class Changes:
    """Pixels that changed, as many as they would be at SIDE.

    Attributes:
        query, reference: of pieces that only that side has. either: of pieces that both could have.
        lines: of pieces that one side has and that are as low as lines of a document's writing.
        spread: share of the overlap that changed, 0 to 1.
        where: uint8 (h, w) of the overlap, 1 where a piece lies; None if nothing changed.
    """

    query: float = 0.0
    reference: float = 0.0
    either: float = 0.0
    lines: float = 0.0
    spread: float = 0.0
    where: npt.NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)

    @property
    def on_both(self) -> float:
        """Pixels that no edit of one side explains."""
        return min(self.query, self.reference) + self.either


def find_changes(agreement: Agreement) -> Changes:
    """Return what only one side has, within the overlap. Light and contrast are made equal as a whole first."""
    overlap = agreement.overlap
    query = _light(agreement, overlap.query * np.float32(agreement.contrast), overlap.reference)
    return _compare(agreement, query, cv2.blur(overlap.reference, (3, 3)))


def find_again(agreement: Agreement, found: Changes) -> Changes:
    """Return what is left of changes that are on both sides once light and contrast are equal everywhere.

    They are made so from place to place, tone by tone, and in sharpness.
    """
    again = _compare(agreement, *_equal(agreement))
    return min(found, again, key=lambda one: one.on_both)


def _compare(agreement: Agreement, query: Grey, reference: Grey) -> Changes:
    overlap = agreement.overlap
    changed = _find_changed(agreement, query, reference)
    total = np.count_nonzero(changed)
    if total < _SMALLEST:
        return Changes()
    # What lies near each other is one piece: a sticker on texture differs from it here and there.
    closed = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_CLOSE, _WIDE)
    contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    closed = cv2.drawContours(closed, contours, -1, 1, cv2.FILLED)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8, ltype=cv2.CV_16U)
    size = np.bincount(labels[changed], minlength=count).astype(np.float64)
    counted = size >= _SMALLEST
    counted[0] = False  # what did not change
    if not counted.any():
        return Changes(spread=float(total / changed.size))

    # Only what is around pieces that count is looked at.
    around_counted = cv2.dilate(np.take(counted.view(np.uint8), labels, mode="clip"), _AROUND)
    left, top, width, height = cv2.boundingRect(around_counted)
    part = np.s_[max(0, top - _BESIDE) : top + height + _BESIDE, max(0, left - _BESIDE) : left + width + _BESIDE]
    here = np.flatnonzero(around_counted[part].view(np.bool_))
    whole = closed
    closed, labels, query, reference = (np.ascontiguousarray(one[part]) for one in (closed, labels, query, reference))
    around, grown = (cv2.dilate(labels, near) for near in (_AROUND, _NEAR))
    piece, around, grown = (one.ravel()[here].astype(np.intp) for one in (labels, around, grown))
    # Each pixel is of one kind: of a piece near its rim, of its inner part, or around it. All are counted at once.
    kind = piece + count * ((cv2.erode(closed, _NEXT).ravel()[here] > 0) & (piece > 0))
    beside = np.flatnonzero((grown == 0) & (around > 0))
    kind[beside] = around[beside] + 2 * count
    on_rim = np.flatnonzero((grown > 0) & (cv2.erode(closed, _NEAR).ravel()[here] == 0))
    rim, rim_here = grown[on_rim], here[on_rim]

    def per_piece(weights: npt.NDArray[np.float32] | None = None) -> tuple[Sums, Sums, Sums]:
        """Return sums over each piece, its inner part, and what is around it."""
        near, inner, outer = np.bincount(kind, weights, 3 * count).reshape(3, count).astype(np.float64)
        return near + inner, inner, outer

    def of_rim(where: npt.NDArray[np.bool_]) -> Sums:
        return np.bincount(rim[where], minlength=count).astype(np.float64)

    outward = _at(_gradient(cv2.GaussianBlur(closed.astype(np.float32), (0, 0), 1.5)), rim_here)
    outward = outward / np.maximum(np.hypot(*outward), 1e-6)
    length = np.bincount(rim, minlength=count).astype(np.float64)
    inside, amid, outside = (np.maximum(pixels, 1) for pixels in per_piece())
    ends, empty, across, along = [], [], [], []
    for side in (query, reference):
        slope = _gradient(side)
        strength = cv2.magnitude(*slope).ravel()
        whole_piece, inner, outer = per_piece(strength[here])
        ends.append(whole_piece / inside > _GOES_ON * (outer / outside) + _FAINT)
        empty.append(inner / amid < _FAINT)
        across.append(np.abs((_at(slope, rim_here) * outward).sum(0)))
        strength = strength[rim_here]
        edge = strength > _EDGE
        follow, cross = edge & (across[-1] > _ALONG * strength), edge & (across[-1] < _ACROSS * strength)
        along.append(of_rim(follow) - of_rim(cross) > _OWN_OUTLINE * length)
    outline = [of_rim(one > _STRONGER * other + _EDGE) for one, other in (across, across[::-1])]
    scale = (SIDE / max(SIDE, overlap.side)) ** 2
    large = amid > _SOLID * inside
    covers = large & (size * scale > _COVERS)
    pieces = counted & (outline[0] + outline[1] >= _OUTLINED * length)
    low = stats[:, cv2.CC_STAT_HEIGHT] <= _LINE * overlap.side
    clearly = np.where(length < _SHORT, _CLEARLY_IF_SHORT, _CLEARLY)
    own, other = (pieces & (outline[one] > clearly * outline[1 - one]) & ~ends[1 - one] for one in (0, 1))
    neither = pieces & ~own & ~other
    own, other = own | (neither & large & empty[1] & ~empty[0]), other | (neither & large & empty[0] & ~empty[1])
    own, other = own & ~(covers & along[1]), other & ~(covers & along[0])
    shaded = counted & ~own & ~other & (inside * scale >= _FILL) & (inside >= _THICK * length)
    if shaded.any():
        shaded &= of_rim((across[0] > _EDGE) & (across[1] > _EDGE)) >= _BOUND * length
    if shaded.any():
        shade, _, beyond = per_piece(query.ravel()[here].astype(np.float32) - reference.ravel()[here])
        shaded &= np.abs(shade) / inside >= _SHADED * np.abs(beyond) / outside
    kinds = own, other, (pieces | shaded) & ~own & ~other, (own | other) & low
    query_area, reference_area, either, lines = (float(size[which].sum() * scale) for which in kinds)
    return Changes(query_area, reference_area, either, lines, float(total / changed.size), whole)


def _find_changed(agreement: Agreement, query: Grey, reference: Grey) -> npt.NDArray[np.bool_]:
    """Return the pixels that changed, bool (h, w); fewer than _SMALLEST mean nothing."""
    sides = [(query, reference), (reference, query)]
    beyond = [_beyond(one, _reach(other, _NEAR)) for one, other in sides]
    if np.count_nonzero(apart := cv2.max(*beyond) > _LEVELS) < _SMALLEST:
        return np.asarray(apart)
    wider = [_reach(other, _NEXT) for _, other in sides]
    contrast = [cv2.subtract(*reach) for reach in wider]

    def changed(beyond: list[Grey], share: float) -> npt.NDArray[np.bool_]:
        over = [
            cv2.subtract(one, cv2.max(cv2.convertScaleAbs(range_, alpha=share), _LEVELS))
            for one, range_ in zip(beyond, contrast, strict=True)
        ]
        return np.asarray(cv2.max(*over) > 0)

    found = changed(beyond, _OF_RANGE)
    if np.count_nonzero(found) >= _SMALLEST:
        agrees = _enlarge_mask(agreement.agrees, query.shape)
        textured = agrees & (cv2.min(*contrast) > _TEXTURED)
        if textured.any():
            share = _USUAL * _high(cv2.max(*beyond), cv2.max(*contrast), textured, _OF_RANGE / _USUAL)
            if share > _RAGGED:  # pixelated and noisy copies differ at every edge
                beyond = [_beyond(one, reach) for (one, _), reach in zip(sides, wider, strict=True)]
            found = changed(beyond, min(share, _MOST_OF_RANGE)) if share > _OF_RANGE else found
    if agreement.overlap.mask is not None:
        found &= cv2.erode(agreement.overlap.mask, _NEXT) > 0
    return found


def _high(beyond: Grey, contrast: Grey, where: npt.NDArray[np.bool_], least: float) -> float:
    """Return the percentile _MOST_PIXELS of shares of the contrast, 0 where it is below `least`.

    Only shares above that are computed and sorted.
    """
    rank = round((1 - _MOST_PIXELS / 100) * (np.count_nonzero(where) - 1))  # from the top
    where = where & (cv2.convertScaleAbs(contrast, alpha=least, beta=-1) <= beyond)
    shares = np.divide(beyond[where], contrast[where], dtype=np.float32)
    above = shares[shares > least]
    return float(-np.partition(-above, rank)[rank]) if rank < len(above) else 0.0


def _reach(grey: Grey, near: npt.NDArray[np.uint8]) -> tuple[Grey, Grey]:
    """Return the most and the least that a picture has near each pixel."""
    return np.asarray(cv2.dilate(grey, near), np.uint8), np.asarray(cv2.erode(grey, near), np.uint8)


def _beyond(side: Grey, reach: tuple[Grey, Grey]) -> Grey:
    """Return by how much each pixel is outside what the other side has near it."""
    return np.asarray(cv2.max(cv2.subtract(side, reach[0]), cv2.subtract(reach[1], side)), np.uint8)


def _gradient(grey: npt.NDArray[Any]) -> tuple[Levels, Levels]:
    """Return the change to the right and downwards of each pixel, both (h, w)."""
    right, down = (np.asarray(cv2.Sobel(grey, cv2.CV_32F, x, 1 - x), np.float32) for x in (1, 0))
    return right, down


def _at(gradient: tuple[Levels, Levels], where: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
    """Return a gradient at some pixels, (2, n)."""
    return np.stack([one.ravel()[where] for one in gradient])


def _equal(agreement: Agreement) -> tuple[Grey, Grey]:
    """Return query and reference of the same tones, contrast, sharpness and light, as where they agree."""
    overlap = agreement.overlap
    agrees = _enlarge_mask(agreement.agrees, overlap.query.shape)
    if overlap.mask is not None:
        agrees &= overlap.mask > 0
    own, other = (
        cv2.calcHist([side], [0], agrees.view(np.uint8), [256], [0, 256]).ravel().cumsum(dtype=np.float64)
        for side in (overlap.query, overlap.reference)
    )
    tones = np.interp(own, other, np.arange(256)).astype(np.float32)  # the same share is darker than a tone's equal
    query = _contrast(agreement, cv2.LUT(overlap.query, tones), overlap.reference.astype(np.float32))
    query, reference = _soften(agrees, query, overlap.reference.astype(np.float32))
    return _light(agreement, query, reference), cv2.blur(_levels(reference), (3, 3))


def _contrast(agreement: Agreement, query: Levels, reference: Levels) -> Levels:
    """Return the query with the reference's contrast from place to place."""
    overlap, agrees = agreement.overlap, agreement.agrees.astype(np.float32)
    mean, other_mean = overlap.mean(query), overlap.mean(reference)
    variance = overlap.mean(query * query) - mean**2
    other = overlap.mean(reference * reference) - other_mean**2
    own, wanted = (cv2.GaussianBlur(np.maximum(one, 0) * agrees, (0, 0), 0.8) + 4 for one in (variance, other))
    gain, middle = (_enlarge(one, query.shape) for one in (np.sqrt(np.clip(wanted / own, 0.1, 10)), mean))
    return np.asarray((query - middle) * gain + middle, np.float32)


def _soften(where: npt.NDArray[np.bool_], query: Levels, reference: Levels) -> tuple[Levels, Levels]:
    """Return both, the sharper one blurred until they differ least where they agree."""

    def apart(one: Levels, other: Levels) -> float:
        difference = cv2.subtract(one, other)
        return float(cv2.norm(difference, cv2.blur(difference, (25, 25)), cv2.NORM_L1, mask))

    mask = where.astype(np.uint8)
    best, least = (query, reference), apart(query, reference)
    for side in (0, 1):
        for sigma in _SOFTER:
            blurred = cv2.GaussianBlur((query, reference)[side], (0, 0), sigma)
            tried = (blurred, reference) if side == 0 else (query, blurred)
            now = apart(*tried)
            if now >= least:
                break
            best, least = tried, now
    return best


def _light(agreement: Agreement, query: Levels, reference: npt.NDArray[np.generic]) -> Grey:
    """Return the query, a little blurred, as light as the reference from place to place."""
    overlap = agreement.overlap
    apart = overlap.mean(reference) - overlap.mean(query)
    known = (agreement.agrees | (~agreement.seen & (overlap.covered > 0.5))).astype(np.float32)
    usual = float((apart * known).sum() / max(1.0, float(known.sum())))
    near = cv2.GaussianBlur(known, (0, 0), 1.0) + 0.01
    field = (cv2.GaussianBlur(apart * known, (0, 0), 1.0) + 0.01 * usual) / near
    return np.asarray(cv2.blur(_levels(query + _enlarge(field, query.shape)), (3, 3)), np.uint8)


def _enlarge(blocks: Blocks, shape: tuple[int, ...]) -> Levels:
    return np.asarray(cv2.resize(blocks.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _enlarge_mask(blocks: npt.NDArray[np.bool_], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    return np.asarray(cv2.resize(blocks.view(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST)).view(np.bool_)


def _levels(values: Levels) -> Grey:
    return np.clip(values, 0, 255).astype(np.uint8)
