"""The size of a WebP picture, read before anything is decoded.

Source: RFC 9649, 2.5 to 2.7; RFC 6386, 9.1.
"""

from __future__ import annotations


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height, those of the canvas where it has one; None where the file does not say."""
    if len(data) < 30:
        return None
    if data[12:16] == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    if data[12:16] == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if data[12:16] == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
        return width, height
    return None
