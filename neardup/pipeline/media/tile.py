"""Squeeze a picture into the square that the network sees."""

from __future__ import annotations

from neardup.pipeline.types import Pixels


def squeeze(rgb: Pixels, size: int, extent: tuple[float, float] | None = None) -> Pixels:
    """Resize with a triangle filter wide enough not to alias, as Pillow's BILINEAR does (within 1 of 255).

    By torch, whose AVX2 kernel takes a third of Pillow's time for a photograph.

    Args:
        rgb: uint8 (h, w, 3).
        size: side of the result.
        extent: the part of (h, w) that holds picture, if its last row and column stand for less than a whole pixel.
    Returns:
        uint8 (size, size, 3).
    """
    import torch.nn.functional as F  # loading torch takes seconds, and a scan that finds nothing new never comes here
    from torch import from_numpy

    height, width = extent or rgb.shape[:2]
    # (1, h, w, 3) -> (1, 3, h, w) with the channels last in memory, as the fast kernel wants it.
    pixels = from_numpy(rgb.reshape(1, *rgb.shape)).permute(0, 3, 1, 2)
    # The factors, not the sizes: they carry the extent. The result has floor(h × factor) rows, hence the little more.
    factors = (size / height * (1 + 1e-9), size / width * (1 + 1e-9))
    out = F.interpolate(pixels, scale_factor=factors, mode="bilinear", antialias=True, recompute_scale_factor=False)
    tile: Pixels = out[0].permute(1, 2, 0).contiguous().numpy()
    return tile
