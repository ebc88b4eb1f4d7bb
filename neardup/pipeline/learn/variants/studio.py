"""Taken in a studio: portraits of one session, products of one range."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from neardup.pipeline.learn.variants import wording as words
from neardup.pipeline.learn.variants.canvas import Colour, clouds, hue, mixed, paper, ramp, tint, width_of, write
from neardup.pipeline.learn.variants.people import Person, draw_person
from neardup.pipeline.learn.variants.registry import Content, kind
from neardup.pipeline.learn.variants.wording import Random, pick


@kind("camera")
def portrait(layout: Random, content: Content) -> Image.Image:
    """A portrait: backdrop, light and frame of one session; the same person in another pose, or the next of a class."""
    width, height = 800, 1000
    ground, model = hue(layout, float(layout.uniform(0.05, 0.5)), float(layout.uniform(0.3, 0.8))), Person.drawn(layout)
    page = Image.blend(
        ramp(width, height, tint(ground, 0.35), tint(ground, 0.5, (0, 0, 0)), circle=True),
        mixed(clouds(layout, width, height, 2, 4), tint(ground, 0.3), tint(ground, 0.3, (0, 0, 0))), 0.4,
    )  # fmt: skip
    same, size = layout.random() < 0.6, float(layout.uniform(560, 720))
    head, face, body, other = (content.field() for _ in range(4))
    person = model if same else Person.drawn(other)
    person = person.posed(head, face, body)
    at = (width * float(head.uniform(0.46, 0.54)), height * float(head.uniform(0.4, 0.46)))
    draw_person(page, person, at, size)
    return page.filter(ImageFilter.GaussianBlur(0.6))


@kind("camera")
def product(layout: Random, content: Content) -> Image.Image:
    """A product of one range on white: pack and brand are shared; variety, colour, picture and weight are not."""
    width, height = 800, 960
    form, brand, base = pick(layout, sorted(_PACKS)), words.firm(layout).split()[0], hue(layout, 0.55, 0.7)
    what = pick(layout, ("JUICE", "TEA", "SOUP", "SHAMPOO", "COOKIES", "SAUCE", "CEREAL", "COFFEE"))
    variety, motif, weight = content.field(), content.field(), content.field()
    accent = hue(variety, 0.7, 0.8)
    name = f"{words.word(variety, 'taste')} {words.word(variety, 'flavour')}"
    wide, _, bottom, _ = _PACKS[form]
    left, right = (width - wide) / 2, (width + wide) / 2
    page, _ = paper(width, height, (255, 255, 255))
    shadow = Image.new("L", (width, height), 0)
    ImageDraw.Draw(shadow).ellipse((left - 20, bottom - 26, right + 60, bottom + 26), 130)
    page.paste((120, 120, 124), (0, 0), shadow.filter(ImageFilter.GaussianBlur(18)))
    pack = Image.new("RGBA", (width, height))
    pen = ImageDraw.Draw(pack)
    top, high = _draw_pack(pen, form, width / 2, base, accent)
    _write_middle(pen, (width / 2, top + high * 0.1), brand, 64, wide - 40)
    pen.rectangle((left, top + high * 0.24, right, top + high * 0.42), accent)
    _write_middle(pen, (width / 2, top + high * 0.33), name, 40, wide - 30)
    _draw_fruits(pen, (width / 2, top + high * 0.62), wide * 0.15, accent, int(motif.integers(1, 5)))
    _write_middle(pen, (width / 2, top + high * 0.91), f"{what}  {int(weight.integers(5, 100)) * 10} g", 30, wide - 20)
    across = np.linspace(-1, 1, width) * width / wide
    light = 0.72 + 0.42 * np.exp(-((across + 0.45) ** 2) * 4)
    light -= 0.06 * (across > 0.6) if form in ("box", "pouch") else 0.25 * np.clip(across, 0, 1) ** 2
    shaded = np.asarray(pack.convert("RGB")) * light[None, :, None]
    page.paste(Image.fromarray(shaded.clip(0, 255).astype(np.uint8)), (0, 0), pack.getchannel("A"))
    return page


_PACKS = {
    "bottle": (230, 290, 880, 60), "can": (270, 200, 860, 34), "box": (380, 120, 880, 4), "jar": (340, 330, 870, 60),
    "pouch": (400, 130, 870, 46),
}  # fmt: skip
"""Width, top, bottom and radius of the corners, in pixels."""


def _draw_pack(pen: ImageDraw.ImageDraw, form: str, middle: float, base: Colour, accent: Colour) -> tuple[float, float]:
    """Draw a pack with an empty label; return the label's top and height."""
    wide, top, bottom, radius = _PACKS[form]
    left, right, glass = middle - wide / 2, middle + wide / 2, tint(accent, 0.2)
    if form == "bottle":
        pen.rounded_rectangle((middle - 46, 90, middle + 46, 330), 20, glass)
        pen.rounded_rectangle((middle - 54, 66, middle + 54, 140), 12, base)
    if form == "jar":
        pen.rounded_rectangle((left + 20, top - 70, right - 20, top + 20), 18, base)
    pen.rounded_rectangle((left, top, right, bottom), radius, glass if form in ("bottle", "jar") else base)
    label = top + (bottom - top) * 0.16, bottom - (bottom - top) * 0.1
    pen.rectangle((left, label[0], right, label[1]), base)
    return label[0], label[1] - label[0]


def _write_middle(pen: ImageDraw.ImageDraw, at: tuple[float, float], said: str, size: float, room: float) -> None:
    """Write in white around a point, smaller where there is no room."""
    write(pen, at, said, min(size, size * room / width_of(said, size)), (255, 255, 255), True, "mm")


def _draw_fruits(pen: ImageDraw.ImageDraw, at: tuple[float, float], r: float, colour: Colour, count: int) -> None:
    for number in range(count):
        x, y = at[0] + (number - (count - 1) / 2) * r * 1.3, at[1] + (number % 2) * r * 0.5
        pen.ellipse((x - r, y - r, x + r, y + r), colour, tint(colour, 0.4, (0, 0, 0)), 3)
        pen.chord((x - r * 0.6, y - r * 0.6, x + r * 0.1, y + r * 0.1), 150, 330, tint(colour, 0.6))
        pen.line((x, y - r, x + r * 0.4, y - r * 1.4), (70, 110, 50), 6)
