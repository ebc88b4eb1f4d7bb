"""What is transparent, on a ground on which the picture can be seen.

On white, as pages have it; but a white logo, signature or subtitle is nothing there. Where white shows much less of a
picture than another ground does, it stands on that one.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from neardup.pipeline.types import Pixels

WHITE, BLACK, GREY = 255, 0, 128
_SEEN = 32
"""Grey levels from which a step can be seen: higher ones count no more."""
_ENOUGH = 0.6
"""Share of the most that any ground shows which is enough for white."""
_SIDE = 256


def to_rgb(picture: Image.Image) -> Image.Image:
    """Return a picture of any 8-bit mode as RGB, what is transparent on a ground on which it shows."""
    if not picture.has_transparency_data:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    picture = picture.convert("RGBA")
    ground = choose(np.asarray(picture))
    return on_white(picture) if ground == WHITE else Image.fromarray(put_on(np.asarray(picture), ground))


def on_white(rgba: Image.Image) -> Image.Image:
    """Return an RGBA picture as RGB, what is transparent on white."""
    white = Image.new("RGB", rgba.size, "white")
    white.paste(rgba, mask=rgba.getchannel("A"))
    return white


def put_on(rgba: Pixels, ground: int) -> Pixels:
    """Return a picture, uint8 (h, w, 4), as (h, w, 3), what is transparent on a grey level."""
    alpha = rgba[..., 3:].astype(np.uint16)
    mixed = rgba[..., :3] * alpha + np.uint16(ground) * (255 - alpha)
    return np.asarray((mixed + np.uint16(127)) // np.uint16(255), dtype=np.uint8)


def choose(rgba: Pixels) -> int:
    """Return the grey level, WHITE wherever that will do, on which a picture, uint8 (h, w, 4), shows."""
    step = max(1, min(rgba.shape[:2]) // _SIDE)
    if step > 1:
        rgba = np.asarray(Image.fromarray(rgba).reduce(step))
    shown = {ground: _steps(put_on(rgba, ground)) for ground in (WHITE, BLACK, GREY)}
    most = max(shown.values())
    if shown[WHITE] >= _ENOUGH * most:
        return WHITE
    return BLACK if shown[BLACK] >= 0.9 * most else GREY


def _steps(rgb: Pixels) -> int:
    """Return the sum of the steps between neighbours that can be seen."""
    wide = rgb.astype(np.int16)
    return sum(int(np.minimum(np.abs(np.diff(wide, axis=axis)).max(axis=2), _SEEN).sum()) for axis in (0, 1))
