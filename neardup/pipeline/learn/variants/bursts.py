"""A burst: shots of one street or field, taken one after the other."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from neardup.pipeline.learn.variants.canvas import Colour, clouds, hue, mixed, ramp, tint
from neardup.pipeline.learn.variants.people import Person
from neardup.pipeline.learn.variants.registry import Content, kind
from neardup.pipeline.learn.variants.wording import Random, pick


@kind("camera")
def burst(layout: Random, content: Content) -> Image.Image:
    """A shot of a burst: one street or field, people and cars that have moved on, a camera that sways."""
    width, height = 1080, 720
    margin, sway = 24, [24, 24]
    page = _place(layout, width + 2 * margin, height + 2 * margin)
    depth = sorted(float(one) for one in layout.uniform(0.55, 0.95, int(layout.integers(2, 5))))
    movers = [
        (y, layout.random() < 0.4, hue(layout, 0.6, 0.6), Person.drawn(layout), float(layout.uniform(0.1, 0.9)))
        for y in depth
    ]
    for y, car, colour, person, x in movers:
        own = content.field()
        sway = own.integers(0, 2 * margin, 2).tolist()
        at = ((x + float(own.uniform(-0.2, 0.2))) * width, y * height)
        if car:
            _draw_car(page, at, 300 * y, colour)
        else:
            _draw_walker(page, at, 330 * y, person, own)
    return page.crop((sway[0], sway[1], sway[0] + width, sway[1] + height))


def _place(layout: Random, width: int, height: int) -> Image.Image:
    """Return a street of houses or a field with trees, textured."""
    horizon, town = int(height * layout.uniform(0.4, 0.55)), layout.random() < 0.55
    sky = ramp(width, horizon, (120, 160, 215), (222, 230, 238))
    sky = Image.blend(sky, mixed(clouds(layout, width, horizon, 3), (130, 165, 215), (250, 250, 252)), 0.6)
    ground = hue(layout, 0.08, 0.45) if town else pick(layout, ((92, 128, 62), (140, 140, 80), (190, 170, 120)))
    page = Image.new("RGB", (width, height))
    page.paste(mixed(clouds(layout, width, height, 24, 5), tint(ground, 0.3, (0, 0, 0)), tint(ground, 0.25)))
    page.paste(sky, (0, 0))
    pen = ImageDraw.Draw(page)
    x = 0.0
    while x < width:
        if town:
            wide, tall, wall = (
                float(layout.uniform(90, 220)),
                float(layout.uniform(140, horizon - 20)),
                hue(layout, 0.3, float(layout.uniform(0.45, 0.85))),
            )
            pen.rectangle((x, horizon - tall, x + wide, horizon + 24), wall)
            for row in np.arange(horizon - tall + 18, horizon - 40, 46):
                for column in np.arange(x + 14, x + wide - 24, 38):
                    pen.rectangle(
                        (column, row, column + 20, row + 28),
                        pick(layout, ((46, 56, 72), (70, 84, 104), (214, 200, 150))),
                    )
            x += wide
        else:
            r = float(layout.uniform(40, 110))
            pen.rectangle((x - 7, horizon - r * 0.4, x + 7, horizon + 26), (84, 62, 44))
            for _ in range(14):
                dx, dy, s = layout.uniform(-r, r), layout.uniform(-r, r), layout.uniform(0.25, 0.5) * r
                leaf = tint((58, 104, 48), float(layout.uniform(0, 0.35)), (170, 190, 80))
                pen.ellipse((x + dx - s, horizon - r + dy * 0.8 - s, x + dx + s, horizon - r + dy * 0.8 + s), leaf)
            x += float(layout.uniform(70, 260))
    if town:
        pen.polygon(
            ((width * 0.1, height), (width * 0.9, height), (width * 0.56, horizon + 24), (width * 0.44, horizon + 24)),
            (98, 98, 102),
        )
    texture = clouds(layout, width, height, 90, 3)[..., None] * 0.3 + 0.83
    return Image.fromarray((np.asarray(page) * texture).clip(0, 255).astype(np.uint8))


def _draw_car(page: Image.Image, at: tuple[float, float], size: float, colour: Colour) -> None:
    pen, (x, y) = ImageDraw.Draw(page), at
    pen.ellipse((x - size * 0.52, y - size * 0.04, x + size * 0.52, y + size * 0.06), (50, 50, 54))
    pen.rounded_rectangle((x - size * 0.5, y - size * 0.24, x + size * 0.5, y - size * 0.03), size * 0.07, colour)
    pen.polygon(
        (
            (x - size * 0.3, y - size * 0.23),
            (x - size * 0.18, y - size * 0.4),
            (x + size * 0.18, y - size * 0.4),
            (x + size * 0.34, y - size * 0.23),
        ),
        tint(colour, 0.15, (0, 0, 0)),
    )
    pen.polygon(
        (
            (x - size * 0.24, y - size * 0.24),
            (x - size * 0.15, y - size * 0.37),
            (x + size * 0.15, y - size * 0.37),
            (x + size * 0.26, y - size * 0.24),
        ),
        (150, 176, 196),
    )
    for side in (-0.3, 0.3):
        pen.ellipse(
            (x + size * (side - 0.09), y - size * 0.12, x + size * (side + 0.09), y + size * 0.06), (28, 28, 30)
        )
        pen.ellipse(
            (x + size * (side - 0.045), y - size * 0.075, x + size * (side + 0.045), y + size * 0.015), (170, 170, 174)
        )


def _draw_walker(page: Image.Image, at: tuple[float, float], size: float, person: Person, own: Random) -> None:
    pen, (x, y) = ImageDraw.Draw(page), at
    thick, trousers = max(4, round(size * 0.085)), tint(person.shirt, 0.6, (20, 24, 50))
    swing = float(own.uniform(-0.16, 0.16)) * size
    pen.ellipse((x - size * 0.22, y - size * 0.03, x + size * 0.22, y + size * 0.04), (60, 60, 62))
    hip, neck = y - size * 0.46, y - size * 0.8
    for step in (swing, -swing):
        pen.line((x, hip, x + step * 0.6, y - size * 0.24, x + step, y), trousers, thick, joint="curve")
        pen.line(
            (x, neck + size * 0.06, x - step * 0.9, neck + size * 0.2, x - step * 1.3, neck + size * 0.36),
            tint(person.shirt, 0.15, (0, 0, 0)),
            thick,
            joint="curve",
        )
    pen.rounded_rectangle((x - size * 0.12, neck, x + size * 0.12, hip + size * 0.04), size * 0.06, person.shirt)
    pen.ellipse((x - size * 0.075, y - size * 0.99, x + size * 0.075, y - size * 0.8), person.skin)
    pen.chord((x - size * 0.08, y - size, x + size * 0.08, y - size * 0.83), 170, 370, person.hair)
