"""Make pictures smaller: squeezed into the square that the network sees, or fitted into a square for people."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import numpy as np

from neardup.pipeline.types import Pixels

try:
    import cykooz_resizer as resizer
except ImportError:  # there is no wheel for Linux on ARM
    resizer = None


_MOST_BETWEEN = 2**23
"""Pixels between the two directions of resizing, where a picture has fewer itself: 25 MB."""


def squeeze(rgb: Pixels, size: int, extent: tuple[float, float] | None = None) -> Pixels:
    """Resize with a triangle filter wide enough not to alias, as Pillow's BILINEAR does (within 1 of 255).

    Pillow itself takes three times as long for a photograph.

    Args:
        rgb: uint8 (h, w, 3).
        size: side of the result.
        extent: the part of (h, w) that holds picture, if its last row and column stand for less than a whole pixel.
    Returns:
        uint8 (size, size, 3).
    """
    return _resize(rgb, (size, size), extent or rgb.shape[:2])


def fit(rgb: Pixels, side: int) -> Pixels:
    """Resize as `squeeze` does, at its own aspect ratio, so that its longer side is `side`; never enlarge.

    Args:
        rgb: uint8 (h, w, 3).
    """
    height, width = rgb.shape[:2]
    share = side / max(height, width)
    if share >= 1:
        return rgb
    return _resize(rgb, (max(1, round(height * share)), max(1, round(width * share))), (height, width))


def _resize(rgb: Pixels, shape: tuple[int, int], extent: tuple[float, float]) -> Pixels:
    (height, width), (rows, columns) = rgb.shape[:2], shape
    if max(rows * width, height * columns) > max(_MOST_BETWEEN, height * width):
        # A strip of a pixel or so: to enlarge its short side first would take memory for millions of rows or columns.
        if width > height:
            return _once(_once(rgb, (height, columns), (height, extent[1])), shape, (extent[0], columns))
        return _once(_once(rgb, (rows, width), (extent[0], width)), shape, (rows, extent[1]))
    return _once(rgb, shape, extent)


def _once(rgb: Pixels, shape: tuple[int, int], extent: tuple[float, float]) -> Pixels:
    return _by_torch(rgb, shape, *extent) if resizer is None else _by_rust(rgb, shape, *extent)


class _Local(threading.local):
    """A thread's own resizer: it keeps buffers, which no two may use at once."""

    def __init__(self) -> None:
        self.resizer = resizer.Resizer()


@cache
def _local() -> _Local:
    return _Local()


@cache
def _triangle() -> Any:
    return resizer.ResizeAlg.convolution(resizer.FilterType.bilinear)


def _by_rust(rgb: Pixels, shape: tuple[int, int], height: float, width: float) -> Pixels:
    kind = resizer.PixelType.U8x3
    source = resizer.ImageData(rgb.shape[1], rgb.shape[0], kind, rgb.tobytes())
    result = resizer.ImageData(shape[1], shape[0], kind)
    box = resizer.CropBox(0.0, 0.0, width, height)
    _local().resizer.resize(source, result, resizer.ResizeOptions(_triangle(), crop_box=box))
    return np.frombuffer(result.get_buffer(), np.uint8).reshape(*shape, 3)


def _by_torch(rgb: Pixels, shape: tuple[int, int], height: float, width: float) -> Pixels:
    import torch.nn.functional as F  # loading torch takes seconds, and a scan that finds nothing new never comes here
    from torch import from_numpy

    # (1, h, w, 3) -> (1, 3, h, w) with the channels last in memory, as the fast kernel wants it.
    pixels = from_numpy(rgb.reshape(1, *rgb.shape)).permute(0, 3, 1, 2)
    # The factors, not the sizes: they carry the extent. The result has floor(h × factor) rows, hence the little more.
    factors = (shape[0] / height * (1 + 1e-9), shape[1] / width * (1 + 1e-9))
    out = F.interpolate(pixels, scale_factor=factors, mode="bilinear", antialias=True, recompute_scale_factor=False)
    tile: Pixels = out[0].permute(1, 2, 0).contiguous().numpy()
    return tile
