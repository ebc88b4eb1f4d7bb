"""What people do to films beyond the edits of a picture: other formats, films within films, other speeds, backwards.

An edit takes frames of one size, RATE a second, and returns frames of one size. `SPEEDS` says how many seconds of the
film go by in a second of what an edit made; below zero the film runs backwards.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

Frames = list[Image.Image]
Recut = Callable[[Frames, Frames, np.random.Generator], Frames]
"""The stretch of a film, another film of any length and size, and randomness."""
CORNER, BESIDE = 0.38, 0.6
"""Share of the width that a film keeps in the corner of another, and beside another."""


def vertical(shown: Frames, _other: Frames, _random: np.random.Generator) -> Frames:
    """Cut the middle out, 9:16."""
    width, height = shown[0].size
    w = even(min(width, height * 9 / 16))
    left = (width - w) // 2
    return [picture.crop((left, 0, left + w, height)) for picture in shown]


def blurred_fill(shown: Frames, _other: Frames, random: np.random.Generator) -> Frames:
    """Fit into a format of 9:16, or 1:1, over a blurred and enlarged copy of the same frame."""
    width, height = shown[0].size
    size = (even(width), even(width * (16 / 9 if random.random() < 0.6 else 1.0)))
    fit = min(size[0] / width, size[1] / height)
    inner = round(width * fit), round(height * fit)

    def one(picture: Image.Image) -> Image.Image:
        cover = max(size[0] / width, size[1] / height)
        ground = picture.resize((round(width * cover), round(height * cover)))
        left, top = (ground.width - size[0]) // 2, (ground.height - size[1]) // 2
        canvas = ground.crop((left, top, left + size[0], top + size[1])).filter(ImageFilter.GaussianBlur(size[0] / 25))
        canvas.paste(picture.resize(inner), ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
        return canvas

    return [one(picture) for picture in shown]


def turned(shown: Frames, _other: Frames, random: np.random.Generator) -> Frames:
    """Turn by 90°, left or right."""
    way = Image.Transpose.ROTATE_90 if random.random() < 0.5 else Image.Transpose.ROTATE_270
    return [picture.transpose(way) for picture in shown]


def corner(shown: Frames, other: Frames, random: np.random.Generator) -> Frames:
    """Show the film small in a corner of another one that goes on."""
    width, height = shown[0].size
    small = even(width * CORNER), even(height * CORNER)
    x, y = (int(random.integers(2)) for _ in range(2))
    margin = 6
    at = (x * (width - small[0] - 2 * margin) + margin, y * (height - small[1] - 2 * margin) + margin)
    made = []
    for number, picture in enumerate(shown):
        canvas = other[number % len(other)].resize((even(width), even(height)))
        canvas.paste(picture.resize(small), at)
        made.append(canvas)
    return made


def reaction(shown: Frames, other: Frames, random: np.random.Generator) -> Frames:
    """Set another film beside it, of which the middle is seen."""
    width, height = shown[0].size
    own = even(width * BESIDE / (1 - BESIDE) / 2)
    left = bool(random.random() < 0.5)
    made = []
    for number, picture in enumerate(shown):
        beside = other[number % len(other)].resize((even(width), even(height)))
        cut = beside.crop(((width - own) // 2, 0, (width - own) // 2 + own, even(height)))
        canvas = Image.new("RGB", (even(width) + own, even(height)))
        canvas.paste(picture, (own if left else 0, 0))
        canvas.paste(cut, (0 if left else even(width), 0))
        made.append(canvas)
    return made


def at_speed(speed: float) -> Recut:
    """Return an edit that plays a film so many times as fast; below zero backwards."""

    def played(shown: Frames, _other: Frames, _random: np.random.Generator) -> Frames:
        ordered = shown if speed > 0 else shown[::-1]
        return [ordered[int(place)] for place in np.arange(0, len(ordered), abs(speed))]

    return played


def even(length: float) -> int:
    """Return a length that encoders take."""
    return max(2, round(length / 2) * 2)


SPEEDS = {"half speed": 0.5, "speed 0.8": 0.8, "speed 1.25": 1.25, "speed 1.5": 1.5, "double speed": 2.0,
          "backwards": -1.0}  # fmt: skip
RECUTS: dict[str, Recut] = {
    "9:16 middle": vertical, "blurred fill": blurred_fill, "turned by 90°": turned, "in a corner": corner,
    "reaction beside": reaction, **{name: at_speed(speed) for name, speed in SPEEDS.items()},
}  # fmt: skip
