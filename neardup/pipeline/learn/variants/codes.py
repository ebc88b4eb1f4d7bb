"""Codes for machines: a QR code as a picture of its own, and what other kinds print."""

from __future__ import annotations

import io

import segno
from PIL import Image, ImageDraw

from neardup.pipeline.learn.variants import wording as words
from neardup.pipeline.learn.variants.canvas import Colour, hue, paper, tint, write
from neardup.pipeline.learn.variants.registry import Content, kind
from neardup.pipeline.learn.variants.wording import Random, pick

_EAN_LEFT = (
    "0001101",
    "0011001",
    "0010011",
    "0111101",
    "0100011",
    "0110001",
    "0101111",
    "0111011",
    "0110111",
    "0001011",
)


@kind("screen")
def qr_code(layout: Random, content: Content) -> Image.Image:
    """A QR code on white, in a frame with a call to scan it, or in the middle of a card."""
    style, dark = int(layout.integers(3)), pick(layout, ((0, 0, 0), (0, 0, 0), hue(layout, 0.8, 0.4)))
    host, path = f"{words.firm(layout).replace(' ', '').lower()}.example", int(layout.integers(8, 33))
    call = pick(layout, ("SCAN ME", "Scan to pay", "Menu", "Join us", "Free WiFi"))
    own = content.field()
    picture = qr(f"https://{host}/{words.letters(own, path).lower()}", 14, 4, dark)
    if style == 0:
        return picture
    accent = hue(layout, 0.6, 0.5)
    width, height = picture.width + 80, picture.height + 190
    page, pen = paper(width, height, accent if style == 1 else tint(accent, 0.9))
    page.paste(picture, (40, 40))
    write(pen, (width / 2, height - 76), call, 62, (255, 255, 255) if style == 1 else accent, True, "mm")
    return page


def qr(said: str, scale: int, border: int, dark: Colour = (0, 0, 0)) -> Image.Image:
    buffer = io.BytesIO()
    segno.make(said, error="m", boost_error=False, micro=False).save(
        buffer, "png", scale=scale, border=border, dark=dark, light=(255, 255, 255)
    )
    with Image.open(buffer) as picture:
        code: Image.Image = picture.convert("RGB")
        return code


def draw_ean(pen: ImageDraw.ImageDraw, box: tuple[float, float, float, float], digits: str) -> None:
    """Draw the bars of 12 digits as EAN's sets L and R do, guards included. Source: GS1 General Specifications, 5.2."""
    left = "".join(_EAN_LEFT[int(one)] for one in digits[:6])
    right = "".join(_EAN_LEFT[int(one)].translate(str.maketrans("01", "10")) for one in digits[6:])
    bars = f"101{left}01010{right}101"
    step = (box[2] - box[0]) / len(bars)
    for number, bar in enumerate(bars):
        if bar == "1":
            pen.rectangle(
                (round(box[0] + number * step), box[1], round(box[0] + (number + 1) * step) - 1, box[3]), (0, 0, 0)
            )
