"""Where one of two pictures has another colour, and nothing else is other: a print, a jersey, a stripe of a flag.

Grey levels do not show it, or take it for light. A tint, a filter or a blend changes most colours, and is no ground:
what counts is that some are other ones while most are the same. What touches a piece that changed in grey belongs to
it.
"""

from __future__ import annotations

import cv2
import numpy as np

from neardup.pipeline.prove.changes import Changes
from neardup.pipeline.prove.keypoints import SIDE, Keypoints
from neardup.pipeline.prove.overlap import Levels, Overlap

_OTHER, _OF_LIGHT, _SAME = 32.0, 2.0, 5.0
"""Levels by which a colour is another one, and how many times as much as the light does; levels by which the colours in
half of the overlap differ at most."""
_COLOURED = 24.0
"""Levels from which there is a colour."""
_GREY = 4.0
"""Standard deviation of colours, in levels, below which a side is a grey copy."""
_RIM = 0.02
"""Share of a picture's side that is left out, as what is beside it may show there."""
_FINE = 40
"""Pixels of the coarser thumbnail along the overlap, below which it says nothing of places."""
_NEAR = np.ones((3, 3), np.uint8)


def count_recoloured(query: Keypoints, reference: Keypoints, overlap: Overlap, changes: Changes) -> float:
    """Return how many pixels, as many as they would be at SIDE, have another colour and did not change in grey."""
    if query.colour is None or reference.colour is None:
        return 0.0
    sides = (query, query.colour, overlap.into_query), (reference, reference.colour, overlap.into_reference)
    # Both are seen as coarse as the coarser thumbnail: its pixels, in those of the overlap.
    pitches = [
        max(picture.grey.shape) / max(colour.shape) / float(np.sqrt(abs(np.linalg.det(into[:2, :2]))))
        for picture, colour, into in sides
    ]
    pitch, (tall, wide) = max(pitches), overlap.query.shape
    rows, columns = max(1, round(tall / pitch)), max(1, round(wide / pitch))
    if max(rows, columns) < _FINE:
        return 0.0
    x, y = np.meshgrid((np.arange(columns) + 0.5) * wide / columns - 0.5, (np.arange(rows) + 0.5) * tall / rows - 0.5)
    places = np.stack((x.ravel(), y.ravel(), np.ones(x.size)))
    within, seen = np.ones(x.shape, bool), []
    for (picture, colour, into), own in zip(sides, pitches, strict=True):
        moved = into @ places
        shares = ((moved[:2] / moved[2] + 0.5) / np.array([picture.grey.shape[::-1]]).T).reshape(2, rows, columns)
        within &= np.all((shares > _RIM) & (shares < 1 - _RIM), axis=0)
        size = tuple(max(1, round(side * own / pitch)) for side in colour.shape[1::-1])
        small = cv2.blur(
            cv2.resize(colour, size, interpolation=cv2.INTER_AREA), (3, 3), borderType=cv2.BORDER_REPLICATE
        )
        at = (shares * np.array(size)[:, None, None] - 0.5).astype(np.float32)
        found = cv2.remap(small, at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        red, green, blue = np.moveaxis(found.astype(np.float32), 2, 0)
        seen.append((red - green, (red + green) / 2 - blue, (red + green + blue) / 3))
    own, wanted = seen
    apart = cv2.magnitude(own[0] - wanted[0], own[1] - wanted[1])[within]
    if apart.max(initial=0.0) <= _OTHER or np.median(apart) > _SAME:
        return 0.0
    if min(max(float(one[within].std()) for one in side[:2]) for side in seen) < _GREY:
        return 0.0
    *colours, light = (np.maximum(_beyond(a, b), _beyond(b, a)) for a, b in zip(own, wanted, strict=True))
    apart = np.hypot(*colours)
    other = (apart > _OTHER) & (apart > _OF_LIGHT * light)
    for red_green, yellow_blue, _ in seen:  # a pale mark on white puts a colour where there was none
        other &= np.hypot(red_green, yellow_blue) > _COLOURED
    for side in (within, within.T):  # what is beside one of the pictures is mixed in
        side[:2] = side[-2:] = False
    count, labels = cv2.connectedComponents((other & within).astype(np.uint8), connectivity=8)
    counted = np.arange(count) > 0
    if changes.where is not None:
        touched = cv2.resize(changes.where, (columns, rows), interpolation=cv2.INTER_AREA) > 0
        counted[labels[cv2.dilate(touched.astype(np.uint8), _NEAR) > 0]] = False
    return float(counted[labels].sum() * pitch**2 * (SIDE / max(SIDE, overlap.side)) ** 2)


def _beyond(side: Levels, other: Levels) -> Levels:
    """Return by how much each pixel is outside what the other side has near it."""
    return np.asarray(np.maximum(np.maximum(side - cv2.dilate(other, _NEAR), cv2.erode(other, _NEAR) - side), 0))
