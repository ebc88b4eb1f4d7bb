"""Rectangles that stay where they are in a film: another film beside it, in its corner, or within bars.

What moves in one of them tells it apart from the rest, so each is described beside the whole frame. A film has MOST of
them, from the frame on in which one has been seen often enough.
"""

from __future__ import annotations

import numpy as np

from neardup.pipeline.media.regions import Boxes, find_regions, overlap
from neardup.pipeline.types import Box, Pixels

MOST = 2
"""Rectangles of a film."""
OFTEN = 3
"""Frames that show a rectangle before it counts as steady."""
_SAME = 0.85
"""Overlap (intersection over union) of what two frames show of one rectangle."""
_KEPT = 16
"""Rectangles that are remembered, those that were seen last."""


class SteadyBoxes:
    """Finds them, one frame of a film after the other."""

    def __init__(self) -> None:
        self._seen: list[tuple[Boxes, int]] = []
        self._steady: list[Box] = []

    def look(self, tile: Pixels) -> tuple[Box, ...]:
        """Return the rectangles that are steady with this frame, as shares of it.

        Args:
            tile: uint8 (s, s, 3), the whole frame squeezed; s a multiple of 8.
        """
        if len(self._steady) < MOST:
            for box in find_regions([tile])[0]:
                self._note(np.array(box))
        return tuple(self._steady)

    def _note(self, box: Boxes) -> None:
        place = next((n for n, (seen, _) in enumerate(self._seen) if overlap(seen[None], box)[0] >= _SAME), None)
        seen, count = (box, 0) if place is None else self._seen.pop(place)
        self._seen = [(seen, count + 1), *self._seen[: _KEPT - 1]]
        if count + 1 == OFTEN and len(self._steady) < MOST:
            left, top, right, bottom = seen.tolist()
            self._steady.append((left, top, right, bottom))
