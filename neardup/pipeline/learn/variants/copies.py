"""True copies of the same pictures: what a system that is careful with variants must still find.

Each way is one or two edits of `learn.edits`, mild ones, and a file of its own.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from neardup.pipeline.learn.edits import Draw, chain

WAYS: dict[str, tuple[tuple[str, float], ...]] = {
    "re-encoded": (("jpeg", 0.3),),
    "resized": (("resize", 0.25), ("jpeg", 0.1)),
    "cropped by 10 %": (("crop", 0.0667),),
    "caption over it": (("text", 0.25),),
    "caption beside it": (("meme", 0.2),),
    "sticker": (("emoji", 0.4),),
    "screenshot": (("screenshot", 0.2),),
}
"""Ways by name, each as edits with their strengths."""
OVERLAYS = ("caption over it", "caption beside it", "sticker")
"""Ways that lay something over the picture or beside it."""


def copy_of(file: bytes, number: int, seed: int = 0) -> tuple[str, bytes]:
    """Return the name of a way, in turn by number, and a copy of a picture's file made in it, a JPEG."""
    way = list(WAYS)[number % len(WAYS)]
    with Image.open(io.BytesIO(file)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    edited = chain(pixels, WAYS[way], Draw(np.random.default_rng((seed, 3, number))))
    buffer = io.BytesIO()
    Image.fromarray(edited).save(buffer, "JPEG", quality=85)
    return way, buffer.getvalue()
