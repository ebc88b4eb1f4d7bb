from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image

from neardup.pipeline.media.jpeg import read_jpeg, read_plain_jpeg

Photo = Callable[..., Image.Image]
Save = Callable[..., bytes]


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return exif.tobytes()


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_what_cameras_write_is_plain(photo: Photo, save: Save, subsampling: int) -> None:
    header = read_plain_jpeg(save(photo(120, 90), "JPEG", subsampling=subsampling, exif=turned(6), comment=b"hello"))
    assert header is not None
    assert (header.width, header.height, header.orientation) == (120, 90, 6)


def test_grey_is_plain(photo: Photo, save: Save) -> None:
    assert read_plain_jpeg(save(photo(30, 20).convert("L"), "JPEG")) is not None


def test_restart_intervals_and_padding_before_markers_are_plain(photo: Photo, save: Save) -> None:
    data = save(photo(30, 20), "JPEG", restart_marker_rows=1)
    assert read_plain_jpeg(data) is not None
    assert read_plain_jpeg(data[:2] + b"\xff\xff" + data[2:]) is not None


def test_progressive_cmyk_and_rgb_jpegs_are_not_plain(photo: Photo, save: Save) -> None:
    assert read_plain_jpeg(save(photo(30, 20), "JPEG", progressive=True)) is None
    assert read_plain_jpeg(save(photo(30, 20).convert("CMYK"), "JPEG")) is None
    assert read_plain_jpeg(save(photo(30, 20), "JPEG", keep_rgb=True)) is None


def test_twelve_bits_two_frames_and_scans_of_one_colour_are_not_plain(photo: Photo, save: Save) -> None:
    data = save(photo(30, 20), "JPEG")
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    assert read_plain_jpeg(data[: frame + 4] + b"\x0c" + data[frame + 5 :]) is None
    assert read_plain_jpeg(data[:frame] + data[frame : frame + 19] + data[frame:]) is None
    assert read_plain_jpeg(data[: scan + 4] + b"\x01" + data[scan + 5 :]) is None


def test_no_jpeg_and_any_beginning_of_one_are_not_plain(photo: Photo, save: Save) -> None:
    data = save(photo(30, 20), "JPEG", exif=turned(3))
    begins = data.index(b"\xff\xda") + 5
    assert read_plain_jpeg(save(photo(30, 20), "PNG")) is None
    assert all(read_plain_jpeg(data[:end]) is None for end in range(begins))


def test_thousands_of_segments_are_not_walked_through(photo: Photo, save: Save) -> None:
    data = save(photo(30, 20), "JPEG")
    assert read_plain_jpeg(data[:2] + 900 * b"\xff\xfe\x00\x02" + data[2:]) is not None
    assert read_plain_jpeg(data[:2] + 9000 * b"\xff\xfe\x00\x02" + data[2:]) is None


def test_the_digest_leaves_metadata_out(photo: Photo, save: Save) -> None:
    picture = photo(30, 20)
    files = [save(picture, "JPEG"), save(picture, "JPEG", exif=turned(1), comment=b"hello", dpi=(300, 300))]
    files.append(with_segment(files[0], 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"))
    digests = {header.digest for header in map(read_jpeg, files) if header is not None}
    assert len(digests) == 1
    assert len(digests.pop()) == 16


@pytest.mark.parametrize("progressive", [False, True])
def test_the_digest_tells_profiles_tails_and_unknown_segments_apart(
    photo: Photo, save: Save, progressive: bool
) -> None:
    bare = save(photo(30, 20), "JPEG", progressive=progressive)
    files = [
        bare,
        save(photo(30, 20), "JPEG", progressive=progressive, icc_profile=b"a profile"),
        save(photo(30, 20), "JPEG", progressive=progressive, icc_profile=b"another one"),
        bare + b"a film",
        bare + save(photo(30, 20).convert("L"), "JPEG"),  # a gain map
        with_segment(bare, 0xE1, b"FLIR\0a heat map"),
        with_segment(bare, 0xE1, b"http://ns.adobe.com/xmp/extension/\0a depth map"),
        with_segment(bare, 0xEB, b"JP residuals"),
    ]
    assert len({header.digest for header in map(read_jpeg, files) if header is not None}) == len(files)


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    return data[:2] + bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body + data[2:]


def test_the_digest_tells_pictures_orientations_and_sizes_apart(photo: Photo, save: Save) -> None:
    file = io.BytesIO()
    photo(30, 20).save(file, "JPEG", quality=50)
    files = [
        save(photo(30, 20), "JPEG"),
        file.getvalue(),
        save(photo(30, 20, 1), "JPEG"),
        save(photo(30, 20), "JPEG", exif=turned(3)),
    ]
    assert len({header.digest for header in map(read_plain_jpeg, files) if header is not None}) == len(files)
