"""Edits that change colours and light."""

from __future__ import annotations

import numpy as np
from PIL import Image

from neardup.pipeline.learn.edits.draw import Draw, edit


@edit
def grey(picture: Image.Image, _strength: float, _draw: Draw) -> Image.Image:
    """Drop the colours."""
    return picture.convert("L").convert("RGB")


@edit
def colour(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Change brightness, contrast, saturation and the balance of the channels."""
    middle = float(np.asarray(picture)[::4, ::4].mean())
    contrast = np.exp(draw.within(-0.7, 0.6) * strength)
    saturation = 1 + draw.within(-0.9, 1.2) * strength
    gain = np.exp(draw.random.uniform(-0.25, 0.25, 3) * strength + draw.within(-0.6, 0.6) * strength)
    mix = saturation * np.eye(3) + (1 - saturation) / 3
    matrix = np.empty((3, 4))
    matrix[:, :3] = gain[:, None] * contrast * mix
    matrix[:, 3] = gain * middle * (1 - contrast)
    return picture.convert("RGB", tuple(matrix.ravel().tolist()))


@edit
def tone(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Put on a filter: sepia, swapped channels, few tones, or a gamma curve."""
    kind = int(draw.random.integers(4))
    if kind == 0:
        sepia = np.outer(np.asarray(picture.convert("L")), (1.07, 0.86, 0.62)).reshape(picture.height, picture.width, 3)
        return Image.blend(picture, Image.fromarray(sepia.clip(0, 255).astype(np.uint8)), 0.4 + 0.6 * strength)
    if kind == 1:
        bands = picture.split()
        order = draw.random.permutation(3)
        return Image.merge("RGB", [bands[int(i)] for i in order])
    if kind == 2:
        step = 16 + int(64 * strength)
        return picture.point([min(255, value // step * step + step // 2) for value in range(256)] * 3)
    gamma = 2 ** (draw.within(-1.2, 1.2) * strength)
    return picture.point([round(255 * (value / 255) ** gamma) for value in range(256)] * 3)


@edit
def vignette(picture: Image.Image, strength: float, _draw: Draw) -> Image.Image:
    """Darken towards the corners."""
    y = np.linspace(-1, 1, picture.height, dtype=np.float32)[:, None] ** 2
    x = np.linspace(-1, 1, picture.width, dtype=np.float32)[None] ** 2
    shade = 1 - (0.3 + 0.65 * strength) * (x + y) / 2
    return Image.fromarray((np.asarray(picture) * shade[..., None]).astype(np.uint8))
