"""A film, the same bytes under another name, copies that were resized and compressed anew, and another film."""

import pathlib
import shutil
import sys

import av
import numpy as np
from PIL import Image
from skimage import data

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True)


def film(name: str, pixels: np.ndarray, size: tuple[int, int] = (480, 360), quality: int = 20) -> None:
    """Move slowly over a picture, six seconds."""
    picture = Image.fromarray(pixels).convert("RGB").resize((720, 540))
    with av.open(str(out / name), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"crf": str(quality)})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for n in range(72):
            seen = picture.crop((n * 3, n * 2, n * 3 + 480, n * 2 + 360)).resize(size)
            container.mux(stream.encode(av.VideoFrame.from_image(seen)))
        container.mux(stream.encode())


film("rocket.mp4", data.rocket())
shutil.copy(out / "rocket.mp4", out / "rocket again.mp4")
film("rocket small.mp4", data.rocket(), (320, 240))
film("rocket compressed.mp4", data.rocket(), quality=34)
film("coffee.mp4", data.coffee())
