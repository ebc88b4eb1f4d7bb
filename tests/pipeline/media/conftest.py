"""Media made for the tests: small pictures and clips whose content is known."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pillow_heif
import pytest
from PIL import Image

pillow_heif.register_heif_opener()  # to write HEIC

Save = Callable[..., bytes]
TEN_PER_SECOND = tuple(n / 10 for n in range(40))
CONTAINERS = {
    "mp4": ("mp4", "libx264"),
    "mov": ("mov", "mpeg4"),
    "mkv": ("matroska", "libx264"),
    "webm": ("webm", "libvpx"),
    "avi": ("avi", "mpeg4"),
    "ts": ("mpegts", "libx264"),
}


def _photo(width: int = 120, height: int = 90, seed: int = 0) -> Image.Image:
    cells = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)


def _save(picture: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def _clip(
    container: str = "mp4",
    times: Sequence[float] = TEN_PER_SECOND,
    size: tuple[int, int] = (64, 48),
    shade: Callable[[int], int] = lambda number: 16 + 5 * number,
) -> bytes:
    """A clip whose frame number n is a plane of the grey `shade(n)`, shown at times[n] seconds."""
    muxer, codec = CONTAINERS[container]
    file = io.BytesIO()
    with av.open(file, "w", format=muxer) as output:
        stream = output.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.bit_rate = 4_000_000  # so that greys stay what they are
        for number, time in enumerate(times):
            plane = np.full((size[1], size[0], 3), shade(number), np.uint8)
            picture = av.VideoFrame.from_ndarray(plane, format="rgb24")
            picture.pts, picture.time_base = round(1000 * time), Fraction(1, 1000)
            output.mux(stream.encode(picture))
        output.mux(stream.encode())
    return file.getvalue()


@pytest.fixture(scope="session")
def photo() -> Callable[..., Image.Image]:
    """photo(width, height, seed): a colourful picture without sharp edges."""
    return _photo


@pytest.fixture(scope="session")
def save() -> Save:
    """save(picture, format, **options): the bytes of the file that Pillow writes."""
    return _save


@pytest.fixture(scope="session")
def clip() -> Callable[..., bytes]:
    """clip(container, times, size, shade): a video of plain grey frames."""
    return _clip


@pytest.fixture(scope="session")
def every_format() -> dict[str, bytes]:
    """One small file of each format that is read, by the format's name; animations as "animated gif" and so on."""
    image = _photo()
    files = {
        format.lower(): _save(image, format) for format in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
    }
    files["heic"] = files.pop("heif")
    for format in ("GIF", "WEBP"):
        frames = [_photo(seed=seed) for seed in range(8)]
        files[f"animated {format.lower()}"] = _save(
            frames[0], format, save_all=True, append_images=frames[1:], duration=125
        )
    files |= {name: _clip(name) for name in CONTAINERS}
    return files


@pytest.fixture
def path(tmp_path: Path) -> Callable[[bytes], Path]:
    """path(content): a file that holds it."""

    def write(content: bytes) -> Path:
        file = tmp_path / "file"
        file.write_bytes(content)
        return file

    return write
