"""The directories of a TIFF: how many pages it has, and what kind of numbers they are made of.

Source: TIFF 6.0 (1992), section 2; BigTIFF has numbers of 8 bytes instead of 4.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_SIZES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COLOURS, _TURN, _SAMPLES, _PLANAR, _INSIDE, _MORE, _NUMBERS, _PROFILE, _LAYERS = (
    *(254, 256, 257, 258, 262, 274, 277, 284, 330, 338, 339, 34675, 37724),
)
_WANTED = {_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COLOURS, _TURN, _SAMPLES, _PLANAR, _INSIDE, _MORE, _NUMBERS}
_REDUCED, _MASK = 1, 4
_MOST_VALUES = 16
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK = 0, 1, 2, 5
_PLAIN = (BLACK_IS_ZERO, RGB)


@dataclass(frozen=True, slots=True)
class Page:
    """One directory.

    Attributes:
        number: its place among all directories.
        is_page: neither a smaller version of another one nor a mask.
        bits: of the deepest channel. samples: channels. colours: tag 262, photometric interpretation.
        is_float: the numbers are floating point.
        is_planar: channel after channel.
        associated: colours are multiplied by alpha already.
        orientation: 1 to 8.
        has_more: layers, or directories within, which nobody reads.
        profile: the ICC profile, b"" without one.
    """

    number: int
    width: int
    height: int
    is_page: bool
    bits: int
    samples: int
    colours: int
    is_float: bool
    is_planar: bool
    associated: bool
    orientation: int
    has_more: bool
    profile: bytes

    @property
    def look(self) -> bytes:
        """What decides how its numbers look; b"" for plain grey and RGB, as those of other formats are."""
        return self.profile or (b"" if self.colours in _PLAIN else b"%d" % self.colours)


def read_pages(data: bytes, most: int) -> list[Page]:
    """Return at most `most` directories, in order; those that are there if the chain of them breaks."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    pages: list[Page] = []
    if order is None:
        return pages
    big = data[2:4] in (b"+\x00", b"\x00+")
    offset, count, entry, inline = ("Q", "Q", "HHQ", 8) if big else ("I", "H", "HHI", 4)
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(order + offset, data, 8 if big else 4)
        while at and at not in seen and len(pages) < most:
            seen.add(at)
            (entries,) = struct.unpack_from(order + count, data, at)
            at += struct.calcsize(order + count)
            size = struct.calcsize(order + entry) + inline
            tags: dict[int, tuple[int, ...]] = {}
            profile = b""
            for start in range(at, at + size * entries, size):
                tag, kind, length = struct.unpack_from(order + entry, data, start)
                if tag == _LAYERS:
                    tags[tag] = ()
                elif tag == _PROFILE:
                    (place,) = struct.unpack_from(order + offset, data, start + size - inline)
                    profile = data[place : place + length]
                elif tag in _WANTED and kind in _SIZES and length:
                    form = f"{order}{min(length, _MOST_VALUES)}{_SIZES[kind]}"
                    place = start + size - inline
                    if struct.calcsize(f"{order}{length}{_SIZES[kind]}") > inline:
                        (place,) = struct.unpack_from(order + offset, data, place)
                    tags[tag] = struct.unpack_from(form, data, place)
            pages.append(_page(len(pages), tags, profile))
            (at,) = struct.unpack_from(order + offset, data, at + size * entries)
    except (struct.error, OverflowError):  # cut off, or a place beyond what there can be
        pass
    return pages


def first_page(data: bytes) -> bytes:
    """Return a TIFF that ends with its first directory.

    Raises:
        struct.error: it is cut off before.
    """
    order, big = "<" if data[:2] == b"II" else ">", data[2:4] in (b"+\x00", b"\x00+")
    offset, count, size = ("Q", "Q", 20) if big else ("I", "H", 12)
    alone = bytearray(data)
    try:
        (at,) = struct.unpack_from(order + offset, data, 8 if big else 4)
        (entries,) = struct.unpack_from(order + count, data, at)
        struct.pack_into(order + offset, alone, at + struct.calcsize(order + count) + size * entries, 0)
    except (OverflowError, IndexError) as error:  # a place beyond what there can be
        raise struct.error(str(error)) from error
    return bytes(alone)


def _page(number: int, tags: dict[int, tuple[int, ...]], profile: bytes) -> Page:
    def first(tag: int, otherwise: int) -> int:
        return tags.get(tag, (otherwise,))[0]

    turn = first(_TURN, 1)
    return Page(
        number=number,
        width=first(_WIDTH, 0),
        height=first(_HEIGHT, 0),
        is_page=not first(_SUBFILE, 0) & (_REDUCED | _MASK),
        bits=max(tags.get(_BITS, (1,))),
        samples=first(_SAMPLES, 1),
        colours=first(_COLOURS, 1),
        is_float=first(_NUMBERS, 1) == 3,
        is_planar=first(_PLANAR, 1) == 2,
        associated=1 in tags.get(_MORE, ()),
        orientation=turn if 1 <= turn <= 8 else 1,
        has_more=_LAYERS in tags or _INSIDE in tags,
        profile=profile,
    )
