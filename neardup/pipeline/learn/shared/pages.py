"""Pages and charts of no meaning, for the background set: whatever looks like a page looks like these.

A background of photographs knows nothing of paper. Two letters of one layout then look like copies, because neither
resembles anything in it; with pages in it, resembling each other no more than any page does counts for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from neardup.pipeline.learn.shared.pictures import squeeze
from neardup.pipeline.types import Pixels

_LETTERS = "abcdefghilmnoprstu    "
_PAPER = ((620, 877), (877, 620), (800, 1000), (640, 480))
_PLOT = ((640, 400), (800, 600), (500, 500), (900, 400))


def render_pages(count: int, size: int, seed: int = 0) -> Pixels:
    """Return tiles, uint8 (count, size, size, 3): pages of text and charts in turn, the same for the same seed."""
    random = np.random.default_rng(seed)
    pictures = (_page(random) if number % 2 == 0 else _chart(random) for number in range(count))
    return np.stack([squeeze(np.asarray(picture), size) for picture in pictures])


def _page(random: np.random.Generator) -> Image.Image:
    width, height = _choose(random, _PAPER)
    page = Image.new("RGB", (width, height), _colour(random, 235, 256))
    pen = ImageDraw.Draw(page)
    size, margin = int(random.integers(11, 22)), int(random.integers(20, 100))
    font, top = ImageFont.load_default(size), margin
    if random.random() < 0.6:
        title = ImageFont.load_default(int(random.integers(22, 44)))
        pen.text((margin, top), _text(random, int(random.integers(6, 20))), _colour(random, 0, 120), title)
        top += 60
    while top < height - margin:
        for _ in range(int(random.integers(1, 9))):
            if top < height - margin:
                letters = int((width - 2 * margin) / size * 1.8 * random.uniform(0.4, 1))
                pen.text((margin, top), _text(random, max(letters, 3)), (30, 30, 30), font)
                top += int(size * 1.5)
        top += int(random.integers(5, 50))
    return page


def _chart(random: np.random.Generator) -> Image.Image:
    width, height = _choose(random, _PLOT)
    chart = Image.new("RGB", (width, height), "white")
    pen, colour = ImageDraw.Draw(chart), _colour(random, 0, 220)
    pen.line((50, height - 40, width - 40, height - 40), "black", 2)
    if random.random() < 0.6:
        pen.text((width / 2, 24), _text(random, 14), "black", ImageFont.load_default(20), anchor="mm")
    columns = int(random.integers(4, 20))
    step = (width - 110) / columns
    lefts = 60 + np.arange(columns) * step
    tops = height - 41 - random.uniform(0.05, 0.85, columns) * (height - 80)
    kind = random.integers(3)
    if kind == 0:
        for left, top in zip(lefts, tops, strict=True):
            pen.rectangle((left, top, left + 0.75 * step, height - 41), colour)
    elif kind == 1:
        pen.line([(float(left), float(top)) for left, top in zip(lefts, tops, strict=True)], colour, 3)
    else:
        for _ in range(4 * columns):
            x, y = random.uniform(60, width - 50), random.uniform(40, height - 45)
            pen.ellipse((x, y, x + 6, y + 6), colour)
    return chart


def _choose(random: np.random.Generator, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return sizes[int(random.integers(len(sizes)))]


def _colour(random: np.random.Generator, low: int, high: int) -> tuple[int, int, int]:
    red, green, blue = random.integers(low, high, 3).tolist()
    return red, green, blue


def _text(random: np.random.Generator, letters: int) -> str:
    return "".join(random.choice(list(_LETTERS), letters))
