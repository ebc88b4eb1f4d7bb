"""Check the tables that a file brings along, before a library builds from them what takes memory and time.

A few bytes may announce a billion samples of an MP4, each edit of which is a copy of the index; a TIFF may have a strip
for each row of pixels, a JPEG a scan for each bit of a coefficient. Libraries believe all of that.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.budget import current
from neardup.pipeline.media.identify import JPEG, Format
from neardup.pipeline.media.refuse import SAVE_ANEW, beyond
from neardup.pipeline.media.sampling import MAX_RATE
from neardup.pipeline.types import Limits

_TRACKS = 2
"""Samples of so many tracks, each at the highest rate, may be listed in all."""
_HOLDING = {b"moov", b"cmov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf", b"mvex"}
_MAX_STRIPS = 2**20
_STRIP_TAGS = {273, 324}
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SCAN, _END = 0xDA, 0xD9
_SCAN_SECONDS = 1e-9
"""Of a pixel in one scan of a progressive JPEG, on a fast processor."""
_PIXEL_SECONDS = {"avif": 1e-8, "heic": 1e-8, "webp": 5e-9, "jxl": 1e-8, "jpeg2000": 1e-8, "jpeg": 2e-9, "png": 2e-9}
"""Of a pixel on a fast processor, where decoding is one call that cannot be interrupted."""


def check_tables(source: bytes | Path, format: Format, limits: Limits) -> None:
    """Walk an ISO media file (ISO/IEC 14496-12) for samples and edits; other formats announce none.

    Raises:
        InvalidFrame: BOMB, more than the longest film that is allowed would have. TOO_SLOW.
    """
    if format.name not in ("mp4", "mov"):
        return
    most = int(limits.max_seconds * MAX_RATE * _TRACKS)
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
        samples = _Samples()
        for kind, content in _boxes(file, 0, file.seek(0, io.SEEK_END)):
            samples.see(kind, content)
            if samples.count > most:
                raise beyond("max_seconds", f"{format.name}: tables of more than {most} samples")


def check_strips(data: bytes) -> None:
    """Count the strips or tiles of the first page of a TIFF, which are all listed in memory.

    Raises:
        InvalidFrame: BOMB.
    """
    big, order = data[2:3] == b"+" or data[3:4] == b"+", "<" if data[:1] == b"I" else ">"
    entry, tally = (20, "Q") if big else (12, "H")
    try:
        (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        (tags,) = struct.unpack_from(order + tally, data, start)
        first = start + struct.calcsize(tally)
        for at in range(first, min(first + entry * tags, len(data)), entry):
            tag, _type, count = struct.unpack_from(order + ("HHQ" if big else "HHI"), data, at)
            if tag in _STRIP_TAGS and count > _MAX_STRIPS:
                raise InvalidFrame(Reason.BOMB, f"tiff: {count} strips, at most {_MAX_STRIPS} are read; {SAVE_ANEW}")
    except (struct.error, OverflowError):  # it is cut off, which its decoder says better
        return


def expect_picture(data: bytes, format: Format, width: int, height: int) -> None:
    """Check what decoding a picture will take at the least.

    Raises:
        InvalidFrame: TOO_SLOW.
    """
    seconds = width * height * _PIXEL_SECONDS.get(format.name, 0.0)
    if format == JPEG:
        seconds += width * height * _SCAN_SECONDS * max(0, _scans(data) - 1)
    current().expect(seconds)


@dataclass(slots=True)
class _Samples:
    """Adds up what a demuxer would keep in memory: samples of each track, once more for each of its edits."""

    _of_others: int = 0
    _of_track: int = 0
    _edits: int = 1
    _is_sound: bool = False
    _is_listed: bool = True

    @property
    def count(self) -> int:
        """How many there are so far."""
        return self._of_others + self._of_track * self._edits * self._is_listed

    def see(self, kind: bytes, content: bytes) -> None:
        """Take note of a box and the first bytes of its content."""
        if kind == b"trak":
            self._of_others = self.count
            self._of_track, self._edits, self._is_sound, self._is_listed = 0, 1, False, True
        elif kind == b"elst":
            self._edits = max(1, _number(content, 4))
        elif kind == b"hdlr":
            self._is_sound = content[8:12] == b"soun"
        elif kind == b"stts":  # sound of one sample per unit of time is listed by chunks
            self._is_listed = not (self._is_sound and _number(content, 4) == 1 and _number(content, 12) == 1)
        elif kind in (b"stsz", b"stz2"):
            self._of_track += _number(content, 8)
        elif kind == b"trun":
            self._of_others += _number(content, 4)


def _scans(data: bytes) -> int:
    """Return how many scans a JPEG has; within coded data a zero follows each FF, or a restart's number."""
    count, at = 0, 2
    while (found := _MARKER.search(data, at)) is not None and data[found.start() + 1] != _END:
        at = found.end()
        count += data[at - 1] == _SCAN
        at += max(2, int.from_bytes(data[at : at + 2], "big"))
    return count


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind of each box, and the first 16 bytes of its content, those within others after them."""
    ends = [end]
    at = start
    while ends:
        if at + 8 > ends[-1]:
            at = ends.pop()
            continue
        current().check()
        file.seek(at)
        head = file.read(32)
        length, kind, skip = _number(head, 0), head[4:8], 8
        if length == 1:
            length, skip = int.from_bytes(head[8:16], "big"), 16
        stop = ends[-1] if length == 0 else at + length
        if stop < at + skip:
            at = ends.pop()
            continue
        stop = min(stop, ends[-1])
        yield kind, head[skip : skip + 16]
        if kind == b"cmvd":
            yield from _hidden(file, at + skip, stop)
        if kind in _HOLDING:
            ends.append(stop)
            at += skip
        else:
            at = stop


def _hidden(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the boxes that are compressed in a `cmvd` (QuickTime File Format, 2001, "compressed movie resources")."""
    file.seek(start)
    length = _number(file.read(4), 0)
    current().allocate(length + end - start)
    with suppress(zlib.error):
        inside = io.BytesIO(zlib.decompressobj().decompress(file.read(end - start), max(1, length)))
        yield from _boxes(inside, 0, len(inside.getbuffer()))


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")
