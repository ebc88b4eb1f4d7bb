"""Rectangles that stay where they are in a film: another film beside it, in its corner, or within bars.

What moves in one of them tells it apart from the rest, so each is described beside the whole frame. A film has MOST of
them. Frames that showed one before it was known to stay come late, with the first that follows it: only those of one
rectangle are in order of time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from neardup.pipeline.media.regions import find_regions, overlap
from neardup.pipeline.types import Box, Frame, Pixels

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
        self._seen: list[tuple[Box, list[Frame]]] = []
        self._steady: list[Box] = []

    def look(self, pts: float, tile: Pixels, cut: Callable[[Box], Pixels]) -> list[Frame]:
        """Return what this frame of a film shows in rectangles that stay, and what earlier ones did in a new one.

        Args:
            pts: seconds.
            tile: uint8 (s, s, 3), the whole frame squeezed; s a multiple of 8.
            cut: returns a part of the frame as a tile.
        """
        frames = [Frame(pts, cut(box), box) for box in self._steady]
        if len(self._steady) < MOST:
            for box in find_regions([tile])[0]:
                frames += self._note(box, pts, cut)
        return frames

    def _note(self, box: Box, pts: float, cut: Callable[[Box], Pixels]) -> list[Frame]:
        known = np.array([*self._steady, *(seen for seen, _ in self._seen)]).reshape(-1, 4)
        same = np.flatnonzero(overlap(known, np.array(box)) >= _SAME).tolist()
        if len(self._steady) == MOST or (same and same[0] < len(self._steady)):
            return []
        seen, shown = self._seen.pop(same[0] - len(self._steady)) if same else (box, [])
        shown.append(Frame(pts, cut(seen), seen))
        if len(shown) < OFTEN:
            self._seen = [(seen, shown), *self._seen[: _KEPT - 1]]
            return []
        self._steady.append(seen)
        return shown
