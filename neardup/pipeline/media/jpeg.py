"""What the header of a JPEG says, read before anything is decoded.

Only *plain* JPEGs are recognised: what cameras, phones and web sites write nearly always, and what all decoders agree
on. Everything else is left to the decoder that knows all of it.

Source: ITU-T T.81, annex B; colours as libjpeg infers them (jdapimin.c, default_decompress_parms).
"""

from __future__ import annotations

from dataclasses import dataclass

from blake3 import blake3

from neardup.pipeline.media.orientation import orientation

_BASELINE, _SCAN, _EXIF, _ADOBE, _COMMENT = 0xC0, 0xDA, 0xE1, 0xEE, 0xFE
_TABLES = {0xC4, 0xDB, 0xDD}  # Huffman, quantisation, restart interval
_APPLICATION = range(0xE0, 0xF0)
_MOST_SEGMENTS = 1000
_LUMA = {0x11, 0x21, 0x12, 0x22}
"""Sampling factors of the luminance, beside 1 × 1 of the others: 4:4:4, 4:2:2, 4:4:0, 4:2:0."""


@dataclass(frozen=True, slots=True)
class PlainJpeg:
    """A baseline JPEG of 8 bits, grey or YCbCr, in one scan.

    Attributes:
        width, height: as stored, before `orientation`, 1 to 8.
        parts: everything but metadata, in order.
    """

    width: int
    height: int
    orientation: int
    parts: tuple[memoryview, ...]

    @property
    def digest(self) -> bytes:
        """16 bytes of everything but metadata: equal files but for those decode to the same pixels."""
        digest = blake3()
        for part in self.parts:
            digest.update(part)
        digest.update(b"%d" % self.orientation)
        return digest.digest(16)


def read_plain_jpeg(data: bytes) -> PlainJpeg | None:
    """Return what the header says; None if the file is no plain JPEG, or broken before its picture begins."""
    try:
        return _read(data)
    except IndexError:  # cut off
        return None


def _read(data: bytes) -> PlainJpeg | None:
    if data[:2] != b"\xff\xd8":
        return None
    view, exif, frame = memoryview(data), b"", b""
    parts: list[memoryview] = []
    at = 2
    for _ in range(_MOST_SEGMENTS):
        if data[at] != 0xFF:
            return None
        if (marker := data[at + 1]) == 0xFF:  # padding
            at += 1
            continue
        end = at + 2 + (data[at + 2] << 8 | data[at + 3])
        body = data[at + 4 : end]
        if marker == _BASELINE and not frame:
            frame = body
        elif marker == _ADOBE and body.startswith(b"Adobe") and body[11] != 1:  # not YCbCr
            return None
        elif marker == _EXIF and body.startswith(b"Exif\x00\x00"):
            exif += body[6:] if exif else body
        elif marker == _SCAN:
            if body[0] != frame[5] or not _is_plain(frame):
                return None
            height, width = frame[1] << 8 | frame[2], frame[3] << 8 | frame[4]
            return PlainJpeg(width, height, orientation(exif), (*parts, view[at:]))
        elif marker not in _TABLES and marker not in _APPLICATION and marker != _COMMENT:
            return None
        if marker == _ADOBE or (marker not in _APPLICATION[1:] and marker != _COMMENT):
            parts.append(view[at:end])
        at = end
    return None


def _is_plain(frame: bytes) -> bool:
    """Return whether the frame header is of 8 bits and one grey component, or of three that are YCbCr."""
    if len(frame) < 9 or frame[0] != 8 or len(frame) != 6 + 3 * frame[5]:
        return False
    ids, sampling = frame[6::3], frame[7::3]
    if len(ids) == 1:
        return True
    return len(ids) == 3 and ids != b"RGB" and sampling[0] in _LUMA and sampling[1:] == b"\x11\x11"
