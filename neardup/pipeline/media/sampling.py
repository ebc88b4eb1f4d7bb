"""Which frames of a video are looked at, and how many there may be."""

from __future__ import annotations

import math

from neardup.pipeline.media.refuse import beyond
from neardup.pipeline.types import Limits

_TOLERANCE = 1e-3  # seconds: Matroska rounds timestamps to milliseconds, MP4 does not
MAX_RATE = 240
"""Frames per second that a video may have on average, were it as long as is allowed."""


class Schedule:
    """Picks the first frame at or after each sample time 0, 1/fps, 2/fps, …"""

    def __init__(self, fps: float) -> None:
        self.fps = fps
        self._due = 0.0

    def skips(self, seconds: float) -> bool:
        """Return whether a frame at that time will not be picked."""
        return seconds < self._due - _TOLERANCE

    def picks(self, seconds: float) -> bool:
        """Return whether the frame at that time is the next to be picked; frames come in order of time."""
        if self.skips(seconds):
            return False
        self._due = (math.floor((seconds + _TOLERANCE) * self.fps) + 1) / self.fps
        return True


def check_length(seconds: float, stored_frames: int, limits: Limits, sample_fps: float) -> None:
    """Check what the container announces, and as it is decoded what is really there.

    Raises:
        InvalidFrame: BOMB, beyond a limit.
    """
    if seconds > limits.max_seconds:
        raise beyond("max_seconds", f"{seconds:.0f} seconds, at most {limits.max_seconds:.0f} are decoded")
    if seconds * sample_fps > limits.max_frames:
        raise beyond("max_frames", f"{seconds * sample_fps:.0f} sampled frames, at most {limits.max_frames}")
    if stored_frames > (most := limits.max_seconds * MAX_RATE):
        raise beyond("max_seconds", f"{stored_frames} stored frames, at most {most:.0f} are decoded")
