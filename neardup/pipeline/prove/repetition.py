"""How alike a picture is to itself when it is shifted.

Of stripes and lattices blocks agree whatever the transform, and prove nothing.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

SIDE = 64
"""Longest side, in pixels, at which this is measured."""
_NEAR = SIDE // 12
"""Shifts below this are no shifts: every picture is like itself nearby."""


def self_likeness(levels: npt.NDArray[np.float32]) -> float:
    """Return the largest correlation with itself under a shift by up to half of each side, 0 to 1.

    Args:
        levels: float32 (h, w) without what changes slowly, the longest side at most SIDE. Blank ones give 1.
    """
    height, width = levels.shape
    padded = cv2.getOptimalDFTSize(2 * height), cv2.getOptimalDFTSize(2 * width)
    room = np.zeros(padded, np.float32)
    room[:height, :width] = levels - levels.mean()
    spectrum = cv2.dft(room, nonzeroRows=height)
    products = cv2.dft(
        cv2.mulSpectrums(spectrum, spectrum, 0, conjB=True), flags=cv2.DFT_INVERSE | cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT
    )
    own = float(products[0, 0])
    weights = _weights(height, width)
    if own <= 0 or not weights.any():
        return 1.0
    # A shift back is a shift forth: half of them will do.
    half = np.concatenate((products[: height // 2 + 1, : width // 2 + 1], products[-(height // 2) :, : width // 2 + 1]))
    return float(np.clip((half * weights).max() / own, 0, 1))


@lru_cache(maxsize=64)
def _weights(height: int, width: int) -> npt.NDArray[np.float32]:
    """Return for each shift, down and right first, then up and right, the whole picture over what is left of it."""
    y, x = np.r_[0 : height // 2 + 1, height // 2 : 0 : -1][:, None], np.arange(width // 2 + 1)[None]
    weights = 1 / np.maximum((1 - y / height) * (1 - x / width), 0.25)
    return np.asarray(np.where(np.maximum(y, x) >= _NEAR, weights, 0), np.float32)
