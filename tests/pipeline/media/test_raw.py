"""RAW files built by hand: the directories that cameras write, around a preview."""

from __future__ import annotations

import contextlib
import io
import struct
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.reader import frame_at, open_media
from neardup.pipeline.types import Media

SIZE = 64
CFA, REDUCED, LONG, SHORT = 32803, 1, 4, 3


def a_jpeg(width: int = 300, height: int = 200, colour: str = "red") -> bytes:
    target = io.BytesIO()
    picture = Image.new("RGB", (width, height), "white")
    picture.paste(colour, (0, 0, width // 2, height))
    picture.save(target, "JPEG", quality=90)
    return target.getvalue()


@dataclass
class Directory:
    """Tags of one TIFF directory, and those of the directories below it."""

    tags: dict[int, int] = field(default_factory=dict)
    below: list[Directory] = field(default_factory=list)


def a_tiff(first: Directory, *blobs: bytes, order: str = "<", magic: bytes = b"*\x00", head: bytes = b"") -> bytes:
    """Return a TIFF with its directories, followed by whatever else."""
    out = bytearray((b"II" if order == "<" else b"MM") + (magic if order == "<" else magic[::-1]) + bytes(4) + head)

    def write(directory: Directory) -> int:
        below = [write(one) for one in directory.below]
        entries = [(tag, LONG, 1, struct.pack(order + "I", value)) for tag, value in directory.tags.items()]
        if below:
            place = len(out)
            out.extend(struct.pack(f"{order}{len(below)}I", *below))
            value = struct.pack(order + "I", below[0] if len(below) == 1 else place)
            entries.append((330, LONG, len(below), value))
        place = len(out)
        out.extend(struct.pack(order + "H", len(entries)))
        for tag, kind, count, value in sorted(entries):
            out.extend(struct.pack(order + "HHI", tag, kind, count) + value)
        out.extend(bytes(4))
        return place

    out[4:8] = struct.pack(order + "I", write(first))
    return bytes(out) + b"".join(blobs)


def sensor(width: int = 600, height: int = 400, **more: int) -> Directory:
    return Directory({254: 0, 256: width, 257: height, 262: more.get("photometric", CFA), 259: more.get("codec", 1)})


def thumbnail(turn: int = 1, *below: Directory) -> Directory:
    return Directory({254: REDUCED, 256: 160, 257: 120, 262: 2, 274: turn}, list(below))


DNG = a_tiff(Directory({**thumbnail().tags, 50706: 0x01040000}, [sensor()]), a_jpeg(160, 120), a_jpeg(), bytes(99))
FILES = {
    "dng": DNG,
    "raw": a_tiff(thumbnail(1, sensor(photometric=1)), a_jpeg(), order=">"),
    "cr2": a_tiff(Directory({256: 600, 257: 400}), a_jpeg(), head=b"CR\x02\x00\x00\x00\x00\x00"),
    "rw2": a_tiff(Directory({2: 620, 3: 420, 4: 10, 5: 8, 6: 410, 7: 608}), a_jpeg(), magic=b"U\x00"),
    "orf": a_tiff(Directory({256: 600, 257: 400}), a_jpeg(), magic=b"RO"),
    "raf": b"FUJIFILMCCD-RAW 0201" + bytes(100) + a_jpeg(),
    "cr3": b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom" + bytes(40) + a_jpeg(160, 120) + a_jpeg(),
}


def opened(data: bytes) -> Media:
    return open_media(data, SIZE)


@pytest.mark.parametrize("name", FILES)
def test_raw_is_told_by_content_and_shown_by_its_largest_preview(name: str) -> None:
    media = opened(FILES[name])
    assert (media.format, media.extras.raw, media.pixels_digest) == (name, True, b"")
    assert (media.width, media.height) == ((300, 200) if name in ("raf", "cr3") else (600, 400))
    [frame] = media.frames
    assert frame.tile[10, 10, 0] > 200 > frame.tile[10, 10, 1]
    assert frame.tile[10, -10].min() > 240
    assert frame_at(FILES[name], 0, 300).shape == (200, 300, 3)


def test_the_camera_was_upright_as_the_raw_file_says() -> None:
    media = opened(a_tiff(thumbnail(6, sensor()), a_jpeg()))
    assert (media.width, media.height) == (400, 600)
    [frame] = media.frames
    assert frame.tile[5, 30, 1] < 60  # red is above after a quarter turn to the right
    assert frame.tile[-5, 30].min() > 240


def test_without_a_jpeg_the_first_directory_is_shown() -> None:
    target = io.BytesIO()
    Image.new("RGB", (160, 120), "blue").save(target, "TIFF", tiffinfo={254: 1, 50706: b"\x01\x04\x00\x00"})
    plain = target.getvalue()
    assert opened(plain).format == "tiff"
    with_sensor = bytearray(plain)
    place = len(with_sensor)
    with_sensor += a_tiff(sensor())[8:]  # places in it count from its own start, and it has none
    start = struct.unpack_from("<I", plain, 4)[0]
    count = struct.unpack_from("<H", plain, start)[0]
    struct.pack_into("<I", with_sensor, start + 2 + 12 * count, place)
    media = opened(bytes(with_sensor))
    assert (media.format, media.width, media.height, media.extras.raw) == ("dng", 600, 400, True)


def test_a_pyramid_and_a_book_of_pages_are_no_raw() -> None:
    for options in ({"save_all": True, "append_images": [Image.new("RGB", (900, 900))]}, {}):
        target = io.BytesIO()
        Image.new("RGB", (300, 200), "red").save(target, "TIFF", **options)  # type: ignore[arg-type]
        assert (opened(target.getvalue()).format, opened(target.getvalue()).extras.raw) == ("tiff", False)


def test_a_raw_file_without_a_preview_says_so() -> None:
    with pytest.raises(InvalidFrame, match="without a preview") as caught:
        opened(a_tiff(sensor()))
    assert caught.value.reason is Reason.DECODE


def test_sensor_data_that_looks_like_a_jpeg_is_passed_over() -> None:
    lossless = b"\xff\xd8\xff\xdb\x00\x04ab\xff\xc3\x00\x11\x08\x10\x00\x10\x00\x03" + bytes(40)
    huge = b"\xff\xd8\xff\xe0\x00\x02\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03" + bytes(40)
    media = opened(a_tiff(thumbnail(1, sensor()), lossless, huge, a_jpeg()))
    assert next(media.frames).tile[10, 10, 0] > 200


def test_directories_that_go_in_a_circle_end() -> None:
    circle = bytearray(DNG)
    start = struct.unpack_from("<I", DNG, 4)[0]
    count = struct.unpack_from("<H", DNG, start)[0]
    struct.pack_into("<I", circle, start + 2 + 12 * count, start)
    assert opened(bytes(circle)).format == "dng"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_a_damaged_raw_file_is_read_or_refused(name: str, draw: st.DataObject) -> None:
    data = bytearray(FILES[name])
    for _ in range(draw.draw(st.integers(1, 6))):
        data[draw.draw(st.integers(0, min(len(data), 400) - 1))] = draw.draw(st.integers(0, 255))
    data = data[: draw.draw(st.integers(1, len(data)))]
    with contextlib.suppress(InvalidFrame):
        list(opened(bytes(data)).frames)
