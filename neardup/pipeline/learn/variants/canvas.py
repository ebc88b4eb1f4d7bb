"""Drawing: writing of several kinds, shaded areas, clouds, colours."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from neardup.pipeline.learn.edits.pen import font
from neardup.pipeline.learn.variants.wording import Random

Colour: TypeAlias = tuple[int, int, int]
Field: TypeAlias = npt.NDArray[np.float32]
"""(h, w), from 0 to 1."""


def paper(width: int, height: int, colour: Colour = (255, 255, 255)) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return an empty picture and its pen."""
    picture = Image.new("RGB", (width, height), colour)
    return picture, ImageDraw.Draw(picture)


def hue(random: Random, saturation: float = 0.6, value: float = 0.7) -> Colour:
    """Return a colour of any hue; saturation and value from 0 to 1."""
    return hsv(float(random.random()), saturation, value)


def hsv(turn: float, saturation: float, value: float) -> Colour:
    """Return a colour by hue, saturation and value, each from 0 to 1."""
    parts = [(turn * 6 + offset) % 6 for offset in (5, 3, 1)]
    red, green, blue = (value - value * saturation * max(0.0, min(part, 4 - part, 1.0)) for part in parts)
    return round(red * 255), round(green * 255), round(blue * 255)


def tint(colour: Colour, share: float, towards: Colour = (255, 255, 255)) -> Colour:
    """Return a colour moved towards another one."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, towards, strict=True))
    return red, green, blue


def write(
    pen: ImageDraw.ImageDraw, at: tuple[float, float], said: str, size: float, ink: Colour = (20, 20, 22),
    bold: bool = False, anchor: str = "la",
) -> None:  # fmt: skip
    """Write a line; `at` and `anchor` as of Pillow."""
    pen.text(at, said, ink, font(round(size)), anchor=anchor, stroke_width=max(1, round(size / 28)) if bold else 0)


def width_of(said: str, size: float) -> float:
    """Return the width of a line in pixels."""
    return font(round(size)).getlength(said)


def wrap(said: str, size: float, width: float) -> list[str]:
    """Return lines that fit the width."""
    lines = [""]
    for word in said.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and width_of(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def write_columns(
    pen: ImageDraw.ImageDraw, at: tuple[float, float], said: str, size: float, ink: Colour = (30, 30, 30)
) -> None:
    """Write a line as a till or a terminal does, each letter in a column of 0.58 × size."""
    for column, letter in enumerate(said):
        pen.text((at[0] + (column + 0.5) * size * 0.58, at[1]), letter, ink, font(round(size)), anchor="ma")


def handwrite(
    picture: Image.Image, at: tuple[float, float], said: str, size: float, ink: Colour, random: Random
) -> None:
    """Write a line as by hand: slanted, each letter a little turned, moved and scaled."""
    x, y = at
    for letter in said:
        own = max(8, round(size * random.uniform(0.9, 1.12)))
        advance = font(own).getlength(letter) * random.uniform(0.94, 1.06)
        if letter != " ":
            cell = Image.new("L", (3 * own, 2 * own))
            ImageDraw.Draw(cell).text((own, own * 0.3), letter, 255, font(own), stroke_width=0)
            slant = random.uniform(0.16, 0.3)
            cell = cell.transform(
                cell.size, Image.Transform.AFFINE, (1, slant, -slant * own, 0, 1, 0), Image.Resampling.BILINEAR
            )
            cell = cell.rotate(random.uniform(-7, 7), Image.Resampling.BILINEAR)
            picture.paste(ink, (round(x - own), round(y - own * 0.3 + random.uniform(-0.05, 0.05) * own)), cell)
        x += advance


def sign(pen: ImageDraw.ImageDraw, at: tuple[float, float], size: float, ink: Colour, random: Random) -> None:
    """Draw a signature: a curve of loops that runs to the right."""
    loops = int(random.integers(4, 9))
    t = np.linspace(0, loops * 2 * np.pi, loops * 24)
    sway = np.interp(t, np.linspace(0, t[-1], loops + 1), random.uniform(0.15, 1.0, loops + 1))
    x = at[0] + t / t[-1] * size * 3 + np.sin(t + random.uniform(0, 6)) * size * 0.22 * sway
    y = at[1] - np.cos(t * random.uniform(0.7, 1.1)) * size * 0.45 * sway - t / t[-1] * size * random.uniform(-0.1, 0.3)
    points = [(float(a), float(b)) for a, b in zip(x, y, strict=True)]
    pen.line(points, ink, max(2, round(size / 18)), joint="curve")


def ramp(width: int, height: int, start: Colour, end: Colour, angle: float = 90.0, circle: bool = False) -> Image.Image:
    """Return a gradient between two colours, along an angle in degrees (90 is downward) or out from the middle."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    if circle:
        share = np.hypot(x / width - 0.5, y / height - 0.5) / 0.71
    else:
        along = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        share = (x / width - 0.5) * along[0] + (y / height - 0.5) * along[1]
        share = (share - share.min()) / max(float(np.ptp(share)), 1e-6)
    return mixed(share, start, end)


def mixed(share: npt.NDArray[np.floating], start: Colour, end: Colour) -> Image.Image:
    """Return a picture of two colours, mixed by a share (h, w) from 0 to 1."""
    low, high = np.array(start, dtype=np.float32), np.array(end, dtype=np.float32)
    pixels = low + share[..., None].clip(0, 1).astype(np.float32) * (high - low)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def clouds(random: Random, width: int, height: int, coarse: float = 4, octaves: int = 5) -> Field:
    """Return fractal noise, float32 (h, w) from 0 to 1; `coarse` cells across at its coarsest."""
    small = (width + 1) // 2, (height + 1) // 2  # the finest grain is the camera's
    total = np.zeros(small[::-1], dtype=np.float32)
    for octave in range(octaves):
        cells = coarse * 2**octave
        grid = random.random((max(2, round(cells * height / width)), max(2, round(cells))), dtype=np.float32)
        layer = Image.fromarray(grid).resize(small, Image.Resampling.BICUBIC)
        total += np.asarray(layer) / np.float32(2**octave)
    share = (total - total.min()) / np.float32(max(float(np.ptp(total)), 1e-6))
    return np.asarray(Image.fromarray(share).resize((width, height), Image.Resampling.BILINEAR))
