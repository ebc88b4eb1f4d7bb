"""One picture of 16 bits as PNG and as TIFF, its lower half as 8 bits, and one that differs in its low bits alone."""

import pathlib
import sys

import numpy as np
import tifffile
from PIL import Image
from skimage import data

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True)
grey = np.asarray(Image.fromarray(data.astronaut()).convert("L")).astype(np.uint16)
deep = grey * 250 + np.random.default_rng(0).integers(0, 250, grey.shape).astype(np.uint16)
Image.fromarray(deep).save(out / "deep.png")
tifffile.imwrite(out / "deep.tif", deep)
tifffile.imwrite(out / "other low bits.tif", deep ^ 1)
Image.fromarray((deep >> 8).astype(np.uint8)).save(out / "shallow.png")
