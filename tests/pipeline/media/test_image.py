from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, ImageOps

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.image import thumbnail
from neardup.pipeline.media.orientation import orientation
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.media.tables import check_strips
from neardup.pipeline.media.tiff import first_page, read_pages
from neardup.pipeline.types import Kind, Limits, Pixels
from tests.timing import soonest

Photo = Callable[..., Image.Image]
Save = Callable[..., bytes]
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def _tile(content: bytes, size: int = 32) -> Pixels:
    (frame,) = open_media(content, size).frames
    return frame.tile


def _middle(content: bytes) -> tuple[int, ...]:
    tile = _tile(content)
    assert tile.shape == (32, 32, 3)
    assert tile.dtype == np.uint8
    return tuple(int(v) for v in tile[16, 16])


def _difference(a: Pixels, b: Pixels) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def _quadrants() -> Image.Image:
    """Red, green over blue, white, 64 × 32: every turn and mirroring of it is different."""
    picture = Image.new("RGB", (64, 32), WHITE)
    picture.paste(RED, (0, 0, 32, 16))
    picture.paste(GREEN, (32, 0, 64, 16))
    picture.paste(BLUE, (0, 16, 32, 32))
    return picture


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = "a description that stands before the orientation"
    exif[0x0112] = orientation
    return exif


def _png16(rows: bytes, width: int, height: int, color_type: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("value", range(10))
def test_orientation_is_applied(save: Save, format: str, value: int) -> None:
    content = save(_quadrants(), format, exif=_exif(value))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    media = open_media(content, 32)
    assert (media.width, media.height) == upright.size
    (frame,) = media.frames
    assert _difference(frame.tile, np.asarray(upright.resize((32, 32), Image.Resampling.BILINEAR))) < 1
    assert _difference(thumbnail(content, 64), np.asarray(upright)) < 1


def test_heic_with_orientation_is_upright(save: Save) -> None:
    content = save(_quadrants(), "HEIF", exif=_exif(6).tobytes(), quality=100)
    media = open_media(content, 32)
    assert (media.width, media.height) == (32, 64)
    (frame,) = media.frames
    turned = _quadrants().transpose(Image.Transpose.ROTATE_270).resize((32, 32), Image.Resampling.BILINEAR)
    assert _difference(frame.tile, np.asarray(turned)) < 10


def test_orientation_of_broken_exif_is_upright() -> None:
    exif = _exif(6).tobytes()
    assert orientation(exif) == 6
    assert orientation(exif[:20]) == 1
    assert orientation(b"") == 1
    assert orientation(b"Exif\0\0no TIFF") == 1
    assert orientation(b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0") == 8


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_is_converted(save: Save, format: str) -> None:
    red_ink = Image.new("CMYK", (64, 64), (0, 255, 255, 0))
    assert _middle(save(red_ink, format)) == pytest.approx(RED, abs=3)


def test_sixteen_bits_keep_their_upper_eight() -> None:
    grey = np.full((40, 50), 0x8040, ">u2")
    assert _middle(_png16(b"".join(b"\0" + row.tobytes() for row in grey), 50, 40, 0)) == (0x80,) * 3
    rgb = np.tile(np.array([0xFF00, 0x8000, 0x0000], ">u2"), (40, 50))
    assert _middle(_png16(b"".join(b"\0" + row.tobytes() for row in rgb), 50, 40, 2)) == (0xFF, 0x80, 0)


def test_floating_point_is_stretched(save: Save) -> None:
    ramp = Image.fromarray(np.linspace(-3.0, 5.0, 64, dtype=np.float32)[None].repeat(64, 0))
    tile = _tile(save(ramp, "TIFF"))
    assert tile[0, 0, 0] < 5
    assert tile[0, 31, 0] > 250


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "L", "RGB"])
def test_transparent_is_white(save: Save, mode: str) -> None:
    if mode in ("RGBA", "LA"):
        clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0)).convert(mode)
        assert _middle(save(clear, "PNG")) == WHITE
    elif mode == "PA":
        clear = Image.new("P", (64, 64), 3)
        clear.putpalette([0, 0, 0, 9, 9, 9, 80, 80, 80, 200, 0, 0])
        assert _middle(save(clear, "PNG", transparency=bytes([255, 255, 255, 0]))) == WHITE
    else:
        key = (0, 0, 0) if mode == "RGB" else 0
        assert _middle(save(Image.new(mode, (64, 64), 0), "PNG", transparency=key)) == WHITE


def test_half_transparent_is_half_white(save: Save) -> None:
    assert _middle(save(Image.new("RGBA", (64, 64), (255, 0, 0, 128)), "WEBP", lossless=True)) == (255, 127, 127)


@pytest.mark.parametrize("mode", ["1", "L", "P"])
@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF"])
def test_small_modes_decode(save: Save, photo: Photo, mode: str, format: str) -> None:
    picture = photo().convert(mode)
    expected = np.asarray(picture.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))
    assert _difference(_tile(save(picture, format)), expected) < 1


@pytest.mark.parametrize("size", [(1283, 1027), (1027, 1283), (519, 517), (401, 2049)])
def test_reduced_jpeg_lies_where_the_whole_one_does(save: Save, photo: Photo, size: tuple[int, int]) -> None:
    picture = photo(*size)
    media = open_media(save(picture, "JPEG", quality=95, subsampling=0), 128)
    assert (media.width, media.height) == size
    (frame,) = media.frames
    whole = np.asarray(picture.resize((128, 128), Image.Resampling.BILINEAR))
    assert _difference(frame.tile, whole) < 1.5


