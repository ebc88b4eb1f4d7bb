"""A small JPEG of an item for people, made while it is decoded, from pixels that are there anyway."""

from __future__ import annotations

import numpy as np
import simplejpeg

from neardup.pipeline.media.tile import fit
from neardup.pipeline.types import Pixels

QUALITY = 70
_TELLING = 12.0
"""Standard deviation of a tile, of 255: below it a frame is black or blank, as the first one of many a video."""


class Preview:
    """Keeps one picture of an item: the first that shows something, or else the first.

    Attributes:
        side: the longer side of the picture at most, in pixels.
        jpeg: b"" before the first picture.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self.jpeg = b""
        self._settled = False

    def wants(self, tile: Pixels) -> bool:
        """Return whether to `take` the frame that has this tile."""
        if self._settled:
            return False
        self._settled = float(tile.std()) >= _TELLING
        return self._settled or not self.jpeg

    def take(self, rgb: Pixels) -> None:
        """Keep a picture: uint8 (h, w, 3), upright, of any size."""
        self.jpeg = to_jpeg(fit(rgb, self.side))


def to_jpeg(rgb: Pixels) -> bytes:
    """Return a small picture, uint8 (h, w, 3), as JPEG."""
    jpeg: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), QUALITY, "RGB", "420")
    return jpeg
