"""Edits that move pixels: crops, turns, flips, perspective, another size."""

from __future__ import annotations

import numpy as np
from PIL import Image

from neardup.pipeline.learn.edits.draw import Draw, edit


@edit
def crop(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Keep a rectangle anywhere, of 95 % (strength 0) down to 20 % (1) of the area."""
    width, height = picture.size
    side = (0.95 - 0.75 * strength) ** 0.5
    stretch = draw.within(-0.25, 0.25) * strength
    w = min(width, max(8, round(width * side * (1 + stretch))))
    h = min(height, max(8, round(height * side / (1 + stretch))))
    x, y = int(draw.random.integers(width - w + 1)), int(draw.random.integers(height - h + 1))
    return picture.crop((x, y, x + w, y + h))


@edit
def resize(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Change the aspect ratio by up to 2 and lose up to 3/4 of the resolution."""
    stretch = 2 ** (draw.within(-1, 1) * strength)
    shrink = 1 - 0.75 * strength * draw.random.random()
    size = (
        max(16, round(picture.width * shrink * stretch**0.5)),
        max(16, round(picture.height * shrink / stretch**0.5)),
    )
    way = Image.Resampling.NEAREST if draw.chance(0.2) else Image.Resampling.BILINEAR
    return picture.resize(size, way)


@edit
def rotate(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Turn by 3 to 45 degrees (strength to 0.6), or up to 180 (beyond); corners are filled or cut off."""
    limit = 3 + 70 * strength if strength <= 0.6 else 180
    angle = draw.within(0.5, 1) * limit * (1 if draw.chance(0.5) else -1)
    way = Image.Resampling.BILINEAR
    if draw.chance(0.5):
        return picture.rotate(angle, way, expand=True, fillcolor=draw.colour())
    turned = picture.rotate(angle, way)
    keep = 1 - 0.3 * min(1.0, abs(np.sin(np.radians(2 * angle))))
    x, y = picture.width * (1 - keep) / 2, picture.height * (1 - keep) / 2
    return turned.crop((round(x), round(y), round(picture.width - x), round(picture.height - y)))


@edit
def rotate_quarter(picture: Image.Image, _strength: float, draw: Draw) -> Image.Image:
    """Turn by 90, 180 or 270 degrees."""
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    return picture.transpose(turns[int(draw.random.integers(3))])


@edit
def mirror(picture: Image.Image, _strength: float, _draw: Draw) -> Image.Image:
    """Swap left and right."""
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


@edit
def flip(picture: Image.Image, _strength: float, _draw: Draw) -> Image.Image:
    """Swap top and bottom."""
    return picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)


@edit
def perspective(picture: Image.Image, strength: float, draw: Draw) -> Image.Image:
    """Look at the picture from the side: each corner moves by up to 35 % of a side."""
    width, height = picture.size
    reach = 0.05 + 0.3 * strength
    moves = draw.random.uniform(-reach if draw.chance(0.5) else 0, reach, (4, 2)) * (width, height)
    corners = np.array([(0, 0), (0, height), (width, height), (width, 0)], dtype=float)
    inward = corners + moves * np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)])
    # Pillow wants, for each output pixel, where to read: solve for the 8 coefficients that map inward to corners.
    rows = []
    for (x, y), (u, v) in zip(inward, corners, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    coefficients = np.linalg.solve(np.array(rows), corners.reshape(8))
    return picture.transform(
        picture.size, Image.Transform.PERSPECTIVE, coefficients.tolist(), Image.Resampling.BILINEAR,
        fillcolor=draw.colour(),
    )  # fmt: skip
