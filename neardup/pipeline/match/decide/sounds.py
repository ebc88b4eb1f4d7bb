"""What the sounds of two videos say against it that one copies the other as a whole.

They are compared by a distance, so nothing flips at the border of a digest; see `media.sound` for what is compared and
`benchmarks/sound.py` for how the constant was found.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from neardup.pipeline.media.sound import APART_SECONDS, AUDIBLE_DB, BANDS, CENTRE, REACH, STEP_DB, Sound, unpack
from neardup.pipeline.types import Doubt

Floats = npt.NDArray[np.float64]

_DELAYS = np.arange(-5, 6) / 10
"""Seconds by which one may come late: encoders put silence before a sound, and containers round."""
MAX_DISTANCE_DB = 1.15
"""How far the levels of two readings of one sound may be apart on average."""


def compare_sounds(query: bytes, reference: bytes, seconds: tuple[float, float], together: bool) -> Doubt:
    """Compare the sounds of two videos that look the same as a whole.

    Args:
        query, reference: digests; where nothing is known of one, nothing is said.
        seconds: duration of each video.
        together: both videos begin at the same moment; else only whether one is silent is looked at.
    """
    a, b = unpack(query), unpack(reference)
    if a is None or b is None:
        return Doubt.NO
    if not len(a.levels) or not len(b.levels):
        return Doubt.NO_SOUND if max(a.loudest_db, b.loudest_db) > AUDIBLE_DB else Doubt.NO
    if not together or sound_distance(a, b, seconds) <= MAX_DISTANCE_DB:
        return Doubt.NO
    return Doubt.OTHER_SOUND


def sound_distance(a: Sound, b: Sound, seconds: tuple[float, float] = (0.0, 0.0)) -> float:
    """Return how far the levels of two audible sounds are apart on average, in dB, whatever the volume of each.

    Compared is what both cover; where a sound ends before its video, silence.

    Args:
        seconds: duration of each video.
    """
    hop = max(a.hop, b.hop)
    lasting = (max(one.hop * (len(one.levels) - 1) + CENTRE, long) for one, long in zip((a, b), seconds, strict=True))
    count = max(1, math.floor((min(lasting) - CENTRE - REACH) / hop) + 1)
    mine, theirs = (_sampled(one, hop, count) for one in (a, b))
    return min(_at_delay(mine, theirs, delay) for delay in _DELAYS)


def _at_delay(a: Floats, b: Floats, delay: float) -> float:
    """Return the distance where sound in B comes so many seconds after the same in A."""
    late = 0.5 + delay / 2 / APART_SECONDS * np.array((-1.0, 1.0))
    mine, theirs = ((1 - share) * one[:, 0] + share * one[:, 1] for one, share in zip((a, b), late, strict=True))
    heard = (mine > 0) | (theirs > 0)
    if not heard.any():
        return 0.0
    difference = STEP_DB * (mine - theirs)
    difference -= np.median(difference[heard])
    return float(np.abs(np.where(heard, difference, 0.0)).mean())


def _sampled(sound: Sound, hop: int, count: int) -> Floats:
    """Return the levels of so many pairs of windows at this hop, silent where there is no sound any more."""
    levels = np.zeros((count, 2, BANDS))
    known = sound.levels[:: hop // sound.hop][:count]
    levels[: len(known)] = known
    return levels
