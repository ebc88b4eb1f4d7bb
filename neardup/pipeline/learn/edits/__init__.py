"""Copy edits: what people do to a picture that stays the same picture.

An edit takes uint8 (h, w, 3), a strength from 0 (hardly visible) to 1 (hardly recognisable) and a `Draw` that holds
the randomness; it returns a new array, of another size where the edit says so. Edits work at the size they are given:
what depends on resolution (JPEG, blur, text) is relative to the shorter side, so that a thumbnail and a photograph are
edited alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from neardup.pipeline.learn.edits import around, colour, detail, geometry, over  # noqa: F401 (registers the edits)
from neardup.pipeline.learn.edits.draw import EDITS, FAMILIES, Draw, Edit
from neardup.pipeline.types import Pixels

__all__ = ["EDITS", "FAMILIES", "Draw", "Edit", "chain", "draw_steps"]

_HARD: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.5, ("crop",)),
    (0.3, ("mirror",)),
    (0.35, ("rotate", "rotate", "rotate_quarter", "perspective", "perspective", "flip")),
    (0.4, ("pasted", "pasted", "collage", "screenshot", "meme", "pad", "letterbox")),
    (0.35, ("text", "emoji", "watermark", "overlay", "blend", "erase")),
    (0.4, ("colour", "colour", "colour", "grey", "tone", "vignette")),
    (0.4, ("blur", "noise", "pixelate", "sharpen", "resize")),
    (0.25, ("jpeg",)),
)
"""Steps of a chain in the order in which people do them, each with the chance that it happens."""


def chain(pixels: Pixels, steps: Sequence[tuple[str, float]], draw: Draw) -> Pixels:
    """Apply edits, given as (name, strength), one after the other."""
    for name, strength in steps:
        pixels = EDITS[name](pixels, strength, draw)
    return pixels


def draw_steps(draw: Draw, hardness: float) -> list[tuple[str, float]]:
    """Return a random chain. At hardness 0 it is empty; at 1 it has about three edits of any strength."""
    return [
        (names[int(draw.random.integers(len(names)))], draw.random.random() * float(0.3 + 0.7 * hardness))
        for chance, names in _HARD
        if draw.chance(chance * hardness)
    ]
