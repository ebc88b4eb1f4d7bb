"""What the header of a JPEG says, read before anything is decoded.

Fast decoders are given *plain* JPEGs only: what cameras, phones and web sites write nearly always, and what all
decoders agree on. Everything else is left to the decoder that knows all of it.

Source: ITU-T T.81, annex B; colours as libjpeg infers them (jdapimin.c, default_decompress_parms).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from blake3 import blake3

from neardup.pipeline.media.orientation import orientation

END = b"\xff\xd9"
_BASELINE, _SCAN, _JFIF, _EXIF, _PROFILE, _ADOBE, _COMMENT = 0xC0, 0xDA, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_TABLES = {0xC4, 0xDB, 0xDD}  # Huffman, quantisation, restart interval
_APPLICATION = range(0xE0, 0xF0)
_METADATA = {
    (_JFIF, b"JFIF\x00"),
    (_JFIF, b"JFXX\x00"),
    (_EXIF, b"Exif\x00"),
    (_EXIF, b"http://ns.adobe.com/xap/1.0/\x00"),
    (_PROFILE, b"MPF\x00"),
    (0xEC, b"Ducky"),
    (0xED, b"Photoshop 3.0\x00"),
}
"""Segments that change no pixel. Those of any other kind count as content: they may hold a depth or heat map."""
_XMP = b"http://ns.adobe.com/xap/1.0/\x00"
_MOST_SEGMENTS = 1000
_LUMA = {0x11, 0x21, 0x12, 0x22}
"""Sampling factors of the luminance, beside 1 × 1 of the others: 4:4:4, 4:2:2, 4:4:0, 4:2:0."""
_DIGEST = "neardup 2026-11 a JPEG as it is stored, without metadata"


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What stands before the first scan.

    Attributes:
        width, height: as stored, before `orientation`, 1 to 8.
        bits, components: of the picture.
        plain: a baseline JPEG of 8 bits, grey or YCbCr, in one scan.
        parts: everything but metadata, in order; the last is all that follows the header, without zeros at its end.
        profile: ICC profile; b"" without. xmp, mpf: these segments' contents; b"" without.
        is_bare: nothing before the picture but it, its profile and metadata.
        scan: where the first scan begins.
    """

    width: int
    height: int
    orientation: int
    bits: int
    components: int
    plain: bool
    parts: tuple[memoryview | bytes, ...] = field(repr=False)
    profile: bytes = field(repr=False)
    xmp: bytes = field(repr=False)
    mpf: bytes = field(repr=False)
    is_bare: bool
    scan: int

    @property
    def digest(self) -> bytes:
        """16 bytes of everything but metadata: files that are equal but for those hold the same in all else.

        What follows the picture counts: a film, a gain map, further views.
        """
        digest = blake3(derive_key_context=_DIGEST)
        for part in self.parts:
            digest.update(part)
        digest.update(b"%d" % self.orientation)
        return digest.digest(16)


def read_plain_jpeg(data: bytes) -> JpegHeader | None:
    """Return what the header says; None if the file is no plain JPEG, or broken before its picture begins."""
    header = read_jpeg(data)
    return header if header is not None and header.plain else None


def read_jpeg(data: bytes) -> JpegHeader | None:
    """Return what the header says; None if it is broken or cut off."""
    try:
        return _read(data)
    except IndexError:  # cut off
        return None


def tail(data: bytes, header: JpegHeader) -> int:
    """Return where the picture ends and what hangs on it begins; the length of the file where nothing does.

    Bytes of 0 are filling.
    """
    end = data.find(END, header.scan) + len(END)
    if end < len(END) or not data[end:].strip(b"\x00"):
        return len(data)
    return end


def is_cut_off(data: bytes) -> bool:
    """Return whether a JPEG ends before its picture does, or in zeros instead of the rest of it.

    Downloads and recovered files have their full length at once, filled with zeros where nothing arrived.
    """
    if data.endswith(END):
        return False
    return END not in data[-1024:] if not data.endswith(bytes(16)) else END not in data.rstrip(b"\x00")[-1024:]


def _read(data: bytes) -> JpegHeader | None:
    if data[:2] != b"\xff\xd8":
        return None
    view = memoryview(data)
    exif = frame = profile = xmp = mpf = b""
    kept: list[memoryview | bytes] = []  # what is said about the picture, then the picture
    parts: list[memoryview | bytes] = []
    plain = bare = True
    coding = _BASELINE
    at = 2
    for _ in range(_MOST_SEGMENTS):
        if data[at] != 0xFF:
            return None
        if (marker := data[at + 1]) == 0xFF:  # padding
            at += 1
            continue
        end = at + 2 + (data[at + 2] << 8 | data[at + 3])
        body = data[at + 4 : end]
        if marker in _APPLICATION:
            if marker == _EXIF and body.startswith(b"Exif\x00\x00"):
                exif += body[6:] if exif else body
            elif marker == _EXIF and body.startswith(_XMP):
                xmp = body
            elif marker == _PROFILE and body.startswith(b"MPF\x00"):
                mpf = body[4:]
            elif marker == _PROFILE and body.startswith(b"ICC_PROFILE\x00"):
                profile += body[14:]
                kept.append(view[at:end])
            elif marker == _JFIF and body.startswith(b"JFIF\x00"):
                kept.append(b"\xff\xe0JFIF")  # decides on colours; resolutions do not
            elif marker == _ADOBE and body.startswith(b"Adobe"):
                plain &= body[11] == 1  # YCbCr
                kept.append(view[at:end])
            elif not any(marker == known and body.startswith(name) for known, name in _METADATA):
                bare = False
                kept.append(view[at:end])
        elif marker == _SCAN:
            if not frame:
                return None
            plain &= coding == _BASELINE and body[0] == frame[5] and _is_plain(frame)
            height, width = frame[1] << 8 | frame[2], frame[3] << 8 | frame[4]
            return JpegHeader(
                width=width,
                height=height,
                orientation=orientation(exif),
                bits=frame[0],
                components=frame[5],
                plain=plain,
                parts=(*kept, *parts, view[at : len(data.rstrip(b"\x00"))]),
                profile=profile,
                xmp=xmp,
                mpf=mpf,
                is_bare=bare,
                scan=at,
            )
        elif marker != _COMMENT:
            if marker in _FRAMES:
                plain &= not frame
                coding, frame = marker, body
            elif marker not in _TABLES:
                plain = False
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
