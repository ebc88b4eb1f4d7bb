"""Writing and drawing on pictures."""

from __future__ import annotations

import string
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from neardup.pipeline.learn.edits.draw import Draw


def place(draw: Draw, free_width: int, free_height: int) -> tuple[int, int]:
    return int(draw.random.integers(max(1, free_width + 1))), int(draw.random.integers(max(1, free_height + 1)))


@lru_cache(maxsize=256)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(6, size))


def words(draw: Draw, count: int) -> str:
    letters = string.ascii_lowercase if draw.chance(0.7) else string.ascii_uppercase
    lengths = draw.random.integers(3, 9, count)
    return " ".join("".join(letters[int(i)] for i in draw.random.integers(0, 26, n)) for n in lengths)


def write(
    canvas: Image.Image,
    box: tuple[int, int, int, int],
    draw: Draw,
    pen: str | tuple[int, int, int],
    outline: str | tuple[int, int, int] | None = None,
    said: str | None = None,
) -> None:
    """Write words that fill the box's height; what is too long for its width is cut off."""
    size = max(6, min(96, round((box[3] - box[1]) * 0.8)))
    count = max(1, min(6, int((box[2] - box[0]) / (size * 3))))
    ImageDraw.Draw(canvas).text(
        box[:2], said or words(draw, count), fill=pen, font=font(size),
        stroke_width=0 if outline is None else max(1, size // 14), stroke_fill=outline,
    )  # fmt: skip


def draw_sticker(pen: ImageDraw.ImageDraw, x: float, y: float, size: float, draw: Draw) -> None:
    """Draw a face, a badge or a bar with its top left corner at (x, y)."""
    kind = int(draw.random.integers(3))
    if kind == 0:
        pen.ellipse((x, y, x + size, y + size), fill=(255, 205, 60), outline=(120, 80, 0))
        for eye in (0.3, 0.7):
            left = x + size * (eye - 0.07)
            pen.ellipse((left, y + size * 0.28, left + size * 0.14, y + size * 0.45), fill=(60, 40, 0))
        start, end = (20, 160) if draw.chance(0.7) else (200, 340)
        mouth = (x + size * 0.25, y + size * 0.4, x + size * 0.75, y + size * 0.8)
        pen.arc(mouth, start, end, fill=(60, 40, 0), width=max(1, round(size * 0.06)))
    elif kind == 1:
        pen.rounded_rectangle((x, y, x + size, y + size), radius=size * 0.2, fill=draw.colour(), outline=draw.colour())
        pen.regular_polygon(
            (x + size / 2, y + size / 2, size * 0.3), int(draw.random.integers(3, 7)), fill=draw.colour()
        )
    else:
        pen.rectangle((x, y, x + size * 1.5, y + size * 0.4), fill=draw.colour())
