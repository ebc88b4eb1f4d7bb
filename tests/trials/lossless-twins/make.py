"""One picture in several lossless formats, one of 16 bits a colour as PNG and as TIFF, and one that lost a little."""

import pathlib
import sys

import imagecodecs
import numpy as np
from PIL import Image
from skimage import data

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True)
picture = Image.fromarray(data.coffee())
picture.save(out / "coffee.png", compress_level=1)
picture.save(out / "coffee smaller.png", optimize=True)
picture.save(out / "coffee.bmp")
picture.save(out / "coffee.tif", compression="tiff_lzw")
picture.save(out / "coffee.webp", lossless=True)
picture.save(out / "coffee.jpg", quality=97)
noise = np.random.default_rng(0).integers(0, 250, (512, 512, 3)).astype(np.uint16)
deep = data.astronaut().astype(np.uint16) * 250 + noise
for name, pixels in (("deep", deep), ("other low bits", deep ^ 1)):
    (out / f"{name}.png").write_bytes(imagecodecs.png_encode(pixels))
    (out / f"{name}.tif").write_bytes(imagecodecs.tiff_encode(pixels, photometric="rgb"))
