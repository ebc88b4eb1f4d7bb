"""What makes two pictures exact copies, and what does not; what is looked at of deep, clear and cut-off ones."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageDraw, ImageOps

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.identify import JPEG
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.types import Attachment, Extras, Limits, Media, Pixels

Photo = Callable[..., Image.Image]
Save = Callable[..., bytes]
SIZE = 64


def opened(content: bytes, size: int = SIZE) -> Media:
    return open_media(content, size)


def tile(content: bytes, size: int = SIZE) -> Pixels:
    return next(open_media(content, size).frames).tile


def digests(*contents: bytes) -> list[bytes]:
    return [opened(content).pixels_digest for content in contents]


def all_differ(*contents: bytes) -> bool:
    found = digests(*contents)
    return all(found) and len(set(found)) == len(found)


def all_equal(*contents: bytes) -> bool:
    found = digests(*contents)
    return all(found) and len(set(found)) == 1


def logo(shape: str, colour: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    picture = Image.new("RGBA", (128, 128), (*colour, 0))
    draw = ImageDraw.Draw(picture)
    if shape == "disc":
        draw.ellipse((20, 20, 108, 108), fill=(*colour, 255))
    elif shape == "bar":
        draw.rectangle((10, 50, 118, 78), fill=(*colour, 255))
    else:
        draw.polygon([(64, 8), (120, 116), (8, 116)], fill=(*colour, 255))
    return picture


def mask(seed: int, dtype: type = np.uint16) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = np.zeros((96, 128), dtype)
    for label in range(1, 30):
        y, x = rng.integers(0, 86), rng.integers(0, 112)
        values[y : y + 10, x : x + 16] = label
    return values


# -- exact -------------------------------------------------------------------------------------------------------------


def test_alpha_and_the_colours_beneath_it_count(save: Save) -> None:
    hidden = np.zeros((20, 30, 4), np.uint8)
    other = hidden.copy()
    other[..., 0] = 9
    faint = hidden.copy()
    faint[3, 4, 3] = 1
    white = [save(logo(shape), "PNG") for shape in ("disc", "bar", "roof")]
    assert all_differ(*white, *(save(Image.fromarray(a), "PNG") for a in (hidden, other, faint)))
    dots = [save(Image.new("RGBA", (1, 1), (60 * i, 0, 0, 0)), "GIF") for i in range(3)]
    assert all_differ(*dots)


def test_opaque_alpha_is_none(save: Save, photo: Photo) -> None:
    assert all_equal(save(photo(), "PNG"), save(photo().convert("RGBA"), "PNG"), save(photo(), "WEBP", lossless=True))
    assert opened(save(photo().convert("RGBA"), "PNG")).extras == Extras()
    assert opened(save(logo("bar"), "WEBP", lossless=True)).extras.attachments == (Attachment.ALPHA,)


def test_every_bit_counts(save: Save) -> None:
    low = mask(1)
    lower = low.copy()
    lower[5, 5] ^= 1
    assert all_differ(*(save(Image.fromarray(values), "PNG") for values in (low, lower)))
    colours = np.stack([low, low, low], axis=2) * 900
    other = colours.copy()
    other[7, 7, 1] ^= 1
    assert all_differ(*(imagecodecs.png_encode(values) for values in (colours, other)))
    assert all_equal(save(Image.fromarray(low), "PNG"), save(Image.fromarray(low), "TIFF", compression="tiff_lzw"))
    png, tiff = imagecodecs.png_encode(colours), imagecodecs.tiff_encode(colours, photometric="rgb")
    assert np.array_equal(tile(png), tile(tiff))
    assert (opened(png).extras.bits, opened(tiff).extras.bits) == (16, 16)
    eight = save(Image.fromarray((colours >> 8).astype(np.uint8)), "PNG")
    assert all_differ(png, eight)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_deep_colours_are_the_same_as_png_and_as_tiff(channels: int) -> None:
    values = np.random.default_rng(channels).integers(0, 2**16, (24, 32, channels), dtype=np.uint16)
    look = "minisblack" if channels == 2 else "rgb"
    extra = {} if channels == 3 else {"extrasamples": ["unassalpha"]}
    plain, packed = io.BytesIO(), io.BytesIO()
    tifffile.imwrite(plain, values, photometric=look, **extra)
    tifffile.imwrite(packed, values, photometric=look, compression="zlib", **extra)
    assert all_equal(imagecodecs.png_encode(values), plain.getvalue(), packed.getvalue())


def test_a_large_tiff_of_either_byte_order_is_read() -> None:
    values = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    tiles = []
    for order in "<>":
        file = io.BytesIO()
        tifffile.imwrite(file, values, photometric="rgb", bigtiff=True, byteorder=order)
        tiles.append(tile(file.getvalue()))
    assert np.array_equal(*tiles)


def test_the_profile_of_a_deep_tiff_counts() -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (24, 32, 3), dtype=np.uint16)

    def saved(profile: bytes | None) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, values, photometric="rgb", iccprofile=profile)
        return file.getvalue()

    assert all_differ(saved(None), saved(b"one profile" * 20), saved(b"other profile" * 20))
    assert all_equal(saved(b"one profile" * 20), saved(b"one profile" * 20))


def test_profiles_and_gammas_count(save: Save, photo: Photo) -> None:
    png = save(photo(), "PNG")
    gamma = png[:33] + struct.pack(">I", 4) + b"gAMA" + struct.pack(">II", 100_000, 0x31E8965F) + png[33:]
    assert all_differ(
        png, gamma, save(photo(), "PNG", icc_profile=b"one"), save(photo(), "WEBP", lossless=True, icc_profile=b"two")
    )


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("value", [3, 6, 7])
def test_the_same_picture_upright_is_the_same(save: Save, photo: Photo, format: str, value: int) -> None:
    exif = Image.Exif()
    exif[274] = value
    turned = save(photo(), format, exif=exif, **({"lossless": True} if format == "WEBP" else {}))
    upright = save(ImageOps.exif_transpose(Image.open(io.BytesIO(turned))).convert("RGB"), "BMP")
    assert all_equal(turned, upright)


def test_small_jpeg_is_its_pixels_and_a_large_one_what_is_stored(save: Save, photo: Photo) -> None:
    for progressive in (False, True):
        small = save(photo(90, 80), "JPEG", progressive=progressive)
        assert all_equal(small, save(Image.open(io.BytesIO(small)), "PNG"))
    large = save(photo(900, 800), "JPEG")
    png = save(Image.open(io.BytesIO(large)), "PNG")
    assert all_differ(large, png)
    exif = Image.Exif()
    exif[271] = "a camera"
    assert all_equal(large, save(photo(900, 800), "JPEG", exif=exif, comment=b"by me"))
    assert all_differ(large, save(photo(900, 800, 1), "JPEG"))


@pytest.mark.parametrize("side", [80, 800])
def test_what_hangs_on_a_jpeg_counts(save: Save, photo: Photo, side: int) -> None:
    bare = save(photo(side, side), "JPEG")
    assert all_differ(bare, bare + b"ad", bare + b"\0\0\0\x18ftypmp42", bare + save(photo(), "JPEG"))
    assert all_equal(bare, bare + bytes(50))


def test_what_is_passed_over_claims_nothing(save: Save, photo: Photo) -> None:
    png = save(photo(), "PNG")
    layers = png[:33] + struct.pack(">I", 4) + b"mkBTmore" + struct.pack(">I", zlib.crc32(b"mkBTmore")) + png[33:]
    thumbnail = io.BytesIO()
    photo().save(thumbnail, "TIFF", save_all=True, append_images=[photo(30, 20)], tiffinfo={254: 0})
    nothing = [png + b"PK\x03\x04", layers, save(photo(), "JPEG2000"), save(photo(), "PPM"), thumbnail.getvalue()]
    assert digests(*nothing) == [b""] * len(nothing)


# -- what is seen ------------------------------------------------------------------------------------------------------


def test_white_on_transparent_is_seen(save: Save) -> None:
    tiles = [tile(save(logo(shape), "PNG")) for shape in ("disc", "bar", "roof")]
    assert all(found.std() > 50 for found in tiles)
    assert opened(save(logo("disc"), "PNG")).extras.dark_ground
    assert not opened(save(logo("disc", (200, 30, 30)), "PNG")).extras.dark_ground
    assert all(np.abs(a.astype(int) - b).mean() > 30 for a, b in pairwise(tiles))


@pytest.mark.parametrize("colour", [(20, 20, 20), (200, 30, 30), (200, 200, 200), (250, 230, 60)])
def test_what_is_seen_on_white_stays_on_white(save: Save, colour: tuple[int, int, int]) -> None:
    picture = logo("roof", colour)
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=picture.getchannel("A"))
    assert np.array_equal(tile(save(picture, "PNG")), tile(save(white, "PNG")))


def test_photograph_with_round_corners_stays_on_white(save: Save, photo: Photo) -> None:
    picture = photo(300, 200)
    corners = Image.new("L", picture.size, 0)
    ImageDraw.Draw(corners).rounded_rectangle((0, 0, 299, 199), 40, fill=255)
    picture.putalpha(corners)
    assert tuple(tile(save(picture, "PNG"))[0, 0]) == (255, 255, 255)
    paper = Image.new("RGBA", (300, 200), (250, 250, 250, 255))
    ImageDraw.Draw(paper).text((40, 40), "many words\n" * 8, fill=(0, 0, 0, 255))
    paper.putalpha(corners)
    assert tuple(tile(save(paper, "PNG"))[0, 0]) == (255, 255, 255)


def test_white_words_beside_a_coloured_sign_are_seen(save: Save) -> None:
    tiles = []
    for words in ("ACME", "BOLT"):
        picture = Image.new("RGBA", (200, 80), (255, 255, 255, 0))
        draw = ImageDraw.Draw(picture)
        draw.ellipse((5, 25, 25, 45), fill=(220, 0, 0, 255))
        draw.text((40, 15), words, fill=(255, 255, 255, 255), font_size=48)
        tiles.append(tile(save(picture, "PNG")))
    assert np.abs(tiles[0].astype(int) - tiles[1]).mean() > 10


def test_little_of_the_range_is_stretched(save: Save) -> None:
    for values in (mask(1), mask(1).astype(np.int32), 800 + 40 * mask(1)):
        found = tile(save(Image.fromarray(values), "TIFF"))
        assert found.max() > 220
        assert found.min() < 20
    assert np.array_equal(tile(save(Image.fromarray(mask(1)), "PNG")), tile(save(Image.fromarray(mask(1)), "TIFF")))


def test_one_hot_pixel_does_not_hide_a_slice(save: Save) -> None:
    rng = np.random.default_rng(0)
    slice_ = (500 + 400 * rng.random((8, 8))).astype(np.uint16).repeat(16, 0).repeat(16, 1)
    hot = slice_.copy()
    hot[3, 3] = 65535
    assert (
        np.abs(tile(save(Image.fromarray(slice_), "PNG")).astype(int) - tile(save(Image.fromarray(hot), "PNG"))).max()
        < 80
    )
    assert tile(save(Image.fromarray(hot), "PNG")).std() > 50


def test_full_range_looks_as_its_eight_bits(save: Save, photo: Photo) -> None:
    picture = photo().convert("RGB")
    deep = np.asarray(picture).astype(np.uint16) * 257
    eight = tile(save(picture, "PNG"))
    floats = imagecodecs.tiff_encode(np.asarray(picture).astype(np.float32) / 255, photometric="rgb")
    for content in (imagecodecs.png_encode(deep), imagecodecs.tiff_encode(deep, photometric="rgb"), floats):
        assert np.abs(tile(content).astype(int) - eight).max() <= 1


def test_jpeg_xl_is_read(photo: Photo, save: Save) -> None:
    pixels = np.asarray(photo(150, 100))
    for options in ({}, {"usecontainer": True}):
        media = opened(imagecodecs.jpegxl_encode(pixels, lossless=True, **options))
        assert (media.format, media.width, media.height, media.pixels_digest) == ("jxl", 150, 100, b"")
        assert np.array_equal(next(media.frames).tile, tile(save(photo(150, 100), "PNG")))


@pytest.mark.parametrize(("form", "name"), [("JPEG2000", "jpeg2000"), ("PPM", "pnm"), ("TGA", "tga"), ("PCX", "pcx")])
def test_older_formats_are_read(photo: Photo, save: Save, form: str, name: str) -> None:
    media = opened(save(photo(200, 150), form))
    assert media.format == name
    assert np.abs(next(media.frames).tile.astype(int) - tile(save(photo(200, 150), "PNG"))).mean() < 1


# -- cut off -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("zeros", [False, True])
def test_cut_off_jpeg_is_compared_by_what_is_there(photo: Photo, save: Save, progressive: bool, zeros: bool) -> None:
    whole = save(photo(600, 400), "JPEG", quality=90, progressive=progressive)
    cut = whole[: len(whole) * 7 // 10]
    media = opened(cut + bytes(len(whole) - len(cut)) if zeros else cut)
    assert not media.extras.complete
    assert (media.pixels_digest, media.width, media.height) == (b"", 600, 400)
    found, expected = next(media.frames).tile.astype(int), tile(whole)
    assert np.abs(found - expected)[:30].mean() < 4  # the upper half is where it was
    assert opened(whole).extras.complete


def test_cut_off_png_is_compared_by_what_is_there(save: Save) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).resize((320, 240))
    whole = save(noise, "PNG")
    media = opened(whole[: len(whole) * 7 // 10])
    assert not media.extras.complete
    assert media.pixels_digest == b""
    assert np.abs(next(media.frames).tile.astype(int) - tile(whole))[:30].mean() < 2


def test_less_than_half_is_truncated(photo: Photo, save: Save) -> None:
    whole = save(photo(600, 400), "JPEG", quality=90)
    with pytest.raises(InvalidFrame) as caught:
        opened(whole[: len(whole) * 4 // 10])
    assert caught.value.reason is Reason.TRUNCATED
    assert "not processed" not in caught.value.detail
    assert JPEG.name in caught.value.detail


# -- memory ------------------------------------------------------------------------------------------------------------

_LOAD = """
import resource, sys
from neardup.pipeline.media.reader import open_media
small, large = (open(path, "rb").read() for path in sys.argv[1:])
list(open_media(small, 64).frames)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
list(open_media(large, 64).frames)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


