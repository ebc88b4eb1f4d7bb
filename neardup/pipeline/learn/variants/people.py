"""Drawn people: a head with hair and a face, shoulders, shaded and a little out of focus."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from neardup.pipeline.learn.variants.canvas import Colour, clouds, hue, tint
from neardup.pipeline.learn.variants.wording import Random, pick

_SKIN: tuple[Colour, ...] = ((241, 205, 178), (226, 180, 146), (196, 145, 108), (152, 104, 72), (104, 68, 48))
_HAIR: tuple[Colour, ...] = ((32, 26, 24), (70, 46, 30), (120, 84, 48), (190, 156, 96), (150, 70, 36), (170, 168, 166))


@dataclass(frozen=True, slots=True)
class Person:
    """Who is drawn, and how.

    Attributes:
        face_width: of the head's height. turn: sideways, -1 to 1. tilt: of the head, in degrees. smile: -1 to 1.
        open_eyes: 0 to 1. raised: a shoulder, -1 to 1.
    """

    skin: Colour
    hair: Colour
    shirt: Colour
    long: bool
    face_width: float
    glasses: bool
    turn: float = 0.0
    tilt: float = 0.0
    smile: float = 0.5
    open_eyes: float = 1.0
    raised: float = 0.0

    @classmethod
    def drawn(cls, random: Random) -> Person:
        """Return anybody, in any pose."""
        person = cls(
            pick(random, _SKIN), pick(random, _HAIR),
            hue(random, float(random.uniform(0.1, 0.6)), float(random.uniform(0.2, 0.8))),
            random.random() < 0.5, float(random.uniform(0.68, 0.8)), random.random() < 0.3,
        )  # fmt: skip
        return person.posed(random, random, random)

    def posed(self, head: Random, face: Random, body: Random) -> Person:
        """Return the same person in another pose, with another face."""
        return replace(
            self,
            turn=float(head.uniform(-1, 1)),
            tilt=float(head.uniform(-10, 10)),
            smile=float(face.uniform(-0.6, 1)),
            open_eyes=0.12 if face.random() < 0.15 else 1.0,
            raised=float(body.uniform(-1, 1)),
        )


def draw_person(picture: Image.Image, one: Person, at: tuple[float, float], size: float) -> None:
    """Draw onto a picture; `at` is the middle of the head, `size` the height of the head and shoulders in pixels."""
    h = size * 0.5  # height of the head
    w = h * one.face_width
    side = round(size * 1.6)
    layer = Image.new("RGBA", (side, side))
    pen = ImageDraw.Draw(layer)
    x, y = side / 2, side * 0.34
    dark, shift = tint(one.skin, 0.35, (60, 20, 10)), one.turn * w * 0.16
    body = y + h * 0.62
    lean = one.raised * h * 0.05
    pen.rounded_rectangle((x - h * 0.95, body + h * 0.12 + lean, x + h * 0.95, side + h), h * 0.42, one.shirt)
    pen.ellipse((x - h * 0.98, body + h * 0.05 + lean, x - h * 0.2, body + h * 0.9), one.shirt)
    pen.ellipse((x + h * 0.2, body + h * 0.05 - lean, x + h * 0.98, body + h * 0.9), one.shirt)
    pen.rounded_rectangle((x - w * 0.25, y + h * 0.25, x + w * 0.25, body + h * 0.22), w * 0.2, dark)
    pen.polygon(((x - w * 0.3, body + h * 0.12), (x + w * 0.3, body + h * 0.12), (x, body + h * 0.42)), dark)
    head = Image.new("RGBA", (side, side))
    _draw_head(ImageDraw.Draw(head), one, (x, y), h, shift, dark)
    layer.alpha_composite(head.rotate(-one.tilt, Image.Resampling.BILINEAR, center=(x, y + h * 0.4)))
    layer = layer.filter(ImageFilter.GaussianBlur(size / 260))
    light = _light(side)
    texture = clouds(np.random.default_rng(side), side, side, 12, 4) * 0.12 + 0.94
    shaded = np.asarray(layer.convert("RGB")) * (light * texture)[..., None]
    picture.paste(
        Image.fromarray(shaded.clip(0, 255).astype(np.uint8)),
        (round(at[0] - x), round(at[1] - y)),
        layer.getchannel("A"),
    )


def _draw_head(
    pen: ImageDraw.ImageDraw, one: Person, at: tuple[float, float], h: float, shift: float, dark: Colour
) -> None:
    x, y = at
    w = h * one.face_width
    if one.long:
        pen.rounded_rectangle(
            (x - w * 0.62, y - h * 0.5, x + w * 0.62, y + h * 0.68), w * 0.45, tint(one.hair, 0.2, (0, 0, 0))
        )
    for sign in (-1, 1):
        ear = x + sign * w * 0.5 + shift * 0.4
        pen.ellipse((ear - w * 0.09, y - h * 0.08, ear + w * 0.09, y + h * 0.14), dark)
    pen.ellipse((x - w / 2, y - h / 2, x + w / 2, y + h / 2), one.skin)
    pen.chord(
        (x - w * 0.54, y - h * 0.56, x + w * 0.54, y + h * 0.24), 180 + 10 * one.turn, 360 + 10 * one.turn, one.hair
    )
    pen.ellipse((x - w * 0.36 + shift, y - h * 0.27, x + w * 0.36 + shift, y + h * 0.1), one.skin)
    for sign in (-1, 1):
        eye = x + shift + sign * w * 0.2 * (1 - 0.15 * sign * one.turn)
        tall = h * 0.042 * one.open_eyes
        pen.ellipse((eye - w * 0.1, y - tall, eye + w * 0.1, y + tall), (248, 246, 242), tint(dark, 0.4, (0, 0, 0)))
        if one.open_eyes > 0.5:
            iris = eye + one.turn * w * 0.025
            pen.ellipse((iris - w * 0.045, y - h * 0.036, iris + w * 0.045, y + h * 0.036), (66, 48, 36))
            pen.ellipse((iris - w * 0.02, y - h * 0.018, iris + w * 0.02, y + h * 0.018), (12, 10, 10))
        pen.arc(
            (eye - w * 0.14, y - h * 0.15, eye + w * 0.14, y + h * 0.02),
            205,
            335,
            tint(one.hair, 0.2, (0, 0, 0)),
            max(2, round(h / 44)),
        )
        if one.glasses:
            pen.rounded_rectangle(
                (eye - w * 0.16, y - h * 0.085, eye + w * 0.16, y + h * 0.085),
                h * 0.04,
                outline=(30, 30, 34),
                width=max(2, round(h / 60)),
            )
    nose = x + shift * 1.35
    pen.line(
        (nose - w * 0.02, y + h * 0.02, nose + w * 0.05, y + h * 0.16, nose - w * 0.04, y + h * 0.17),
        dark,
        max(2, round(h / 70)),
        joint="curve",
    )
    mouth, bend = y + h * 0.28, h * 0.09 * one.smile
    points = [(x + shift * 1.2 + t * w * 0.2, mouth + bend * (1 - t * t)) for t in np.linspace(-1, 1, 15).tolist()]
    if one.smile > 0.55:
        pen.polygon([*points, (points[-1][0], mouth), (points[0][0], mouth)], (250, 248, 246), (150, 60, 60))
    pen.line(points, (168, 74, 70), max(3, round(h / 40)), joint="curve")


def _light(side: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return light from the upper left, (side, side)."""
    y, x = np.mgrid[0:side, 0:side] / side
    return np.asarray(1.12 - 0.55 * np.clip(0.7 * (x - 0.35) + 0.4 * (y - 0.2), 0, 0.6))
