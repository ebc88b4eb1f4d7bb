"""What a still has beside the picture that is compared: a gain map, a film, further views.

Found by what announces them; nothing of it is decoded. What is announced by nothing, and stands in the file all the
same, keeps two files from being called exact (`digest`), and is not named here.

Sources: CIPA DC-007 (MPF); ISO 21496-1, Adobe Gain Map 1.0, Apple HDRGainMap; Google Motion Photo 1.0 and Dynamic Depth
1.0; Samsung's trailer; ISO/IEC 23008-12 (auxiliary pictures of a HEIF).
"""

from __future__ import annotations

import re
import struct
from typing import Any

from neardup.pipeline.media.jpeg import END, JpegHeader, tail
from neardup.pipeline.types import Attachment

_GAIN_MAP = re.compile(rb"hdrgm:Version|hdr-gain-map/|HDRGainMap|urn:iso:std:iso:ts:21496")
_FILM = re.compile(rb"MotionPhoto_Data|\x00\x00\x00.ftyp", re.DOTALL)
_DEPTH = re.compile(rb"GDepth:|GImage:|ns.google.com/photos/dd/")
_FURTHER = {0x000000, 0x020001, 0x020002, 0x020003}
"""Types of MPF entries that are pictures of their own: undefined, panorama, disparity, multi-angle; not previews."""
_MOST_ENTRIES = 100
_HEAD = 2**18
"""Where the boxes of a HEIF that describe it are."""


def attached_to_jpeg(data: bytes, header: JpegHeader) -> tuple[Attachment, ...]:
    """Return what hangs on a JPEG, in the order of `Attachment`."""
    announced = header.xmp or header.mpf or not header.is_bare
    if not announced and data.endswith(END):
        return ()  # nearly all
    start = tail(data, header)
    follows = start < len(data)
    found = set()
    before = b"".join(bytes(part[:256]) for part in header.parts[:-1]) + header.xmp
    gain_map = follows and bool(_GAIN_MAP.search(before) or _GAIN_MAP.search(data, start))
    if gain_map:
        found.add(Attachment.GAIN_MAP)
    if follows and _FILM.search(data, start):
        found.add(Attachment.FILM)
    if _further_pictures(header.mpf) > gain_map or _DEPTH.search(header.xmp):
        found.add(Attachment.VIEWS)
    return in_order(found)


def attached_to_heif(info: dict[Any, Any], data: bytes) -> tuple[Attachment, ...]:
    """Return what hangs on a HEIC or AVIF.

    Args:
        info: what pillow-heif says of the picture; empty for an AVIF.
    """
    found = set()
    auxiliary = [str(name).lower() for name in info.get("aux") or ()]
    head = data[:_HEAD]
    if b"tmap" in head or any("gainmap" in name for name in auxiliary):
        found.add(Attachment.GAIN_MAP)
    if b"mpvd" in top_boxes(data):
        found.add(Attachment.FILM)
    if info.get("depth_images") or any("gainmap" not in name and "alpha" not in name for name in auxiliary):
        found.add(Attachment.VIEWS)
    return in_order(found)


def in_order(found: set[Attachment]) -> tuple[Attachment, ...]:
    """Return each once, in the order of `Attachment`."""
    return tuple(attachment for attachment in Attachment if attachment in found)


def top_boxes(data: bytes) -> list[bytes]:
    """Return the types of the boxes of ISO media on its top level; b"?" stands for what is none."""
    found: list[bytes] = []
    at = 0
    while at + 8 <= len(data) and len(found) < _MOST_ENTRIES:
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        found.append(name)
        if length == 0:
            return found
        if length < 8 or at + length > len(data):
            return [*found, b"?"]
        at += length
    return found if not data[at:].strip(b"\x00") else [*found, b"?"]


def _further_pictures(mpf: bytes) -> int:
    """Return how many pictures of their own follow the first, by the MP index (CIPA DC-007, 5.2.3)."""
    order = {b"II": "<", b"MM": ">"}.get(mpf[:2])
    if order is None:
        return 0
    try:
        (at,) = struct.unpack_from(order + "I", mpf, 4)
        (count,) = struct.unpack_from(order + "H", mpf, at)
        for entry in range(at + 2, at + 2 + 12 * min(count, _MOST_ENTRIES), 12):
            tag, _type, length, offset = struct.unpack_from(order + "HHII", mpf, entry)
            if tag == 0xB002:
                starts = range(offset + 16, offset + min(length, 16 * _MOST_ENTRIES), 16)
                kinds = [struct.unpack_from(order + "I", mpf, start)[0] & 0xFFFFFF for start in starts]
                return sum(kind in _FURTHER for kind in kinds)
    except struct.error:  # cut off
        pass
    return 0
