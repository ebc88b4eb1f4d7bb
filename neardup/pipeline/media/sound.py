"""A short digest of a sound, and how far two of them are apart. Needs no decoder.

The digest samples the sound's coarse spectrogram: the levels of 16 bands between 100 and 3,800 Hz over windows of two
seconds, a pair of them half a second apart every 1, 2, 4, … seconds, so that any length gives at most 31 pairs. Levels
are relative to the loudness of the whole, in steps of 3 dB: volume, codec, sample rate and number of channels hardly
change them, and between the two of a pair they can be read at any moment, so that a small delay can be made up for.
Two digests have a distance; that they are equal says nothing that a small distance does not.

Bands spaced by logarithm, and the comparison of their levels over time, follow Haitsma and Kalker 2002, "A Highly
Robust Audio Fingerprinting System" (ISMIR). They keep the sign of differences of levels at every 11.6 ms. The levels
themselves say as much in fewer and longer windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
"""(n,), mono, -1 to 1, RATE a second."""
Levels = npt.NDArray[np.uint8]
"""(t, 2, 16): levels of bands in steps of 3 dB, 0 to 15."""

RATE = 8000
WINDOW_SECONDS = 2.0
APART_SECONDS = 0.5
CENTRE, REACH = 1.0, (WINDOW_SECONDS + APART_SECONDS) / 2
"""Seconds of the middle of the first pair, and how far a pair reaches from its middle."""
MAX_WINDOWS = 31
"""Pairs of windows: 512 bytes hold so many."""
BANDS = 16
SILENT_DB, AUDIBLE_DB = -60.0, -50.0
"""Level of the loudest window, of full scale: at or below the first a sound is silent, above the second it is heard by
anybody. In between, that another has none says nothing."""
_VERSION = 1
_LOWEST_HZ, _HIGHEST_HZ = 100.0, 3800.0
_FRAME, _HOP = 512, 256
STEP_DB = 3.0
_STEPS = 15
_MEAN_STEP = 9
"""Where the mean level of the whole lies among the steps."""
_FLOOR_DB = -30.0
"""What is so far below the mean is as good as silent."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A digest, unpacked.

    Attributes:
        loudest_db: level of the loudest window, of full scale.
        hop: seconds from one pair of windows to the next, a power of two.
        levels: of each pair; (0, 2, 16) where the sound is silent.
    """

    loudest_db: float
    hop: int
    levels: Levels


def unpack(digest: bytes) -> Sound | None:
    """Return what a digest says; None where nothing is known, or another version made it."""
    if len(digest) < 3 or digest[0] != _VERSION or (len(digest) - 3) % BANDS or digest[2] > 30:
        return None
    packed = np.frombuffer(digest[3:], np.uint8)
    levels = np.stack([packed >> 4, packed & 15], axis=1).reshape(-1, 2, BANDS)
    return Sound(-float(digest[1]) / 2, 1 << digest[2], levels)


def _pack(sound: Sound) -> bytes:
    flat = sound.levels.reshape(-1, 2)
    head = bytes((_VERSION, min(255, max(0, round(-2 * sound.loudest_db))), sound.hop.bit_length() - 1))
    return head + (flat[:, 0] << 4 | flat[:, 1]).astype(np.uint8).tobytes()


SILENT = _pack(Sound(-127.5, 1, np.zeros((0, 2, BANDS), np.uint8)))
"""The digest of what has no sound."""


def is_audible(digest: bytes) -> bool:
    """Return whether there is a sound, and anybody may hear it."""
    sound = unpack(digest)
    return sound is not None and len(sound.levels) > 0


class Summary:
    """Takes in a sound piece by piece, in order of time; memory does not grow with its length."""

    def __init__(self) -> None:
        self._hop = 1
        self._power = np.zeros((MAX_WINDOWS + 1, 2, BANDS))
        self._square = np.zeros((MAX_WINDOWS + 1, 2))
        self._weight = np.zeros((MAX_WINDOWS + 1, 2))

    def wants(self, start: float, end: float) -> bool:
        """Return whether some of this stretch, in seconds, lies in a window."""
        window = max(0, math.floor((start - CENTRE - REACH) / self._hop) + 1)
        return end > window * self._hop + CENTRE - REACH

    def add(self, start: int, samples: Samples) -> int:
        """Take in samples, of which the first is number `start` from the beginning.

        Returns:
            how many of them are done with; the rest is to come again, with those that follow.
        """
        number = np.arange(-(-max(start, 0) // _HOP), (start + len(samples) - _FRAME) // _HOP + 1)
        if not len(number):
            return 0
        frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[number * _HOP - start]
        bands = np.abs(np.fft.rfft(frames * _taper(), axis=1)) ** 2 @ _filters()
        square = np.mean(frames.astype(np.float64) ** 2, axis=1)
        seconds = (number * _HOP + _FRAME / 2) / RATE
        while seconds[-1] > MAX_WINDOWS * self._hop + CENTRE - REACH:
            self._thin()
        first = max(0, math.floor((seconds[0] - CENTRE - REACH) / self._hop))
        last = min(MAX_WINDOWS - 1, math.floor((seconds[-1] - CENTRE + REACH) / self._hop))
        for window in range(first, last + 1):
            for side in (0, 1):
                offset = np.abs(seconds - (window * self._hop + CENTRE + (2 * side - 1) * APART_SECONDS / 2))
                near = offset < WINDOW_SECONDS / 2
                weight = np.cos(np.pi * offset[near] / WINDOW_SECONDS) ** 2
                self._power[window, side] += weight @ bands[near]
                self._square[window, side] += weight @ square[near]
                self._weight[window, side] += weight.sum()
        return int(number[-1] + 1) * _HOP - start

    def digest(self) -> bytes:
        """Return the digest of what was taken in; b"" where that is less than a second."""
        full = WINDOW_SECONDS / 2 * RATE / _HOP
        known = np.flatnonzero(self._weight.mean(axis=1) >= full / 2)
        if not len(known):
            return b""
        windows = int(known[-1]) + 1
        loudest = 10 * math.log10(max(float(self._square[:windows].max()) / full, 1e-13))
        if loudest <= SILENT_DB:
            return SILENT
        power = self._power[:windows] / full
        decibels = 10 * np.log10(power / power.mean() + 10 ** (_FLOOR_DB / 10))
        levels = np.clip(np.rint(decibels / STEP_DB) + _MEAN_STEP, 0, _STEPS).astype(np.uint8)
        return _pack(Sound(loudest, self._hop, levels))

    def _thin(self) -> None:
        """Keep every other window."""
        for kept in (self._power, self._square, self._weight):
            half = kept[0::2].copy()
            kept[:] = 0.0
            kept[: len(half)] = half
        self._hop *= 2


@cache
def _taper() -> npt.NDArray[np.float32]:
    return np.hanning(_FRAME).astype(np.float32)


@cache
def _filters() -> npt.NDArray[np.float32]:
    """Return how much each bin of a frame's spectrum counts for each band: triangles, with 6 dB an octave more for
    what is high, as music and speech have less of it; (257, 16)."""
    edges = np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, BANDS + 2)
    hertz = np.arange(_FRAME // 2 + 1) * RATE / _FRAME
    rising = (hertz[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz[:, None]) / (edges[2:] - edges[1:-1])
    return (np.clip(np.minimum(rising, falling), 0.0, None) * (hertz[:, None] / 1000.0) ** 2).astype(np.float32)
