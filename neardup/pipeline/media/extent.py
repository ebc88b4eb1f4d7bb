"""Does a file end before the end that it announces itself?

Decoders rarely say whether content is cut off or wrong, and for a video they may not even notice.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from neardup.pipeline.media.identify import Format

_TAIL = 1024
_MAX_BOXES = 100_000
_EBML_UNKNOWN = {2**bits - 1 for bits in range(7, 57, 7)}


def ends_early(format: Format, file: BinaryIO) -> bool:
    """Return whether `file` is shorter than its own structure says. False where the format does not tell."""
    size = file.seek(0, os.SEEK_END)
    match format.name:
        case "jpeg":
            return b"\xff\xd9" not in _tail(file, size)
        case "png":
            return b"IEND" not in _tail(file, size)
        case "gif":
            return not _tail(file, size).rstrip(b"\x00").endswith(b";")
        case "webp" | "avi":
            return _number(file, 4, 4, "little") + 8 > size
        case "tiff":
            return _first_directory(file) > size
        case "bmp":
            return _number(file, 2, 4, "little") > size
        case "avif" | "heic" | "mp4" | "mov":
            return _last_box_end(file, size) > size
        case "mkv" | "webm":
            return _segment_end(file) > size
    return False


def _tail(file: BinaryIO, size: int) -> bytes:
    file.seek(max(0, size - _TAIL))
    return file.read(_TAIL)


def _number(file: BinaryIO, at: int, length: int, order: str = "big") -> int:
    file.seek(at)
    return int.from_bytes(file.read(length), "little" if order == "little" else "big")


def _first_directory(file: BinaryIO) -> int:
    """Return where the first directory of a TIFF is; many writers put it last."""
    file.seek(0)
    mark = file.read(4)
    order, is_big = ("little" if mark[:1] == b"I" else "big"), b"+" in mark
    return _number(file, 8, 8, order) if is_big else _number(file, 4, 4, order)


def _last_box_end(file: BinaryIO, size: int) -> int:
    """Walk the top-level boxes of ISO media (ISO/IEC 14496-12, 4.2). A length of 1 stands before a 64-bit length."""
    at = 0
    for _ in range(_MAX_BOXES):
        if at + 8 > size:
            break
        length = _number(file, at, 4)
        if length == 1:
            length = _number(file, at + 8, 8)
        if length < 8:  # 0: up to the end of the file
            return size
        at += length
    return at


def _segment_end(file: BinaryIO) -> int:
    """Return where the Segment of a Matroska file (RFC 9559) ends, 0 if it does not say."""
    file.seek(4)
    header = _variable_length(file)
    file.seek(file.tell() + header)
    if file.read(4) != b"\x18\x53\x80\x67":
        return 0
    length = _variable_length(file)
    return 0 if length in _EBML_UNKNOWN else file.tell() + length


def _variable_length(file: BinaryIO) -> int:
    """Read an EBML number: the count of leading zero bits says how many bytes follow the first (RFC 8794, 4)."""
    first = int.from_bytes(file.read(1), "big")
    if not first:
        return 0
    more = 8 - first.bit_length()
    rest = int.from_bytes(file.read(more), "big")
    return ((first & (0x7F >> more)) << (8 * more)) | rest
