"""A 256-bit DCT hash of the tiles that the network sees: a second, cheap opinion.

Documents of one layout differ little in descriptor and much in hash. It follows PDQ in its steps (luminance, small
picture, 16 × 16 low frequencies without the constant, bits above the median) but not bit for bit: the tile is
averaged to 32 × 32, not filtered to 64 × 64, so hashes of the two are not comparable.

Source: ThreatExchange, "The TMK+PDQF video-hashing algorithm and the PDQ image-hashing algorithm", 2019.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ShapeError
from neardup.pipeline.types import Hashes, Pixels

SMALL = 32
FREQUENCIES = 16
_CHUNK = 16
_LUMINANCE = (77, 150, 29)
"""Weights of R, G, B over 256 (ITU-R BT.601): integers, so that averages are exact in float32 in any order."""
_FULL_DETAIL = 45.0
"""Sum of percent steps between neighbours that counts as 100: half of PDQ's 90, as 32 × 32 has half the sum."""

Floats = npt.NDArray[np.float32]


def dct_hash(tiles: Pixels) -> tuple[Hashes, npt.NDArray[np.uint8]]:
    """Hash a batch of tiles.

    Args:
        tiles: uint8 (n, s, s, 3), RGB, s a multiple of 32; n may be 0.
    Returns:
        hashes, uint8 (n, 32): 256 packed bits, all 0 for a blank tile; and detail, uint8 (n,): 0 (blank) to 100.
    Raises:
        ShapeError: the tiles have another shape or dtype.
    """
    if tiles.ndim != 4 or tiles.dtype != np.uint8 or tiles.shape[1:] != (tiles.shape[1],) * 2 + (3,):
        raise ShapeError(f"tiles are {tiles.dtype} {tiles.shape}, expected uint8 (n, s, s, 3)")
    size = tiles.shape[1]
    if size % SMALL or not size:
        raise ShapeError(f"tiles have size {size}, expected a multiple of {SMALL}")
    if not len(tiles):
        return np.zeros((0, FREQUENCIES**2 // 8), np.uint8), np.zeros(0, np.uint8)
    parts = [_average(tiles[start : start + _CHUNK]) for start in range(0, len(tiles), _CHUNK)]
    small = np.concatenate(parts)  # (n, 32, 32)
    return _hash(small), _detail(small)


def _average(tiles: Pixels) -> Floats:
    """Return luminance, 0 to 255, averaged to (n, 32, 32)."""
    n, size = tiles.shape[:2]
    block = size // SMALL
    blocks = tiles.reshape(n, SMALL, block, size * 3)
    rows = blocks[:, :, 0].astype(np.uint16)
    for row in range(1, block):
        rows += blocks[:, :, row]
    # (n * 32, s * 3) @ (s * 3, 32): luminance and the average along the row in one product
    sums: Floats = rows.reshape(n * SMALL, size * 3).astype(np.float32) @ _columns(size)
    sums /= np.float32(256 * block * block)
    return sums.reshape(n, SMALL, SMALL)


@lru_cache(maxsize=4)
def _columns(size: int) -> Floats:
    matrix = np.zeros((size, 3, SMALL), np.float32)
    matrix[np.arange(size), :, np.arange(size) // (size // SMALL)] = _LUMINANCE
    return matrix.reshape(size * 3, SMALL)


@lru_cache(maxsize=1)
def _cosines() -> npt.NDArray[np.float64]:
    """Return rows 1 to 16 of the 32-point DCT-II: (16, 32)."""
    k, x = np.arange(1, FREQUENCIES + 1)[:, None], np.arange(SMALL)[None]
    cosines: npt.NDArray[np.float64] = np.sqrt(2 / SMALL) * np.cos(np.pi * k * (2 * x + 1) / (2 * SMALL))
    return cosines


def _hash(small: Floats) -> Hashes:
    waves = (_cosines() @ small.astype(np.float64) @ _cosines().T).reshape(len(small), -1)  # (n, 256)
    waves[np.abs(waves) < 1e-3] = 0.0  # what rounding leaves of nothing
    middle = np.partition(waves, waves.shape[1] // 2 - 1, axis=1)[:, waves.shape[1] // 2 - 1]
    return np.packbits(waves > middle[:, None], axis=1)


def _detail(small: Floats) -> npt.NDArray[np.uint8]:
    percent = small * np.float32(100 / 255)
    across = np.trunc(np.abs(np.diff(percent, axis=2))).sum(axis=(1, 2))
    down = np.trunc(np.abs(np.diff(percent, axis=1))).sum(axis=(1, 2))
    detail: npt.NDArray[np.uint8] = np.minimum(100, (across + down) / _FULL_DETAIL).astype(np.uint8)
    return detail