@pytest.mark.parametrize("size", [(7, 5), (1, 1), (3000, 2)])
def test_small_and_narrow_pictures_fill_the_tile(save: Save, photo: Photo, size: tuple[int, int]) -> None:
    picture = photo(*size)
    expected = np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(_tile(save(picture, "PNG")).astype(int) - expected).max() <= 1


def test_large_picture_in_strips_is_as_in_one(save: Save, photo: Photo) -> None:
    picture = photo(4001, 2101)  # 8.4 million pixels, several strips
    expected = np.asarray(picture.resize((64, 64), Image.Resampling.BILINEAR))
    tile = _tile(save(picture.convert("RGBA"), "PNG", compress_level=1), 64)
    assert _difference(tile, expected) < 1


def _digest(content: bytes) -> bytes:
    digest = open_media(content, 32).pixels_digest
    assert len(digest) == 16
    return digest


def test_digest_ignores_metadata(save: Save, photo: Photo) -> None:
    bare, described = save(photo(), "JPEG"), save(photo(), "JPEG", comment=b"by me", exif=_exif(1), dpi=(300, 300))
    assert bare != described
    assert _digest(bare) == _digest(described)


def test_digest_is_that_of_the_pixels_not_of_the_format(save: Save, photo: Photo) -> None:
    digests = {
        _digest(save(photo(), "PNG")),
        _digest(save(photo(), "WEBP", lossless=True)),
        _digest(save(photo(), "BMP")),
        _digest(save(photo(), "TIFF", compression="tiff_lzw")),
        _digest(save(photo().convert("RGBA"), "PNG")),
    }
    assert len(digests) == 1


def test_digest_tells_pictures_apart(save: Save, photo: Photo) -> None:
    picture = photo()
    other = picture.copy()
    other.putpixel((70, 50), tuple(v ^ 1 for v in other.getpixel((70, 50))))  # type: ignore[union-attr]
    wide, high = Image.new("L", (60, 20)), Image.new("L", (20, 60))
    contents = [save(p, "PNG") for p in (picture, other, wide, high)]
    contents += [save(picture, "PNG", exif=_exif(3)), save(picture, "JPEG")]
    assert len({_digest(content) for content in contents}) == len(contents)


def _refusal(content: bytes, limits: Limits = Limits()) -> Reason:  # noqa: B008
    with pytest.raises(InvalidFrame) as caught:
        open_media(content, 32, limits)
    return caught.value.reason


def test_huge_picture_is_refused_by_its_header(save: Save) -> None:
    png = bytearray(save(Image.new("L", (8, 8)), "PNG"))
    png[16:24] = struct.pack(">II", 50_000, 50_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    assert _refusal(bytes(png)) is Reason.BOMB
    assert soonest(lambda: _refusal(bytes(png)), 0.5, clock=time.process_time) < 0.5


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_pixel_limit_is_checked_before_decoding(save: Save, photo: Photo, format: str) -> None:
    content = save(photo(100, 100), format)
    open_media(content, 32, Limits(max_pixels=10_000))
    assert _refusal(content, Limits(max_pixels=9_999)) is Reason.BOMB


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_animation_of_too_many_pixels_in_all_is_refused(save: Save, format: str) -> None:
    frames = [Image.new("L", (10, 10), 2 * shade) for shade in range(101)]
    content = save(frames[0], format, save_all=True, append_images=frames[1:], lossless=True)
    assert open_media(content, 32, Limits(max_pixels=101)).kind is Kind.VIDEO
    assert _refusal(content, Limits(max_pixels=100)) is Reason.BOMB


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_picture_cut_off_before_its_half_is_truncated(save: Save, photo: Photo, format: str) -> None:
    content = save(photo(), format)
    assert _refusal(content[: int(0.3 * len(content))]) is Reason.TRUNCATED


def test_broken_picture_is_decode(save: Save, photo: Photo) -> None:
    png = bytearray(save(photo(), "PNG"))
    png[len(png) // 2] ^= 1  # the checksum of its chunk is now wrong
    assert _refusal(bytes(png)) is Reason.DECODE


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")
def test_picture_with_broken_exif_decodes(save: Save, photo: Photo) -> None:
    exif = _exif(6).tobytes()
    content = save(photo(120, 90), "JPEG", exif=exif[:20] + bytes(20))
    assert (open_media(content, 32).width, open_media(content, 32).height) == (120, 90)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "HEIF"])
def test_thumbnail_keeps_the_aspect_ratio(save: Save, photo: Photo, format: str) -> None:
    content = save(photo(1200, 400), format)
    picture = thumbnail(content, 90)
    assert picture.shape == (30, 90, 3)
    assert _difference(picture, np.asarray(photo(1200, 400).resize((90, 30)))) < 12
    assert thumbnail(save(photo(40, 20), format), 90).shape == (20, 40, 3)


def test_thumbnail_of_no_picture_is_refused() -> None:
    with pytest.raises(InvalidFrame, match="format"):
        thumbnail(b"text", 90)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("beyond", [2**62, 2**63, 2**64 - 1])
def test_places_in_a_tiff_beyond_what_there_can_be_end_it(order: str, beyond: int) -> None:
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HHH", 43, 8, 0)
    entry = struct.pack(order + "HHQQ", 256, 16, 9, beyond)
    for rest in (
        struct.pack(order + "Q", beyond),
        struct.pack(order + "QQ", 16, 1) + entry + struct.pack(order + "Q", beyond),
        struct.pack(order + "QQ", 16, beyond) + bytes(64),
    ):
        assert len(read_pages(head + rest, 9)) <= 1
        check_strips(head + rest)
        with suppress(struct.error):
            first_page(head + rest)
