"""Small pictures of an item, made while it is decoded from pixels that are there anyway, for people and for proofs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import simplejpeg

from neardup.pipeline.media.tile import fit
from neardup.pipeline.types import Pixels

QUALITY = 65
"""For people, and for proofs: the thumbnail of an image is what its pack holds (`prove.pack`)."""
_TELLING = 12.0
"""Standard deviation of a tile, of 255: below it a frame is black or blank, as the first one of many a video."""


class Viewer(Protocol):
    """Takes small pictures of an item while it is decoded."""

    @property
    def side(self) -> int:
        """The longer side of what it needs, in pixels."""

    def wants(self, tile: Pixels, second: float, alone: bool = False, /) -> bool:
        """Return whether to `take` the frame that has this tile, at a time in seconds.

        Args:
            alone: it is a picture by itself, such as a page, however like others it is.
        """

    def take(self, rgb: Pixels, second: float = 0.0, /) -> None:
        """Take a picture: uint8 (h, w, 3), upright, of any size."""


class Viewers:
    """Several that look at one item; see `Viewer`."""

    def __init__(self, viewers: Sequence[Viewer]) -> None:
        self._viewers = viewers
        self._wanting = viewers
        self.side = max(viewer.side for viewer in viewers)

    def wants(self, tile: Pixels, second: float, alone: bool = False) -> bool:
        """Return whether any wants it."""
        self._wanting = [viewer for viewer in self._viewers if viewer.wants(tile, second, alone)]
        return bool(self._wanting)

    def take(self, rgb: Pixels, second: float = 0.0) -> None:
        """Give it to those that want it."""
        small = fit(rgb, self.side)
        for viewer in self._wanting:
            viewer.take(small, second)


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

    def wants(self, tile: Pixels, second: float = 0.0, alone: bool = False) -> bool:  # noqa: ARG002
        """Return whether to `take` the frame that has this tile."""
        if self._settled:
            return False
        self._settled = float(tile.std()) >= _TELLING
        return self._settled or not self.jpeg

    def take(self, rgb: Pixels, second: float = 0.0) -> None:  # noqa: ARG002
        """Keep a picture: uint8 (h, w, 3), upright, of any size."""
        self.jpeg = to_jpeg(fit(rgb, self.side))


def to_jpeg(rgb: Pixels) -> bytes:
    """Return a small picture, uint8 (h, w, 3), as JPEG."""
    jpeg: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), QUALITY, "RGB", "420")
    return jpeg
