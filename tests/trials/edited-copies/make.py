"""Photographs, each edited as people do: less of it, other colours, something laid over it or put beside it."""

import pathlib
import sys

import numpy as np
from PIL import Image
from skimage import data

from neardup.pipeline.learn.edits import Draw, chain

EDITS = {
    "resized": [("resize", 0.3), ("jpeg", 0.2)],
    "cropped": [("crop", 0.1)],
    "mirrored": [("mirror", 0.5)],
    "toned": [("tone", 0.4)],
    "captioned": [("text", 0.25)],
    "meme": [("meme", 0.3)],
    "sticker": [("emoji", 0.4)],
    "screenshot": [("screenshot", 0.3)],
}
out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True)
for number, name in enumerate(("astronaut", "coffee", "rocket", "chelsea")):
    pixels = getattr(data, name)()
    Image.fromarray(pixels).save(out / f"{name}.png")
    for edit, (kind, steps) in enumerate(EDITS.items()):
        copy = chain(pixels, steps, Draw(np.random.default_rng((number, edit))))
        Image.fromarray(copy).save(out / f"{name} {kind}.jpg", quality=88)