@pytest.mark.parametrize(("form", "per_pixel"), [("HEIF", 9), ("AVIF", 11), ("PNG", 4)])
def test_decoding_takes_no_more_memory_than_is_reckoned(tmp_path: Path, save: Save, form: str, per_pixel: int) -> None:
    for name, side in (("small", 64), ("large", 3000)):
        (tmp_path / name).write_bytes(save(Image.new("RGB", (side, side), (90, 60, 30)), form))
    # Through a shell: a process has the peak of the one that started it for its own.
    command = [
        "/bin/sh",
        "-c",
        '"$0" -c "$@"; exit $?',
        sys.executable,
        _LOAD,
        *(str(tmp_path / n) for n in ("small", "large")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    constant = 80 * 2**20  # strips, and what the allocator keeps
    assert 0.5 * per_pixel * 3000**2 < int(done.stdout) <= per_pixel * 3000**2 + constant


@pytest.mark.parametrize(("form", "per_pixel"), [("HEIF", 9), ("AVIF", 11), ("WEBP", 17), ("PNG", 4)])
def test_picture_that_takes_too_much_memory_is_refused(save: Save, form: str, per_pixel: int) -> None:
    content = save(Image.new("RGB", (400, 300)), form)
    opened(content)
    open_media(content, SIZE, Limits(max_picture_memory_bytes=per_pixel * 400 * 300))
    with pytest.raises(InvalidFrame, match="NEARDUP_MAX_PICTURE_MEMORY_BYTES") as caught:
        open_media(content, SIZE, Limits(max_picture_memory_bytes=per_pixel * 400 * 300 - 1))
    assert caught.value.reason is Reason.BOMB


@pytest.mark.parametrize(("mode", "per_pixel"), [("RGB", 10), ("RGBA", 18)])
def test_a_long_and_low_picture_takes_memory_for_what_is_not_reduced(save: Save, mode: str, per_pixel: int) -> None:
    content = save(Image.new(mode, (3000, 3 * SIZE)), "PNG")
    limit = per_pixel * 3000 * 3 * SIZE
    open_media(content, SIZE, Limits(max_picture_memory_bytes=limit))
    with pytest.raises(InvalidFrame, match="NEARDUP_MAX_PICTURE_MEMORY_BYTES"):
        open_media(content, SIZE, Limits(max_picture_memory_bytes=limit - 1))
