"""The clips of the sample media: slow pans over photographs, scene after scene."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from benchmarks.photographs import photograph

FPS = 24


@dataclass(frozen=True, slots=True)
class Scene:
    """A pan over a photograph: the view keeps a share of it and moves from one place to another.

    Attributes:
        name: of the photograph. seconds: how long it lasts.
        share: of the largest view that fits, from the first frame to the last.
        start, end: place of the view, 0 to 1 in x and y.
    """

    name: str
    seconds: float
    share: tuple[float, float] = (0.98, 0.85)
    start: tuple[float, float] = (0.0, 0.5)
    end: tuple[float, float] = (1.0, 0.5)


def frames(scenes: Sequence[Scene], size: tuple[int, int]) -> Iterator[Image.Image]:
    """Yield the frames of the scenes, `FPS` a second."""
    for scene in scenes:
        count = round(scene.seconds * FPS)
        for number in range(count):
            yield _view(scene, number / max(1, count - 1), size)


def _view(scene: Scene, moment: float, size: tuple[int, int]) -> Image.Image:
    image = photograph(scene.name)
    first, last = np.array([scene.share[0], *scene.start]), np.array([scene.share[1], *scene.end])
    share, x, y = first + moment * (last - first)
    fit = min(image.width / size[0], image.height / size[1]) * share
    w, h = size[0] * fit, size[1] * fit
    left, top = (image.width - w) * x, (image.height - h) * y
    return image.resize(size, Image.Resampling.BILINEAR, box=(left, top, left + w, top + h))


def write_clip(
    path: Path,
    pictures: Iterable[Image.Image],
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    fps: int = FPS,
) -> None:
    """Encode pictures of one size; the container follows from the name."""
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as container:  # no random identifiers
        stream = None
        for number, picture in enumerate(pictures):
            if stream is None:
                stream = container.add_stream(codec, rate=fps, options={"threads": "1", **(options or {})})
                stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode())


def read_clip(path: Path, start: float, end: float) -> Iterator[Image.Image]:
    """Yield the frames shown from `start` to before `end`, in seconds."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if start - 1e-6 <= frame.time < end - 1e-6:
                yield frame.to_image()


def write_gif(path: Path, pictures: Iterable[Image.Image], fps: int) -> None:
    """Write an animated GIF that repeats for ever."""
    first, *others = list(pictures)
    first.save(path, save_all=True, append_images=others, duration=round(1000 / fps), loop=0)


def edited(pictures: Iterable[Image.Image], edit: Callable[[Image.Image], Image.Image]) -> Iterator[Image.Image]:
    """Yield each picture after the edit, its sides even as encoders want them."""
    for picture in pictures:
        result = edit(picture)
        yield result.crop((0, 0, result.width // 2 * 2, result.height // 2 * 2))
