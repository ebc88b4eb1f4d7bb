"""Where the numbers and the parts of a file are, by its format: what a mutation may change without breaking the rest.

A walk ends where a file is no longer what its format says; it never raises. Numbers are lengths, counts, offsets,
dimensions, times; of leaves that are not known better, every word of their first bytes.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

Order = Literal["big", "little", "vint", "text"]
_MOST = 400
"""Parts of a file that are looked at."""
_LEAF_BYTES = 48
_HOLDING = {
    *(b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf", b"mvex", b"dinf", b"udta"),
    *(b"meta", b"iprp", b"ipco", b"iinf", b"jp2h"),
}
_OPAQUE = {b"mdat", b"jp2c", b"jxlc", b"jxlp", b"free", b"skip"}
_EBML_HOLDING = {
    *(0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675, 0x1C53BB6B, 0x114D9B74, 0x1254C367, 0xAE, 0xE0, 0xE1),
    *(0xBB, 0xB7, 0x4DBB, 0xA0, 0x7373, 0x67C8),
}
_DIRECTORIES = {330, 34665, 34853}
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}


@dataclass(frozen=True, slots=True)
class Number:
    """A number: where it is, how many bytes it takes, and how it is written."""

    at: int
    size: int
    order: Order = "big"

    def read(self, data: bytes | bytearray) -> int:
        """Return its value."""
        raw = bytes(data[self.at : self.at + self.size])
        if self.order == "text":
            return int(raw)
        value = int.from_bytes(raw, "little" if self.order == "little" else "big")
        return value & ((1 << 7 * self.size) - 1) if self.order == "vint" else value

    def write(self, data: bytearray, value: int) -> None:
        """Change it; what does not fit loses its upper bits. A number in text may take another length."""
        if self.order == "text":
            data[self.at : self.at + self.size] = b"%d" % value
            return
        bits = 7 * self.size if self.order == "vint" else 8 * self.size
        value &= (1 << bits) - 1
        if self.order == "vint":
            value |= 1 << bits
        data[self.at : self.at + self.size] = value.to_bytes(self.size, "little" if self.order == "little" else "big")


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk, box, segment, block, directory entry or packet.

    Attributes:
        lengths: of the parts around it, which change when its length does.
    """

    start: int
    end: int
    lengths: tuple[Number, ...] = ()


@dataclass(slots=True)
class Anatomy:
    """What was found in a file."""

    numbers: list[Number] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """Whether nothing more is looked for."""
        return len(self.parts) >= _MOST

    def words(self, start: int, end: int, order: Order) -> None:
        """Take the first bytes of a leaf for numbers of each length."""
        for at in range(start, min(end, start + _LEAF_BYTES)):
            for size in (1, 2, 4, 8):
                if (at - start) % size == 0 and at + size <= end:
                    self.numbers.append(Number(at, size, order))


@lru_cache(maxsize=256)
def dissect(data: bytes) -> Anatomy:
    """Return what a file is made of, by what it begins with; that of each seed is kept."""
    found = Anatomy()
    if data[:2] == b"\xff\xd8":
        _jpeg(data, 0, found)
    elif data[:4] == b"\x89PNG":
        _png(data, 0, found)
    elif data[:3] == b"GIF":
        _gif(data, found)
    elif data[:4] == b"RIFF":
        _riff(data, 0, len(data), (), found)
    elif data[:2] in (b"II", b"MM"):
        _tiff(data, 0, found)
    elif data[:4] == b"\x1a\x45\xdf\xa3":
        _ebml(data, 0, len(data), (), found)
    elif data[4:8] in (b"ftyp", b"jP  ", b"JXL ", b"moov", b"mdat", b"wide"):
        _boxes(data, 0, len(data), (), found)
    elif data[:4] == b"\xff\x4f\xff\x51":
        _codestream(data, 0, found)
    elif data[:4] == b"\x00\x00\x01\x00":
        _icon(data, found)
    elif data[:1] == b"P" and data[1:2].isdigit():
        head = re.match(rb"P\d\s+(\d+)\s+(\d+)\s+(\d+)?", data)
        spans = [head.span(group) for group in range(1, 4) if head[group]] if head else []
        found.numbers += [Number(start, end - start, "text") for start, end in spans]
    elif data[:1] == b"G" and data[188:189] == b"G":
        for at in range(0, min(len(data), 188 * _MOST), 188):
            found.parts.append(Part(at, at + 188))
            found.words(at + 1, at + 28, "big")
    else:
        found.words(0, min(len(data), 128), "little")
        for at in re.finditer(rb"\xff\xd8\xff|\x89PNG", data):
            (_jpeg if data[at.start()] == 0xFF else _png)(data, at.start(), found)
    return found


