"""Edits that lose or distort detail: blur, noise, large pixels, halos, recompression."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from neardup.pipeline.learn.edits.draw import Draw, edit


@edit
def blur(picture: Image.Image, strength: float, _draw: Draw) -> Image.Image:
    """Blur with a Gaussian of 0.4 % to 3 % of the shorter side."""
    return picture.filter(ImageFilter.GaussianBlur(min(picture.size) * (0.004 + 0.026 * strength)))


@edit
def noise(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Add Gaussian noise of 5 to 60 levels, or set up to a tenth of the pixels black or white."""
    pixels = np.asarray(picture)
    if draw.chance(0.3):
        salt = draw.random.random(pixels.shape[:2], dtype=np.float32)
        share = 0.01 + 0.09 * strength
        out = pixels.copy()
        out[salt < share / 2] = 0
        out[salt > 1 - share / 2] = 255
        return Image.fromarray(out)
    shape = pixels.shape if draw.chance(0.5) else (*pixels.shape[:2], 1)
    grain = draw.random.standard_normal(shape, dtype=np.float32) * np.float32(5 + 55 * strength)
    return Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8))


@edit
def pixelate(picture: Image.Image, strength: float, _draw: Draw) -> Image.Image:
    """Show 70 (strength 0) down to 16 (1) large pixels along the shorter side."""
    share = (70 - 54 * strength) / min(picture.size)
    small = (max(1, round(picture.width * share)), max(1, round(picture.height * share)))
    return picture.resize(small, Image.Resampling.BOX).resize(picture.size, Image.Resampling.NEAREST)


@edit
def sharpen(picture: Image.Image, strength: float, _draw: Draw) -> Image.Image:
    """Sharpen, up to halos."""
    return ImageEnhance.Sharpness(picture).enhance(2 + 10 * strength)


@edit
def jpeg(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Recompress as JPEG of quality 75 (strength 0) down to 5 (1)."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=round(75 - 70 * strength), subsampling=2 if draw.chance(0.8) else 0)
    with Image.open(buffer) as copy:
        decoded: Image.Image = copy.convert("RGB")
        return decoded
