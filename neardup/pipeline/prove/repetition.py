"""How alike a picture is to itself when it is shifted.

Of stripes and lattices blocks agree whatever the transform, and prove nothing.
"""

from __future__ import annotations

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
    rest = levels - levels.mean()
    padded = cv2.getOptimalDFTSize(2 * height), cv2.getOptimalDFTSize(2 * width)
    products = np.fft.irfft2(np.abs(np.fft.rfft2(rest, padded)) ** 2, padded)
    y = np.minimum(np.arange(padded[0]), padded[0] - np.arange(padded[0]))[:, None]
    x = np.minimum(np.arange(padded[1]), padded[1] - np.arange(padded[1]))[None]
    shifted = (y <= height // 2) & (x <= width // 2) & (np.maximum(y, x) >= _NEAR)
    if products[0, 0] <= 0 or not shifted.any():
        return 1.0
    left_over = np.maximum((1 - y / height) * (1 - x / width), 0.25)
    return float(np.clip((products / (products[0, 0] * left_over))[shifted].max(), 0, 1))