def repaired(data: bytearray) -> bytes:
    """Return a file with its checksums right again: those of PNG chunks, wherever the PNG begins."""
    start = data.find(b"\x89PNG\r\n\x1a\n")
    at = start + 8
    while start >= 0 and at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + length > len(data):
            break
        data[at + 8 + length : at + 12 + length] = zlib.crc32(data[at + 4 : at + 8 + length]).to_bytes(4, "big")
        at += 12 + length
    return bytes(data)


def _number(data: bytes, at: int, size: int, order: Literal["big", "little"] = "big") -> int:
    return int.from_bytes(data[at : at + size], order)


def _jpeg(data: bytes, at: int, found: Anatomy) -> None:
    at += 2
    while at + 4 <= len(data) and data[at] == 0xFF and not found.full:
        kind, length = data[at + 1], _number(data, at + 2, 2)
        end = at + 2 + length
        found.numbers.append(Number(at + 2, 2))
        if kind == 0xE1 and data[at + 4 : at + 10] == b"Exif\x00\x00":
            _tiff(data, at + 10, found)
        elif kind == 0xE2 and data[at + 4 : at + 8] == b"MPF\x00":
            _tiff(data, at + 8, found)
        else:
            found.words(at + 4, min(end, at + 24), "big")
        if kind == 0xDA:
            end = data.find(b"\xff", end)
            while 0 <= end < len(data) - 1 and (data[end + 1] == 0 or 0xD0 <= data[end + 1] <= 0xD7):
                end = data.find(b"\xff", end + 2)
            if end < 0:
                end = len(data)
        found.parts.append(Part(at, min(end, len(data))))
        at = end
        if data[at : at + 2] == b"\xff\xd9":
            break


def _png(data: bytes, at: int, found: Anatomy) -> None:
    at += 8
    while at + 12 <= len(data) and not found.full:
        length, kind = _number(data, at, 4), data[at + 4 : at + 8]
        end = at + 12 + length
        found.numbers.append(Number(at, 4))
        found.parts.append(Part(at, min(end, len(data))))
        if kind == b"IHDR":  # often, for it decides on most
            for _ in range(4):
                found.words(at + 8, at + 21, "big")
        elif kind != b"IDAT":
            found.words(at + 8, min(end - 4, len(data)), "big")
        at = end


def _gif(data: bytes, found: Anatomy) -> None:
    found.words(6, 13, "little")
    at = 13 + (3 << ((data[10] & 7) + 1) if len(data) > 10 and data[10] & 0x80 else 0)
    while at < len(data) and not found.full:
        start = at
        if data[at] == 0x2C:
            found.words(at + 1, at + 12, "little")
            flags = data[at + 9] if at + 9 < len(data) else 0
            at += 11 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
        elif data[at] == 0x21:
            found.words(at + 2, at + 8, "little")
            at += 2
        else:
            break
        while at < len(data) and data[at]:
            found.numbers.append(Number(at, 1))
            at += data[at] + 1
        at += 1
        found.parts.append(Part(start, min(at, len(data))))


def _riff(data: bytes, at: int, end: int, around: tuple[Number, ...], found: Anatomy) -> None:
    while at + 8 <= end and not found.full:
        kind, length = data[at : at + 4], Number(at + 4, 4, "little")
        stop = min(at + 8 + length.read(data), end)
        found.numbers.append(length)
        found.parts.append(Part(at, stop, around))
        if kind in (b"RIFF", b"LIST"):
            _riff(data, at + 12, stop, (*around, length), found)
        elif kind == b"ANMF":
            found.words(at + 8, at + 24, "little")
            _riff(data, at + 24, stop, (*around, length), found)
        else:
            found.words(at + 8, stop, "little")
        at = stop + (stop - at) % 2


