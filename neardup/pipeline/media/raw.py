"""RAW files of cameras: recognised by their content, shown by the largest preview that they carry.

Sensor data is never developed here. Most cameras put a JPEG of the full size into the file, besides smaller ones; where
no JPEG is found, the small uncompressed picture of the first TIFF directory is taken. Only headers are read, within
bounds, and the preview goes through the decoders that any picture goes through.

Source: TIFF 6.0; TIFF/EP (ISO 12234-2); Adobe DNG 1.7; the layout of CR3, RAF, RW2 and ORF as exiftool documents it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.identify import CR3, JPEG, ORF, RAF, RW2, TIFF, Format
from neardup.pipeline.media.orientation import SIDEWAYS
from neardup.pipeline.media.tiff import first_page
from neardup.pipeline.types import PLAIN, Media

_MAX_DIRECTORIES = 64
_MAX_ENTRIES = 4096
_MAX_JPEGS = 2000
_MAX_SEGMENTS = 200
_MIN_SIDE = 64
"""Smaller previews say nothing."""

_SUBFILE, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 259, 262
_MAKE, _ORIENTATION, _SUB_DIRECTORIES, _DNG = 271, 274, 330, 50706
_RW2_SENSOR = (2, 3, 4, 5, 6, 7)
_CFA, _LINEAR_RAW = 32803, 34892
_REDUCED = 1
_SENSOR_CODECS = {32767, 32769, 32770, 34713, 65000, 65535}
"""Compression schemes of Sony, Epson, Samsung, Nikon, Kodak and Pentax that stand for sensor data."""
_NAMES = {b"NIKON": "nef", b"SONY": "arw", b"PENTAX": "pef", b"RICOH": "pef", b"SAMSUNG": "srw", b"CANON": "cr2"}
_FRAMES = {0xC0, 0xC1, 0xC2}
"""Start of frame of the JPEGs that decoders read; sensor data is often a lossless one, 0xC3."""


@dataclass(frozen=True, slots=True)
class RawFile:
    """A RAW file.

    Attributes:
        name: of its format. width, height: of the sensor's picture, upright; 0 where the file does not say.
        preview: content of a picture that decoders read. format: of the preview.
    """

    name: str
    width: int
    height: int
    preview: bytes
    format: Format

    def described(self, media: Media) -> Media:
        """Return the preview's description as that of the RAW file, which has no pixels that others could equal."""
        larger = self.width * self.height > media.width * media.height
        width, height = (self.width, self.height) if larger else (media.width, media.height)
        extras = msgspec.structs.replace(PLAIN, raw=True)
        return replace(media, format=self.name, width=width, height=height, pixels_digest=b"", extras=extras)


def read_raw(data: bytes, format: Format) -> RawFile | None:
    """Return what a file says of itself as RAW; None if it is none.

    Args:
        format: what `identify` says of it.
    Raises:
        InvalidFrame: a RAW file without a preview.
    """
    if format not in (TIFF, CR3, ORF, RAF, RW2):
        return None
    directories = list(_directories(data)) if format in (TIFF, ORF, RW2) else []
    if format == TIFF and not _is_raw(data, directories):
        return None
    name = _name(data, directories) if format == TIFF else format.name
    turn = next((d.first(_ORIENTATION) for d in directories[:1]), 0)
    width, height = _sensor(directories)
    if turn >= SIDEWAYS:
        width, height = height, width
    jpeg = _largest_jpeg(data)
    if jpeg is not None:
        return RawFile(name, width, height, _turned(jpeg, turn), JPEG)
    if format == TIFF and directories and directories[0].first(_PHOTOMETRIC) not in (_CFA, _LINEAR_RAW):
        return RawFile(name, width, height, first_page(data), TIFF)
    raise InvalidFrame(
        Reason.DECODE, f"{name}: a RAW file without a preview, of which nothing can be shown; convert it to JPEG"
    )


# --- TIFF directories


@dataclass(frozen=True, slots=True)
class _Directory:
    values: dict[int, tuple[int, ...]]
    make: bytes

    def first(self, tag: int) -> int:
        """Return a tag's first value; 0 without one."""
        return next(iter(self.values.get(tag, ())), 0)


