"""Photographs, each with copies that were resized and compressed anew; and two that are nobody's copy."""

import pathlib
import sys

from PIL import Image
from skimage import data

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True)
for name, pixels in (("astronaut", data.astronaut()), ("coffee", data.coffee()), ("rocket", data.rocket())):
    picture = Image.fromarray(pixels).convert("RGB")
    picture.save(out / f"{name}.png")
    half = picture.resize((picture.width // 2, picture.height // 2))
    half.save(out / f"{name} half.jpg", quality=85)
    picture.save(out / f"{name} small file.jpg", quality=40)
    picture.save(out / f"{name}.webp", quality=70)
Image.fromarray(data.chelsea()).save(out / "cat.png")
Image.fromarray(data.retina()).resize((400, 400)).save(out / "eye.png")
