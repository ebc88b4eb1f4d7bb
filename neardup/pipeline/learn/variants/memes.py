"""Memes: one picture, other captions."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from neardup.pipeline.learn.edits.pen import font
from neardup.pipeline.learn.variants import wording as words
from neardup.pipeline.learn.variants.canvas import (
    Colour,
    clouds,
    hue,
    paper,
    ramp,
    wrap,
    write,
)
from neardup.pipeline.learn.variants.people import Person, draw_person
from neardup.pipeline.learn.variants.registry import Content, kind
from neardup.pipeline.learn.variants.wording import Random


@kind("screen")
def meme(layout: Random, content: Content) -> Image.Image:
    """A meme: one picture, two captions, in bars or across the picture."""
    width, height = 800, int(layout.integers(560, 800))
    picture = _backdrop(layout, width, height)
    figures = int(layout.integers(1, 3))
    for number in range(figures):
        person = Person.drawn(layout)
        draw_person(
            picture,
            person,
            (width * (number + 1) / (figures + 1), height * 0.5),
            height * float(layout.uniform(0.5, 0.7)),
        )
    style = int(layout.integers(3))
    above, below = content.field(), content.field()
    captions = words.caption(above), words.caption(below)
    if style == 0:
        for number, said in enumerate(captions):
            _shout(picture, said.upper(), number == 1)
        return picture
    bars = [wrap(said, 46, width - 60)[:3] for said in captions[: 2 if style == 1 else 1]]
    page, pen = paper(
        width, height + 2 * 170 if style == 1 else height + 170, (255, 255, 255) if layout.random() < 0.6 else (0, 0, 0)
    )
    ink: Colour = (0, 0, 0) if page.getpixel((0, 0)) == (255, 255, 255) else (255, 255, 255)
    page.paste(picture, (0, 170))
    for number, lines in enumerate(bars):
        for row, text in enumerate(lines):
            write(pen, (30, 20 + row * 52 + number * (height + 170)), text, 46, ink)
    if style == 2:
        _shout(page, captions[1].upper(), True)
    return page


def _shout(picture: Image.Image, said: str, low: bool) -> None:
    """Write in white with a black edge, in the middle at the top or the bottom."""
    lines = wrap(said, 60, picture.width - 60)[:3]
    top = picture.height - 20 - 66 * len(lines) if low else 16
    for row, text in enumerate(lines):
        ImageDraw.Draw(picture).text(
            (picture.width / 2, top + row * 66),
            text,
            (255, 255, 255),
            font(60),
            anchor="ma",
            stroke_width=4,
            stroke_fill=(0, 0, 0),
        )


def _backdrop(random: Random, width: int, height: int) -> Image.Image:
    """Return a room or a landscape without sharp detail."""
    picture = ramp(width, height, hue(random, 0.35, 0.85), hue(random, 0.45, 0.5), float(random.uniform(0, 180)))
    pen = ImageDraw.Draw(picture)
    for _ in range(int(random.integers(4, 10))):
        x, y, w, h = (
            random.uniform(0, width),
            random.uniform(0, height),
            random.uniform(40, 300),
            random.uniform(40, 300),
        )
        if random.random() < 0.6:
            pen.rectangle((x, y, x + w, y + h), hue(random, 0.4, float(random.uniform(0.3, 0.9))))
        else:
            pen.ellipse((x, y, x + w, y + h), hue(random, 0.4, float(random.uniform(0.3, 0.9))))
    shade = clouds(random, width, height, 3, 6)[..., None] * 0.5 + 0.6
    return Image.fromarray((np.asarray(picture) * shade).clip(0, 255).astype(np.uint8))