def _directories(data: bytes) -> Iterator[_Directory]:
    """Yield the directories of a TIFF and those below them, the first one first; broken ones end the walk."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\x00", b"\x00+")
    waiting = [_number(data, 8, order + "Q") if big else _number(data, 4, order + "I")]
    met: set[int] = set()
    while waiting and len(met) < _MAX_DIRECTORIES:
        at = waiting.pop(0)
        if at in met or not 0 < at < len(data):
            continue
        met.add(at)
        try:
            directory, following = _directory(data, at, order, big)
        except struct.error:
            continue
        yield directory
        waiting += [*directory.values.get(_SUB_DIRECTORIES, ())[:16], following]


def _number(data: bytes, at: int, layout: str) -> int:
    try:
        value: int = struct.unpack_from(layout, data, at)[0]
    except struct.error:
        return 0
    return value


def _directory(data: bytes, at: int, order: str, big: bool) -> tuple[_Directory, int]:
    """Return a directory and the place of the next. Raises struct.error where it is cut off."""
    count_layout, entry_layout, offset_layout = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    (count,) = struct.unpack_from(order + count_layout, data, at)
    at += struct.calcsize(count_layout)
    head, inline = struct.calcsize(order + entry_layout), struct.calcsize(offset_layout)
    values: dict[int, tuple[int, ...]] = {}
    make = b""
    for _ in range(min(count, _MAX_ENTRIES)):
        tag, kind, length = struct.unpack_from(order + entry_layout, data, at)
        layout = {1: "B", 2: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(kind)
        if layout is not None:
            length = min(length, 64)
            size = struct.calcsize(layout) * length
            place = at + head if size <= inline else struct.unpack_from(order + offset_layout, data, at + head)[0]
            if place + size <= len(data):
                values[tag] = struct.unpack_from(f"{order}{length}{layout}", data, place)
        if tag == _MAKE:
            make = bytes(values.get(tag, ())).upper()
        at += head + inline
    following = _number(data, at, order + offset_layout) if count <= _MAX_ENTRIES else 0
    return _Directory(values, make), following


def _is_raw(data: bytes, directories: list[_Directory]) -> bool:
    """Return whether a TIFF holds sensor data, or a reduced picture of what a directory below it holds in full."""
    if not directories:
        return False
    first = directories[0]
    if data[8:10] == b"CR" and data[:2] == b"II":
        return True
    sensor = any(
        d.first(_PHOTOMETRIC) in (_CFA, _LINEAR_RAW) or d.first(_COMPRESSION) in _SENSOR_CODECS for d in directories
    )
    if sensor:
        return True
    reduced = first.first(_SUBFILE) & _REDUCED and first.values.get(_SUB_DIRECTORIES)
    return bool(reduced) and any(
        not d.first(_SUBFILE) & _REDUCED and _area(d) > _area(first) for d in directories[1:] if _area(d)
    )


def _area(directory: _Directory) -> int:
    return directory.first(_WIDTH) * directory.first(_HEIGHT)


def _name(data: bytes, directories: list[_Directory]) -> str:
    if any(_DNG in d.values for d in directories):
        return "dng"
    if data[8:10] == b"CR":
        return "cr2"
    make = directories[0].make
    return next((name for maker, name in _NAMES.items() if make.startswith(maker)), "raw")


def _sensor(directories: list[_Directory]) -> tuple[int, int]:
    """Return width and height of the largest picture in a file."""
    sizes = [(d.first(_WIDTH), d.first(_HEIGHT)) for d in directories if _area(d)]
    for d in directories[:1]:  # RW2 has the borders of its sensor
        if not _area(d) and all(tag in d.values for tag in _RW2_SENSOR):
            top, left, bottom, right = (d.first(tag) for tag in _RW2_SENSOR[2:])
            sizes.append((max(0, right - left), max(0, bottom - top)))
    return max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))


# --- Embedded JPEGs


def _largest_jpeg(data: bytes) -> bytes | None:
    """Return the JPEG of most pixels within a file, from its first byte on."""
    best, place, at = 0, -1, 1
    for _ in range(_MAX_JPEGS):
        at = data.find(b"\xff\xd8\xff", at)
        if at < 0:
            break
        width, height = _jpeg_size(data, at)
        if min(width, height) >= _MIN_SIDE and width * height > best:
            best, place = width * height, at
        at += 3
    return None if place < 0 else data[place:]


def _jpeg_size(data: bytes, at: int) -> tuple[int, int]:
    """Return width and height that a JPEG's header names; 0 and 0 for what decoders do not read, or is none."""
    at += 2
    tables = False
    for _ in range(_MAX_SEGMENTS):
        if at + 4 > len(data) or data[at] != 0xFF:
            return 0, 0
        marker, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        if marker in _FRAMES and at + 10 <= len(data):
            bits, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
            return (width, height) if bits == 8 and channels in (1, 3) and tables else (0, 0)
        if not 0xC4 <= marker <= 0xFE or length < 2 or 0xD0 <= marker <= 0xDA or marker == 0xC3:
            return 0, 0
        tables = tables or marker == 0xDB
        at += 2 + length
    return 0, 0


def _turned(jpeg: bytes, turn: int) -> bytes:
    """Return a JPEG that says which way up the camera was, which the file says in its own directory alone."""
    if not 2 <= turn <= 8 or b"Exif\x00\x00" in jpeg[:64]:
        return jpeg
    tiff = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, _ORIENTATION, 3, 1, turn, 0, 0)
    body = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]
