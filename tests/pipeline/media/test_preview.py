from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neardup.pipeline.media.preview import Preview, to_jpeg
from neardup.pipeline.media.reader import frame_at, open_media

Photo = Callable[..., Image.Image]
Save = Callable[..., bytes]


def preview_of(content: bytes, side: int) -> Image.Image:
    preview = Preview(side)
    list(open_media(content, 32, preview=preview).frames)
    picture = Image.open(io.BytesIO(preview.jpeg))
    assert picture.format == "JPEG"
    return picture


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, np.float32) - np.asarray(b.resize(a.size), np.float32)).mean())


def test_every_format_gives_a_picture_at_its_own_aspect_ratio(every_format: dict[str, bytes], photo: Photo) -> None:
    for name, content in every_format.items():
        picture = preview_of(content, 60)
        is_clip = name in ("mp4", "mov", "mkv", "webm", "avi", "ts")
        assert picture.size == (60, 45), name
        assert is_clip or difference(picture, photo()) < 8, name


def test_a_small_picture_stays_as_it_is(photo: Photo, save: Save) -> None:
    assert preview_of(save(photo(50, 20), "PNG"), 320).size == (50, 20)


def test_a_sideways_photo_is_turned_upright(photo: Photo, save: Save) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    picture = preview_of(save(photo(400, 200), "JPEG", exif=exif, quality=95), 100)
    assert picture.size == (50, 100)
    assert difference(picture, photo(400, 200).rotate(-90, expand=True)) < 8


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_of_a_video_the_first_frame_that_shows_something_is_taken(photo: Photo, save: Save, format: str) -> None:
    frames = [Image.new("RGB", (120, 90)), photo(seed=1), photo(seed=2)]
    content = save(frames[0], format, save_all=True, append_images=frames[1:], duration=500)
    assert difference(preview_of(content, 120), photo(seed=1)) < 8


def test_a_video_of_blank_frames_has_its_first(save: Save) -> None:
    frames = [Image.new("RGB", (60, 60), colour) for colour in ("red", "blue", "lime")]
    content = save(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=500)
    assert difference(preview_of(content, 60), frames[0]) < 8


def test_a_picture_costs_no_second_decode(photo: Photo, save: Save, tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(save(photo(4000, 3000), "JPEG"))
    preview = Preview(320)
    media = open_media(file, 160, preview=preview)
    file.unlink()
    list(media.frames)
    assert Image.open(io.BytesIO(preview.jpeg)).size == (320, 240)


def test_a_picture_of_every_format_at_a_moment_becomes_a_jpeg(every_format: dict[str, bytes]) -> None:
    for name, content in every_format.items():
        pixels = frame_at(content, 0.0, 120)
        picture = Image.open(io.BytesIO(to_jpeg(pixels)))
        assert picture.format == "JPEG", name
        assert difference(picture, Image.fromarray(pixels)) < 8, name


def test_what_is_turned_or_a_pixel_wide_becomes_a_jpeg(photo: Photo) -> None:
    pixels = np.asarray(photo())
    for shown in (np.rot90(pixels), pixels[:, ::-1], pixels[:1], pixels[:, :1]):
        picture = Image.open(io.BytesIO(to_jpeg(shown)))
        assert difference(picture, Image.fromarray(np.ascontiguousarray(shown))) < 8
