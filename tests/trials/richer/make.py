"""Files that hold more than the one picture that a plainer file holds, too."""

import os
import pathlib
import sys

from PIL import Image
from skimage import data

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True)
pages = [Image.fromarray(pixels).convert("RGB") for pixels in (data.chelsea(), data.coffee(), data.rocket())]
pages[0].save(out / "pages.tif", save_all=True, append_images=pages[1:])
pages[0].save(out / "first page.tif")
faded = pages[1].convert("RGBA")
faded.putalpha(Image.linear_gradient("L").resize(faded.size).point(lambda value: 255 if value > 16 else 254))
faded.save(out / "faded.png")
pages[1].save(out / "opaque.png")
for name in ("first page.tif", "opaque.png"):
    os.utime(out / name, (1_600_000_000, 1_600_000_000))
