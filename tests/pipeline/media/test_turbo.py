from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from neardup.pipeline.media import still
from neardup.pipeline.media.jpeg import read_plain_jpeg
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.media.turbo import decode_plain
from neardup.pipeline.types import Pixels

Photo = Callable[..., Image.Image]
Save = Callable[..., bytes]


def decoded(data: bytes, scale: int) -> Pixels | None:
    header = read_plain_jpeg(data)
    assert header is not None
    return decode_plain(data, header, scale)


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize(("mode", "subsampling"), [("RGB", 0), ("RGB", 1), ("RGB", 2), ("L", 0)])
@pytest.mark.parametrize("size", [(403, 301), (64, 200)])
def test_pixels_are_those_of_pillow(
    photo: Photo, save: Save, size: tuple[int, int], mode: str, subsampling: int, scale: int
) -> None:
    data = save(photo(*size).convert(mode), "JPEG", subsampling=subsampling)
    picture = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    picture.draft("RGB", (size[0] // scale, size[1] // scale))
    rgb = decoded(data, scale)
    assert rgb is not None
    assert np.array_equal(rgb, np.asarray(picture.convert("RGB")))


def test_what_is_cut_off_or_broken_is_left_to_pillow(photo: Photo, save: Save) -> None:
    data = save(photo(403, 301), "JPEG", quality=95)
    assert decoded(data, 2) is not None
    assert decoded(data[: len(data) // 2], 2) is None
    middle = len(data) // 2
    assert decoded(data[:middle] + b"\xff\xd9" + data[middle:], 2) is None


@pytest.mark.parametrize("size", [(403, 301), (30, 200), (1283, 1027)])
def test_both_ways_give_the_same_digest_and_tile(
    photo: Photo, save: Save, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[274] = 6
    data = save(photo(*size), "JPEG", exif=exif)
    fast = open_media(data, 128)
    monkeypatch.setattr(still, "decode_plain", lambda *_: None)
    slow = open_media(data, 128)
    assert (fast.width, fast.height) == (slow.width, slow.height) == size[::-1]
    assert fast.pixels_digest == slow.pixels_digest
    assert np.array_equal(next(fast.frames).tile, next(slow.frames).tile)
