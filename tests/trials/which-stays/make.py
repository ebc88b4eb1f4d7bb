"""Worse copies that look older, larger or less compressed than the picture that they were made of."""

import os
import pathlib
import sys

from PIL import Image, ImageFilter
from skimage import data

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True)
exif = Image.Exif()
exif[0x010F], exif[0x0110], exif[0x0132] = "Maker", "Model", "2020:01:01 00:00:00"


def save(picture: Image.Image, name: str, seconds: int, **options: object) -> None:
    picture.save(out / name, **options)
    os.utime(out / name, (1_700_000_000 + seconds, 1_700_000_000 + seconds))


for name, pixels in (("astronaut", data.astronaut()), ("coffee", data.coffee())):
    save(Image.fromarray(pixels).convert("RGB"), f"{name}.jpg", 1000, quality=80, exif=exif)
    original = Image.open(out / f"{name}.jpg")
    save(original, f"{name} anew.jpg", 0, quality=98)
    save(original, f"{name} compressed.jpg", 10, quality=45)
    save(original.resize((original.width * 2, original.height * 2)), f"{name} enlarged.jpg", 20, quality=95)
    save(original.filter(ImageFilter.GaussianBlur(1.5)), f"{name} blurred.png", 30)
    save(original.convert("L"), f"{name} grey.jpg", 40, quality=95)
