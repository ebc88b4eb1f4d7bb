from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from neardup.pipeline.media.reader import open_media
from neardup.pipeline.types import Attachment

Photo = Callable[..., Image.Image]
Save = Callable[..., bytes]
FILM = b"\x00\x00\x00\x18ftypmp42" + bytes(300) + b"mdat"
XMP = b"http://ns.adobe.com/xap/1.0/\x00<x:xmpmeta xmlns:hdrgm='hdrgm' hdrgm:Version='1.0'/>"
APPLE = b"http://ns.apple.com/HDRGainMap/1.0/"


def attached(content: bytes) -> tuple[Attachment, ...]:
    return open_media(content, 32).extras.attachments


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    return data[:2] + bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body + data[2:]


def mpf(*kinds: int) -> bytes:
    """An MP index (CIPA DC-007) that names pictures of these types, the first one included."""
    entries = b"".join(struct.pack("<IIIHH", kind, 1000, 0, 0, 0) for kind in kinds)
    index = struct.pack("<H", 2) + struct.pack("<HHII", 0xB001, 4, 1, len(kinds))
    index += struct.pack("<HHII", 0xB002, 7, len(entries), 8 + 2 + 24 + 4) + bytes(4)
    return b"MPF\x00II*\x00\x08\x00\x00\x00" + index + entries


@pytest.mark.parametrize("side", [60, 500])
def test_what_hangs_on_a_jpeg(photo: Photo, save: Save, side: int) -> None:
    bare, second = save(photo(side, side), "JPEG"), save(photo(30, 20).convert("L"), "JPEG")
    assert attached(bare) == ()
    assert attached(bare + b"an advertisement") == ()
    assert attached(bare + FILM) == (Attachment.FILM,)
    assert attached(bare + b"MotionPhoto_Data" + FILM + b"SEFT") == (Attachment.FILM,)
    assert attached(with_segment(bare, 0xE1, XMP) + second) == (Attachment.GAIN_MAP,)
    assert attached(with_segment(bare, 0xE1, XMP)) == ()  # the map itself was removed
    apple = with_segment(second, 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + APPLE)
    assert attached(with_segment(bare, 0xE2, mpf(0x030000, 0)) + apple) == (Attachment.GAIN_MAP,)
    assert attached(with_segment(bare, 0xE2, mpf(0x030000, 0x020002)) + second) == (Attachment.VIEWS,)
    assert attached(with_segment(bare, 0xE2, mpf(0x030000, 0x010001)) + second) == ()  # a preview
    both = with_segment(with_segment(bare, 0xE2, mpf(0x030000, 0)), 0xE1, XMP)
    assert attached(both + second + FILM) == (Attachment.GAIN_MAP, Attachment.FILM)


def test_stereo_picture_has_views(photo: Photo, save: Save) -> None:
    content = save(photo(), "MPO", save_all=True, append_images=[photo(seed=1)])
    assert attached(content) == (Attachment.VIEWS,)
    assert open_media(content, 32).pixels_digest != open_media(save(photo(), "JPEG"), 32).pixels_digest


def test_what_hangs_on_a_heic(photo: Photo, save: Save) -> None:
    bare = save(photo(), "HEIF")
    assert attached(bare) == ()
    assert open_media(bare, 32).pixels_digest
    film = bare + struct.pack(">I", 8 + len(FILM)) + b"mpvd" + FILM
    assert attached(film) == (Attachment.FILM,)
    assert open_media(film, 32).pixels_digest == b""
    clear = photo().convert("RGBA")
    clear.putalpha(90)
    assert attached(save(clear, "HEIF")) == (Attachment.ALPHA,)


def test_ten_bits_of_a_heic_claim_nothing(photo: Photo, tmp_path: Path) -> None:
    values = np.asarray(photo()).astype(np.uint16) * 257
    file = pillow_heif.from_bytes(mode="RGB;16", size=photo().size, data=values.tobytes())
    file.save(tmp_path / "deep.heic")
    media = open_media(tmp_path / "deep.heic", 32)
    assert media.extras.bits > 8
    assert media.pixels_digest == b""
