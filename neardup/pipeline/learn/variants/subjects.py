"""A subject before a still ground, of which something changed in its place: another print, a smile, other wares.

What changes is smooth, as cloth, skin and labels are: it has outlines, and no texture that could be followed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from neardup.pipeline.learn.variants.canvas import Colour, clouds, hsv, mixed, ramp, tint
from neardup.pipeline.learn.variants.registry import Content, kind
from neardup.pipeline.learn.variants.wording import Random, pick

Mark: TypeAlias = Callable[[ImageDraw.ImageDraw], None]
"""Draws an area with a pen."""
Places: TypeAlias = npt.NDArray[np.float64]
"""(n, 2), pixels of the page."""

_FINE = 2
"""Drawn so many times as large, so that outlines are smooth."""
_COARSE = 8
"""Pixels for one of light and folds."""


@kind("camera")
def garment(layout: Random, content: Content) -> Image.Image:
    """A shirt, a bag or a mug laid out for a shop: cut and ground stay, prints, pocket, trim and hem are other ones."""
    page = _ground(layout, 900, 900)
    cloth, wear = _colour(layout), pick(layout, ("shirt", "shirt", "bag", "mug"))
    body = {
        "shirt": ((210, 190), (370, 150), (530, 150), (690, 190), (830, 350), (730, 430), (670, 370), (665, 800),
                  (235, 800), (230, 370), (170, 430), (70, 350)),
        "bag": ((200, 330), (310, 330), (330, 110), (570, 110), (590, 330), (700, 330), (760, 830), (140, 830)),
        "mug": ((190, 200), (640, 200), (645, 330), (800, 340), (810, 600), (640, 640), (620, 800), (210, 800)),
    }[wear]  # fmt: skip
    shifted = np.array(body, np.float64) + layout.uniform(-18, 18, (len(body), 2))
    _draw_shaded(page, lambda pen: pen.polygon(_scaled(shifted), 255), cloth, layout, 0.12)
    for _ in range(int(layout.integers(1, 4))):  # prints, one beside or on the other
        own = content.field()
        x, y, size = float(layout.uniform(340, 560)), float(layout.uniform(340, 640)), float(layout.uniform(45, 130))
        _draw_shaded(page, _shape(own, x, y, size), _unlike(own, cloth), layout, 0.05)
    own, side = content.field(), float(layout.choice([300, 520]))
    pocket = side, 660.0, side + float(own.uniform(50, 90)), float(own.uniform(710, 760))
    _draw_shaded(page, _block(*pocket), _unlike(own, cloth, 0.35), layout, 0.05)
    own = content.field()
    _draw_shaded(page, _block(240, 770, 660, 794), _unlike(own, cloth), layout, 0.05)
    own = content.field()
    _draw_shaded(page, _shape(own, 450, 225, 32), _unlike(own, cloth, 0.4), layout, 0.05)
    return page


@kind("camera")
def pose(layout: Random, content: Content) -> Image.Image:
    """A figure in a room, taken twice by a camera that stands still: eyes, mouth, arms and badge are others."""
    page = _ground(layout, 960, 800)
    coat, skin = _colour(layout), hsv(float(layout.uniform(0.03, 0.1)), 0.42, float(layout.uniform(0.4, 0.95)))
    x, y, head = float(layout.uniform(380, 580)), float(layout.uniform(190, 250)), float(layout.uniform(80, 120))
    shoulder = y + 1.55 * head
    hair = hsv(float(layout.random()), 0.4, float(layout.uniform(0.1, 0.6)))
    tall = 1.25 * head
    _draw_shaded(page, _ellipse(x, y - 0.15 * head, head * 1.12, tall * 1.1), hair, layout, 0.1)
    _draw_shaded(page, _ellipse(x, shoulder + 2.6 * head, 1.7 * head, 2.8 * head), coat, layout, 0.15)
    _draw_shaded(page, _ellipse(x, y, head, tall), skin, layout, 0.1)
    for side in (-1, 1):  # eyes, open or closed, and where they look
        own = content.field()
        at, opened, look = x + side * 0.4 * head, float(own.uniform(0.02, 0.17)), float(own.uniform(-0.06, 0.06))
        _draw_shaded(page, _ellipse(at, y - 0.1 * head, 0.2 * head, opened * head), (236, 236, 232), layout, 0.0)
        pupil = _ellipse(at + look * head, y - 0.1 * head, 0.08 * head, min(opened, 0.08) * head)
        _draw_shaded(page, pupil, (40, 34, 30), layout, 0.0)
    own = content.field()
    wide, opened, bend = (float(own.uniform(*of)) * head for of in ((0.2, 0.5), (0.02, 0.2), (-0.16, 0.2)))
    lips = np.array([(-wide, -bend), (0, -opened * 0.3), (wide, -bend), (0, bend + opened)])
    mouth = _scaled(lips + (x, y + 0.62 * head))  # noqa: RUF005 (arrays)
    _draw_shaded(page, lambda pen: pen.polygon(mouth, 255), (150, 60, 62), layout, 0.0)
    for side in (-1, 1):
        own = content.field()
        elbow = x + side * float(own.uniform(1.5, 2.3)) * head, shoulder + float(own.uniform(0.9, 2.0)) * head
        hand = x + side * float(own.uniform(0.2, 2.6)) * head, shoulder + float(own.uniform(-0.3, 2.6)) * head
        arm = np.array([(x + side * 1.1 * head, shoulder + 0.7 * head), elbow, hand])
        thick = round(0.5 * head * _FINE)
        _draw_shaded(page, _limb(arm, thick), tint(coat, 0.12, (0, 0, 0)), layout, 0.1)
        _draw_shaded(page, _ellipse(*hand, 0.27 * head, 0.3 * head), skin, layout, 0.05)
    own = content.field()
    badge = x + 0.4 * head, shoulder + 1.6 * head, float(own.uniform(0.2, 0.4)) * head
    _draw_shaded(page, _shape(own, *badge), _unlike(own, coat), layout, 0.05)
    return page


@kind("camera")
def shelf(layout: Random, content: Content) -> Image.Image:
    """A shelf of jars and boxes, taken before and after somebody took or changed one: lid, label or its colour."""
    page = _ground(layout, 1080, 720)
    board = hsv(0.08, 0.4, float(layout.uniform(0.3, 0.8)))
    for row in range(2):
        floor = 330 + 330 * row
        _draw_shaded(page, _block(0, floor, 1080, floor + 22), board, layout, 0.2)
        x = float(layout.uniform(30, 80))
        while x < 900:
            wide, tall = float(layout.uniform(90, 190)), float(layout.uniform(130, 270))
            glass, lid = _colour(layout), _colour(layout)
            box, jar = (x, floor - tall, x + wide, float(floor)), bool(layout.random() < 0.6)
            own = content.field()
            changed = own.random()
            glass = _unlike(own, glass, 0.35) if changed < 0.3 else glass
            _draw_shaded(page, _block(*box, 24), glass, layout, 0.2 if jar else 0.1)
            if jar:
                lid = _unlike(own, lid, 0.35) if changed > 0.8 else lid
                cap = x + 6, floor - tall - 14, x + wide - 6, floor - tall + 22
                _draw_shaded(page, _block(*cap), lid, layout, 0.15)
            own = content.field()
            y, size = floor - tall * float(own.uniform(0.35, 0.6)), wide * float(own.uniform(0.2, 0.36))
            _draw_shaded(page, _shape(own, x + wide / 2, y, size), _unlike(own, glass), layout, 0.05)
            x += wide + float(layout.uniform(12, 60))
    return page


def _ground(layout: Random, width: int, height: int) -> Image.Image:
    """Return a wall, a cloth or a floor: plain, in a slow light, or grained."""
    colour = hsv(float(layout.random()), float(layout.uniform(0, 0.35)), float(layout.uniform(0.35, 1)))
    page = ramp(width, height, colour, tint(colour, float(layout.uniform(0.05, 0.3)), (0, 0, 0)), 60)
    if layout.random() < 0.7:
        grain = clouds(layout, width, height, float(layout.uniform(3, 60)), 5)
        page = Image.blend(
            page, mixed(grain, tint(colour, 0.5, (0, 0, 0)), tint(colour, 0.4)), layout.uniform(0.2, 0.9)
        )
    if layout.random() < 0.5:  # boards, tiles or a door frame
        pen, step = ImageDraw.Draw(page), float(layout.uniform(90, 260))
        for line in np.arange(layout.uniform(0, step), width, step):
            pen.line((float(line), 0, float(line), height), tint(colour, 0.6, (0, 0, 0)), 5)
    return page


def _colour(random: Random) -> Colour:
    return hsv(float(random.random()), float(random.uniform(0.05, 0.8)), float(random.uniform(0.25, 0.95)))


def _unlike(random: Random, colour: Colour, least: float = 0.25) -> Colour:
    """Return a colour that is lighter or darker than another one by a share, of any hue."""
    lightness = float(np.dot(colour, (0.299, 0.587, 0.114))) / 255
    room = [span for span in ((0.08, lightness - least), (lightness + least, 0.98)) if span[0] < span[1]]
    value = float(random.uniform(*pick(random, room)))
    return tint(hsv(float(random.random()), 0.7, value), 0.5, (round(value * 255),) * 3)


def _box(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
    return left * _FINE, top * _FINE, right * _FINE, bottom * _FINE


def _scaled(points: Places) -> list[tuple[float, float]]:
    return [(float(x) * _FINE, float(y) * _FINE) for x, y in points]


def _block(left: float, top: float, right: float, bottom: float, round_by: float = 0) -> Mark:
    return lambda pen: pen.rounded_rectangle(_box(left, top, right, bottom), round_by, 255)


def _ellipse(x: float, y: float, wide: float, tall: float) -> Mark:
    return lambda pen: pen.ellipse(_box(x - wide, y - tall, x + wide, y + tall), 255)


def _limb(points: Places, thick: int) -> Mark:
    return lambda pen: pen.line(_scaled(points), 255, thick, joint="curve")


def _shape(own: Random, x: float, y: float, size: float) -> Mark:
    """Return what draws a disc, a block, a star, a band or a drop, one of them by the field's generator."""
    form, turn, flat = int(own.integers(5)), float(own.uniform(0, 6.28)), float(own.uniform(0.5, 1.0))
    if form == 0:
        return _ellipse(x, y, size, size * flat)
    if form == 1:
        return lambda pen: pen.rounded_rectangle(_box(x - size, y - size * flat, x + size, y + size * flat), 20, 255)
    spikes = int(own.integers(3, 8))
    around = np.linspace(0, 2 * np.pi, 2 * spikes, endpoint=False) + turn
    far = np.where(np.arange(2 * spikes) % 2, flat * 0.7, 1.0) if form < 4 else 1 + 0.3 * np.sin(2 * around)
    points = np.column_stack((x + size * far * np.cos(around), y + size * far * np.sin(around)))
    return lambda pen: pen.polygon(_scaled(points), 255)


def _draw_shaded(page: Image.Image, draw: Mark, colour: Colour, layout: Random, shade: float) -> None:
    """Paste an area with smooth outlines onto the page; folds and light are the layout's, whatever the content."""
    mask = Image.new("L", (page.width * _FINE, page.height * _FINE))
    draw(ImageDraw.Draw(mask))
    mask = mask.reduce(_FINE)
    light = clouds(layout, page.width // _COARSE, page.height // _COARSE, float(layout.uniform(1.5, 5)), 2)
    left, top, right, bottom = where = mask.getbbox() or (0, 0, *page.size)
    folds = mixed(light, tint(colour, shade), tint(colour, 2 * shade, (0, 0, 0)))
    seen = left / _COARSE, top / _COARSE, right / _COARSE, bottom / _COARSE
    lit = folds.resize((right - left, bottom - top), Image.Resampling.BICUBIC, seen)
    page.paste(lit, where, mask.crop(where))