def _boxes(data: bytes, at: int, end: int, around: tuple[Number, ...], found: Anatomy) -> None:
    while at + 8 <= end and not found.full:
        length, kind = Number(at, 4), data[at + 4 : at + 8]
        size = length.read(data)
        stop = min(at + size, end) if size >= 8 else end
        found.numbers += [length, length]
        found.parts.append(Part(at, stop, around))
        if kind in _HOLDING:
            skip = {b"meta": 12, b"iinf": 14}.get(kind, 8)
            _boxes(data, at + skip, stop, (*around, length), found)
        elif kind == b"jp2c":
            _codestream(data, at + 8, found)
        elif kind not in _OPAQUE:
            found.words(at + 8, stop, "big")
        elif kind != b"mdat":
            found.words(at + 8, min(stop, at + 32), "big")
        at = stop


def _codestream(data: bytes, at: int, found: Anatomy) -> None:
    at += 2
    while at + 4 <= len(data) and data[at] == 0xFF and not found.full:
        end = min(at + 2 + _number(data, at + 2, 2), len(data))
        found.numbers.append(Number(at + 2, 2))
        found.words(at + 4, end, "big")
        found.parts.append(Part(at, end))
        at = end


def _tiff(data: bytes, base: int, found: Anatomy) -> None:
    order: Literal["big", "little"] = "little" if data[base : base + 2] == b"II" else "big"
    big = b"+" in data[base + 2 : base + 4]
    offset, tally, entry = (8, 8, 20) if big else (4, 2, 12)
    first = Number(base + (8 if big else 4), offset, order)
    found.numbers.append(first)
    waiting, met = [first.read(data) + base], set[int]()
    while waiting and not found.full:
        at = waiting.pop()
        if at in met or not base < at < len(data) - 2:
            continue
        met.add(at)
        count = Number(at, tally, order)
        found.numbers.append(count)
        start = at + tally
        for at in range(start, min(start + entry * count.read(data), len(data) - entry, start + 60 * entry), entry):
            tag, kind, many = (_number(data, at + n, size, order) for n, size in ((0, 2), (2, 2), (4, offset)))
            found.parts.append(Part(at, at + entry))
            value = Number(at + 4 + offset, offset, order)
            found.numbers += [Number(at, 2, order), Number(at + 2, 2, order), Number(at + 4, offset, order), value]
            found.numbers += [value, Number(at + 4 + offset, 2, order)]
            if many * _TYPE_BYTES.get(kind, 1) > offset:
                place = base + value.read(data)
                found.words(place, min(place + 16, len(data)), order)
            elif tag in _DIRECTORIES:
                waiting.append(base + value.read(data))
        following = Number(start + entry * count.read(data), offset, order)
        if following.at + offset <= len(data):
            found.numbers += [following, following]
            waiting.append(base + following.read(data))


def _vint(data: bytes, at: int) -> int:
    return 9 - data[at].bit_length() if at < len(data) and data[at] else 0


def _ebml(data: bytes, at: int, end: int, around: tuple[Number, ...], found: Anatomy) -> None:
    while at + 2 <= end and not found.full:
        mark = _vint(data, at)
        width = _vint(data, at + mark)
        if not mark or not width or at + mark + width > end:
            return
        length = Number(at + mark, width, "vint")
        size = length.read(data)
        start = at + mark + width
        unknown = size == (1 << 7 * width) - 1
        stop = end if unknown else min(start + size, end)
        found.numbers.append(length)
        found.parts.append(Part(at, stop, around))
        kind = _number(data, at, mark)
        if kind in _EBML_HOLDING:
            _ebml(data, start, stop, around if unknown else (*around, length), found)
        elif stop - start <= 8:
            found.numbers += [Number(start, stop - start)] * 2
        else:
            found.words(start, min(stop, start + 12), "big")
        at = stop


def _icon(data: bytes, found: Anatomy) -> None:
    found.words(4, 6, "little")
    for at in range(6, min(6 + 16 * _number(data, 4, 2, "little"), len(data) - 16), 16):
        found.words(at, at + 16, "little")
        found.parts.append(Part(at, at + 16))
        place = _number(data, at + 12, 4, "little")
        if data[place : place + 4] == b"\x89PNG":
            _png(data, place, found)
        else:
            found.words(place, place + 40, "little")
