"""Numbers of more than 8 bits, as the network can see them.

A photograph of 16 bits uses most of their range, and its upper 8 bits are what a rendition in 8 bits shows. A label
mask, a 12-bit slice of a scan, a depth map in millimetres use little of it, and would be black: those are stretched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from neardup.pipeline.types import Pixels

Numbers = npt.NDArray[Any]
"""uint8, uint16, int32 or float32, (h, w) or (h, w, c)."""
_LITTLE = 0.25
"""Share of the range below which a picture uses little of it."""
_SAMPLE = 2**20
_OUTSIDE = 0.001
"""Share of values, on either side, that may be hot pixels or a mark of missing ones."""


def eight_bits(values: Numbers) -> Pixels:
    """Return numbers as 0 to 255: as in a rendition of 8 bits, or stretched where they use little of the range.

    The range of whole numbers is that of their type up to 16 bits, that of floating point 0 to 1; numbers beyond are
    always stretched. What is not finite counts as the least.
    """
    if values.dtype == np.uint8:
        return np.asarray(values, dtype=np.uint8)
    low, high, most = *_used(values), _most(values)
    if values.dtype == np.uint16 and (high >= _LITTLE * most or high <= low):
        return np.asarray(values >> 8, dtype=np.uint8)
    if not _uses_little(low, high, most):
        low, high = 0.0, most
    seen = np.empty(values.shape, np.uint8)
    for rows in _blocks(values):
        scaled = np.nan_to_num(values[rows].astype(np.float32), nan=low, posinf=high, neginf=low)
        scaled -= np.float32(low)
        scaled *= np.float32(255 / max(high - low, 1e-12))
        seen[rows] = np.clip(scaled, 0, 255)
    return seen


def is_stretched(values: Numbers) -> bool:
    """Return whether `eight_bits` stretches them: they are measurements or labels, and no photograph."""
    return values.dtype != np.uint8 and _uses_little(*_used(values), _most(values))


def _most(values: Numbers) -> float:
    return 65535.0 if values.dtype.kind in "iu" else 1.0


def _uses_little(low: float, high: float, most: float) -> bool:
    return not (low >= 0 and _LITTLE * most <= high <= most)


def _used(values: Numbers) -> tuple[float, float]:
    """Return the range that the values use: from the least to the greatest, but for a few that stand far off."""
    ends: list[float] = []
    for rows in _blocks(values):
        block = values[rows]
        finite = block[np.isfinite(block)] if values.dtype.kind == "f" else block
        if finite.size:
            ends += float(finite.min()), float(finite.max())
    if not ends:
        return 0.0, 0.0
    low, high = min(ends), max(ends)
    some = values.reshape(-1)[:: max(1, values.size // _SAMPLE)].astype(np.float64)
    some = some[np.isfinite(some)]
    inner = np.quantile(some, (_OUTSIDE, 1 - _OUTSIDE)) if some.size else (low, high)
    lower, upper = float(inner[0]), float(inner[1])
    # A mask of one small thing is nothing but a few values that stand far off.
    return (lower, upper) if 0 < upper - lower < _LITTLE * (high - low) else (low, high)


def _blocks(values: Numbers) -> Iterator[slice]:
    """Yield rows a few at a time, so that what is computed of them takes little memory."""
    step = max(1, _SAMPLE // max(1, values[:1].size))
    for top in range(0, len(values), step):
        yield slice(top, top + step)
