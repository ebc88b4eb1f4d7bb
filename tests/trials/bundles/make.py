"""What belongs together, beside bare copies of it: sidecars, a Live Photo copied as a whole, one copied in part."""

import pathlib
import shutil
import sys

import av
from PIL import Image
from skimage import data

out = pathlib.Path(sys.argv[1])


def still(path: pathlib.Path, pixels: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert("RGB").save(path, quality=92)


def film(path: pathlib.Path, pixels: object) -> None:
    picture = Image.fromarray(pixels).convert("RGB").resize((320, 240))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for n in range(20):
            frame = av.VideoFrame.from_image(picture.crop((n, 0, 300 + n, 240)).resize((320, 240)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


still(out / "phone/IMG_0001.JPG", data.chelsea())
film(out / "phone/IMG_0001.MOV", data.chelsea())
(out / "phone/IMG_E0001.AAE").write_text("<plist/>")
shutil.copytree(out / "phone", out / "backup")
still(out / "phone/IMG_0002.JPG", data.coffee())
film(out / "phone/IMG_0002.MOV", data.coffee())
shutil.copy(out / "phone/IMG_0002.JPG", out / "backup/coffee.jpg")
still(out / "edited/rocket.jpg", data.rocket())
(out / "edited/rocket.jpg.xmp").write_text("<x:xmpmeta/>")
(out / "bare").mkdir()
shutil.copy(out / "edited/rocket.jpg", out / "bare/a rocket.jpg")
still(out / "takeout/moon(1).jpg", data.retina())
(out / "takeout/moon.jpg(1).json").write_text("{}")
shutil.copy(out / "takeout/moon(1).jpg", out / "bare/moon.jpg")
