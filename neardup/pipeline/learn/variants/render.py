"""Pairs of pictures as files, rendered from a kind, a number and a seed."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np
from PIL import Image

from neardup.pipeline.learn.variants.capture import CAPTURES
from neardup.pipeline.learn.variants.registry import KINDS, Content

HELD_OUT = frozenset(
    {
        "certificate",
        "chat",
        "film",
        "gradient",
        "logo",
        "portrait",
        "product",
        "qr_code",
        "receipt",
        "sheet",
        "street_map",
    }
)
"""Kinds that nothing is fitted to: half of each family but `subjects`, which was drawn to choose rules on."""
DIFFERS = ("all", "one", "all", "some")
"""How many fields differ, in turn: all, a single one, every third."""
SEEN_PIXELS, SEEN_LEVELS = 2e-4, 24
"""Two pictures differ where at least this share of the pixels differs by so many levels, before they become files."""
ATTEMPTS = 50


@dataclass(frozen=True, slots=True)
class Variant:
    """Two pictures of one template, as files.

    Attributes:
        number: of the pair within its kind. differs: see DIFFERS. a, b: JPEG or PNG.
    """

    kind: str
    number: int
    differs: str
    a: bytes
    b: bytes


def render(name: str, number: int, seed: int = 0) -> Variant:
    """Render a pair of a kind of KINDS; the same arguments give the same bytes."""
    base, differs, entry = (seed, crc32(name.encode()), number), DIFFERS[number % len(DIFFERS)], KINDS[name]

    def draw(content: Content) -> Image.Image:
        return entry.draw(np.random.default_rng((*base, 0)), content)

    first = Content((*base, 1))
    a = draw(first)
    for attempt in range(ATTEMPTS):
        b = draw(Content((*base, 1), (*base, 2 + attempt), _changed(differs, first.count, attempt)))
        if _seen(a, b):
            break
    else:
        raise AssertionError(f"pictures {number} of {name} do not differ")
    files = [
        CAPTURES[entry.capture](one, np.random.default_rng((*base, 100)), np.random.default_rng((*base, 101 + side)))
        for side, one in enumerate((a, b))
    ]
    return Variant(name, number, differs, *files)


def _changed(differs: str, count: int, attempt: int) -> frozenset[int]:
    """Return which of the fields differ."""
    if differs == "all":
        return frozenset(range(10 * count))
    if differs == "one":
        return frozenset({(7 * attempt + count // 2) % count})
    return frozenset(range(attempt % 3, count, 3))


def _seen(a: Image.Image, b: Image.Image) -> bool:
    if a.size != b.size:
        return True
    apart = np.abs(np.asarray(a, dtype=np.int16) - np.asarray(b)).max(axis=2) >= SEEN_LEVELS
    return bool(apart.mean() >= SEEN_PIXELS)
