"""Identical files under names that mean something to a shell, and others of the same size."""

import pathlib
import shutil
import sys

from PIL import Image
from skimage import data

out = pathlib.Path(sys.argv[1])
(out / "it's a\nfolder").mkdir(parents=True)
for name, pixels in (("cat", data.chelsea()), ("cup", data.coffee())):
    Image.fromarray(pixels).save(out / f"{name}.jpg", quality=90)
    for number, copy in enumerate(("-rf {}.jpg", "it's a\nfolder/{} $(id).jpg", "{}\n.jpg")):
        shutil.copy(out / f"{name}.jpg", out / copy.format(name))
        assert number < 9
