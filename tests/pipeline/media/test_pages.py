from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from pillow_heif.as_plugin import HeifImageFile

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.reader import frame_at, open_media
from neardup.pipeline.types import Kind, Limits

Photo = Callable[..., Image.Image]
Save = Callable[..., bytes]


def album(save: Save, format: str, pages: Sequence[Image.Image], **options: Any) -> bytes:
    return save(pages[0], format, save_all=True, append_images=list(pages[1:]), **options)


def tiles(content: bytes) -> list[Any]:
    return [(frame.pts, frame.tile.astype(int)) for frame in open_media(content, 32).frames]


@pytest.mark.parametrize("format", ["TIFF", "HEIF"])
def test_each_page_is_a_second(save: Save, photo: Photo, format: str) -> None:
    pages = [photo(120, 90, seed) for seed in range(4)]
    content = album(save, format, pages)
    media = open_media(content, 32)
    assert (media.kind, media.seconds, media.extras.pages, media.pixels_digest) == (Kind.VIDEO, 4.0, 4, b"")
    assert (media.width, media.height) == (120, 90)
    for (pts, tile), page, number in zip(tiles(content), pages, range(4), strict=True):
        assert pts == number
        alone = next(open_media(save(page, format), 32).frames).tile
        assert np.abs(tile - alone).mean() < 3
    assert np.abs(frame_at(content, 2.0, 120).astype(int) - np.asarray(pages[2])).mean() < 8


def test_pages_of_other_depths_and_sizes(save: Save, photo: Photo) -> None:
    deep = Image.fromarray(np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 20)
    content = album(save, "TIFF", [photo(50, 40), deep, photo(90, 20).convert("1")])
    assert [tile.shape for _, tile in tiles(content)] == [(32, 32, 3)] * 3
    assert np.abs(tiles(content)[1][1] - tiles(save(deep, "TIFF"))[0][1]).max() == 0


def test_smaller_versions_are_no_pages(save: Save, photo: Photo) -> None:
    content = bytearray(album(save, "TIFF", [photo(120, 90), photo(30, 20)], tiffinfo={254: 0}))
    assert open_media(bytes(content), 32).kind is Kind.VIDEO
    second = bytes(content).rindex(b"\xfe\x00\x04\x00\x01\x00\x00\x00")
    content[second + 8] = 1  # NewSubfileType: reduced resolution
    media = open_media(bytes(content), 32)
    assert (media.kind, media.extras.pages, media.pixels_digest) == (Kind.IMAGE, 1, b"")


@pytest.mark.parametrize("format", ["PNG", "AVIF"])
def test_pictures_that_move_are_videos(save: Save, photo: Photo, format: str) -> None:
    frames = [photo(120, 90, seed) for seed in range(6)]
    content = album(save, format, frames, duration=500)
    media = open_media(content, 32)
    assert (media.kind, media.format, media.pixels_digest) == (Kind.VIDEO, format.lower(), b"")
    found = list(media.frames)
    assert [frame.pts for frame in found] == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    for frame, picture in zip(found, frames, strict=True):
        expected = np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(frame.tile - expected).mean() < 12
    still = save(frames[0], format)
    assert open_media(still, 32).kind is Kind.IMAGE


def test_heic_that_moves_is_a_video() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx265", rate=2, options={"x265-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for shade in (40, 120, 200):
            plane = np.full((96, 128, 3), shade, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(plane, format="rgb24")))
        output.mux(stream.encode())
    content = file.getvalue()
    brands = b"hevc\x00\x00\x00\x00msf1hevciso8"
    content = (len(brands) + 8).to_bytes(4, "big") + b"ftyp" + brands + content[int.from_bytes(content[:4], "big") :]
    media = open_media(content, 32)
    assert (media.kind, media.format) == (Kind.VIDEO, "heic")


@pytest.mark.parametrize("format", ["TIFF", "HEIF"])
def test_too_many_pages_are_refused(save: Save, photo: Photo, format: str) -> None:
    content = album(save, format, [photo(20, 20, seed) for seed in range(5)])
    open_media(content, 32, Limits(max_frames=5))
    with pytest.raises(InvalidFrame) as caught:
        open_media(content, 32, Limits(max_frames=4))
    assert caught.value.reason is Reason.BOMB


def test_a_later_picture_that_is_too_large_is_not_laid_out(
    save: Save, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(album(save, "HEIF", [photo(120, 90), photo(100, 80, 1)]))
    at = content.index(struct.pack(">4sIII", b"ispe", 0, 100, 80))
    struct.pack_into(">II", content, at + 8, 100_000, 50_000)
    sought: list[int] = []
    monkeypatch.setattr(HeifImageFile, "seek", lambda _self, number: sought.append(number))
    with pytest.raises(InvalidFrame, match="NEARDUP_MAX_PIXELS"):
        list(open_media(bytes(content), 32).frames)
    assert not sought
