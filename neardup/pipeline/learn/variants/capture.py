"""How a picture becomes a file: scanned, photographed, or saved from a screen.

Two pictures of one pair are captured one by one: other quality, other noise, moved by a little.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from neardup.pipeline.learn.variants.canvas import clouds, hue, mixed, tint
from neardup.pipeline.learn.variants.wording import Random


def _scan(picture: Image.Image, _place: Random, own: Random) -> bytes:
    """Lay a sheet on a scanner: turned by up to half a degree, moved by up to 0.8 %, a little grey."""
    moved = own.uniform(-0.008, 0.008, 2).tolist()
    sheet = picture.rotate(
        own.uniform(-0.5, 0.5), Image.Resampling.BILINEAR, fillcolor=(246, 246, 244),
        translate=(round(picture.width * moved[0]), round(picture.height * moved[1])),
    )  # fmt: skip
    sheet = ImageEnhance.Brightness(sheet).enhance(own.uniform(0.94, 1.0))
    return _jpeg(_grain(sheet, own, own.uniform(0.5, 2.5)), own, 70, 93)


def _photo(picture: Image.Image, place: Random, own: Random) -> bytes:
    """Photograph a slip of paper on a table, from nearly above; the table and the light are those of the place."""
    border = 0.09 * max(picture.size)
    width, height = round(picture.width + 2 * border), round(picture.height + 2 * border)
    wood = hue(place, 0.35, float(place.uniform(0.3, 0.75)))
    table = mixed(clouds(place, width, height, 3, 6), wood, tint(wood, 0.3))
    light = clouds(place, width, height, 1.5, 1) * 0.3 + 0.75
    turned = picture.convert("RGBA").rotate(own.uniform(-2.5, 2.5), Image.Resampling.BILINEAR, expand=True)
    scale = min(width / turned.width, height / turned.height) * own.uniform(0.92, 0.97)
    turned = turned.resize((round(turned.width * scale), round(turned.height * scale)), Image.Resampling.BICUBIC)
    free = width - turned.width, height - turned.height
    at = round(free[0] * own.uniform(0.35, 0.65)), round(free[1] * own.uniform(0.35, 0.65))
    shadow = Image.new("L", (width, height))
    shadow.paste(turned.getchannel("A").point(lambda value: value * 0.55), (at[0] + 6, at[1] + 8))
    table.paste((0, 0, 0), (0, 0), shadow.filter(ImageFilter.GaussianBlur(9)))
    table.paste(turned.convert("RGB"), at, turned.getchannel("A"))
    lit = np.asarray(table) * (light * own.uniform(0.92, 1.04))[..., None]
    return _jpeg(_grain(Image.fromarray(lit.clip(0, 255).astype(np.uint8)), own, own.uniform(1.5, 4)), own, 72, 92)


def _camera(picture: Image.Image, _place: Random, own: Random) -> bytes:
    """Take a photograph: exposure, focus, grain."""
    seen = ImageEnhance.Brightness(picture).enhance(own.uniform(0.94, 1.06))
    seen = seen.filter(ImageFilter.GaussianBlur(own.uniform(0.3, 0.9)))
    return _jpeg(_grain(seen, own, own.uniform(1.5, 4)), own, 75, 94)


def _screen(picture: Image.Image, _place: Random, own: Random) -> bytes:
    """Save what a screen shows: every other time as PNG, else as JPEG."""
    if own.random() < 0.5:
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=3)
        return buffer.getvalue()
    return _jpeg(picture, own, 80, 96)


def _grain(picture: Image.Image, own: Random, levels: float) -> Image.Image:
    grain = own.standard_normal((picture.height, picture.width, 1), dtype=np.float32) * np.float32(levels)
    return Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8))


def _jpeg(picture: Image.Image, own: Random, low: int, high: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=int(own.integers(low, high + 1)))
    return buffer.getvalue()


Capture = Callable[[Image.Image, Random, Random], bytes]
CAPTURES: dict[str, Capture] = {"scan": _scan, "photo": _photo, "camera": _camera, "screen": _screen}
"""Ways by name. Each takes the picture, the generator of the place that a pair shares, and one of its own."""
