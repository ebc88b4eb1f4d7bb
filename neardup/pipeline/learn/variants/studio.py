"""Taken in a studio: portraits of one session, products of one range."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from neardup.pipeline.learn.variants import wording as words
from neardup.pipeline.learn.variants.canvas import clouds, hue, mixed, paper, ramp, tint, width_of, write
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
    form, brand, base = (
        pick(layout, ("bottle", "can", "box", "jar", "pouch")),
        words.firm(layout).split()[0],
        hue(layout, 0.55, 0.7),
    )
    what = pick(layout, ("JUICE", "TEA", "SOUP", "SHAMPOO", "COOKIES", "SAUCE", "CEREAL", "COFFEE"))
    page, pen = paper(width, height, (255, 255, 255))
    variety, motif, weight = content.field(), content.field(), content.field()
    accent = hue(variety, 0.7, 0.8)
    wide, top, bottom = {
        "bottle": (230, 290, 880),
        "can": (270, 200, 860),
        "box": (380, 120, 880),
        "jar": (340, 330, 870),
        "pouch": (400, 130, 870),
    }[form]
    left, right = width / 2 - wide / 2, width / 2 + wide / 2
    shadow = Image.new("L", (width, height), 0)
    ImageDraw.Draw(shadow).ellipse((left - 20, bottom - 26, right + 60, bottom + 26), 130)
    page.paste((120, 120, 124), (0, 0), shadow.filter(ImageFilter.GaussianBlur(18)))
    pack = Image.new("RGBA", (width, height))
    pen = ImageDraw.Draw(pack)
    if form == "bottle":
        pen.rounded_rectangle((width / 2 - 46, 90, width / 2 + 46, 330), 20, tint(accent, 0.2))
        pen.rounded_rectangle((width / 2 - 54, 66, width / 2 + 54, 140), 12, base)
    if form == "jar":
        pen.rounded_rectangle((left + 20, top - 70, right - 20, top + 20), 18, base)
    pen.rounded_rectangle(
        (left, top, right, bottom),
        {"box": 4, "pouch": 46, "can": 34}.get(form, 60),
        tint(accent, 0.2) if form in ("bottle", "jar") else base,
    )
    label = (left, top + (bottom - top) * 0.16, right, bottom - (bottom - top) * 0.1)
    pen.rectangle(label, base)
    middle, high = width / 2, label[3] - label[1]
    size = min(64.0, 64 * (wide - 40) / width_of(brand, 64))
    write(pen, (middle, label[1] + high * 0.06), brand, size, (255, 255, 255), True, "ma")
    pen.rectangle((left, label[1] + high * 0.24, right, label[1] + high * 0.42), accent)
    name = f"{words.word(variety, 'taste')} {words.word(variety, 'flavour')}"
    write(
        pen,
        (middle, label[1] + high * 0.33),
        name,
        min(40.0, 40 * (wide - 30) / width_of(name, 40)),
        (255, 255, 255),
        True,
        "mm",
    )
    fruits, r = int(motif.integers(1, 5)), wide * 0.15
    for number in range(fruits):
        x, y = middle + (number - (fruits - 1) / 2) * r * 1.3, label[1] + high * 0.62 + (number % 2) * r * 0.5
        pen.ellipse((x - r, y - r, x + r, y + r), accent, tint(accent, 0.4, (0, 0, 0)), 3)
        pen.chord((x - r * 0.6, y - r * 0.6, x + r * 0.1, y + r * 0.1), 150, 330, tint(accent, 0.6))
        pen.line((x, y - r, x + r * 0.4, y - r * 1.4), (70, 110, 50), 6)
    write(
        pen,
        (middle, label[3] - high * 0.12),
        f"{what}  {int(weight.integers(5, 100)) * 10} g",
        30,
        (255, 255, 255),
        True,
        "ma",
    )
    across = np.linspace(-1, 1, width) * width / wide
    rounded = form not in ("box", "pouch")
    light = 0.72 + 0.42 * np.exp(-((across + 0.45) ** 2) * 4)
    light -= 0.25 * np.clip(across, 0, 1) ** 2 if rounded else 0.06 * (across > 0.6)
    shaded = np.asarray(pack.convert("RGB")) * light[None, :, None]
    page.paste(Image.fromarray(shaded.clip(0, 255).astype(np.uint8)), (0, 0), pack.getchannel("A"))
    return page
