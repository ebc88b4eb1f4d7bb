"""Whether two pictures look the same as they are, for pictures without any texture by which to lay one over the other.

Gradients, stripes and flags have nothing that a key point could be, or the same everywhere. Of such pictures only one
that hardly differs in any pixel is a copy.
"""

from __future__ import annotations

import cv2
import numpy as np

from neardup.pipeline.prove.keypoints import Keypoints

MAX_PIXEL, MAX_MEAN = 16, 3.0
"""Grey levels by which any pixel of the blurred pictures, and all of them on the mean, may differ."""
MAX_COLOUR = 12
"""Levels by which any channel of the thumbnails may differ."""
BLANK = 4.0
"""Standard deviation, in grey levels, below which a picture shows nothing."""
_SHAPE = 0.02
"""How far two aspect ratios may be apart, of the first."""


def look_the_same(query: Keypoints, reference: Keypoints) -> bool:
    """Return whether two pictures of one shape, and not blank, differ nowhere by more than encoding and resizing do."""
    if query.grey.std() < BLANK:
        return False
    (height, width), (other_height, other_width) = query.grey.shape, reference.grey.shape
    if abs(width * other_height - other_width * height) > _SHAPE * width * other_height:
        return False
    size = min(width, other_width), min(height, other_height)
    one, other = (
        cv2.blur(cv2.resize(side.grey, size, interpolation=cv2.INTER_AREA), (5, 5)) for side in (query, reference)
    )
    apart = cv2.absdiff(one, other)
    if apart.max() > MAX_PIXEL or apart.mean() > MAX_MEAN:
        return False
    if query.colour is None or reference.colour is None:
        return query.colour is reference.colour
    small = reference.colour.shape[1::-1]
    colour = cv2.resize(query.colour, small, interpolation=cv2.INTER_AREA).reshape(reference.colour.shape)
    return bool(np.abs(colour.astype(np.int16) - reference.colour).max() <= MAX_COLOUR)
