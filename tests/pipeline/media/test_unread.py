from __future__ import annotations

import io
import zipfile

import pytest
from PIL import Image

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.reader import open_media


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("a", "b")
    return file.getvalue()


def picture(form: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, form)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"8BPS\x00\x01" + bytes(40), "Photoshop"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9" + bytes(40), "WMV"),
        (b"FLV\x01\x05" + bytes(40), "FLV"),
        (b"\x00\x00\x01\xba" + bytes(40), "MPEG"),
        (b"OggS" + bytes(40), "Ogg"),
        (b"%PDF-1.7\n" + bytes(40), "PDF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">', "SVG"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (archive(), "ZIP"),
        (picture("ICNS"), "ICNS"),
        (picture("DDS"), "DDS"),
        (picture("EPS"), "EPS"),
        (picture("SGI"), "SGI"),
        (bytes(64) + picture("JPEG"), "64 bytes of something else stand before a JPEG"),
        (bytes(2000), "zeros"),
        (b"milk, bread", "text"),
        (b"\x01\x02\x03\x04 neither", "no picture"),
    ],
)
def test_what_is_not_read_is_named(content: bytes, words: str) -> None:
    with pytest.raises(InvalidFrame) as caught:
        open_media(content, 32)
    assert caught.value.reason is Reason.FORMAT
    assert words in caught.value.detail
