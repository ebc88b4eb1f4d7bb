"""Which way up a picture is, from its EXIF block.

Read here and not by the decoder library, which parses the whole block, complains about unrelated broken parts of it,
and takes longer than decoding a small picture.
"""

from __future__ import annotations

import struct

import numpy as np

from neardup.pipeline.types import Pixels

SIDEWAYS = 5
"""From this orientation on, width and height change places."""
_TAG = 274


def orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8 (EXIF 2.3, tag 274), of an EXIF block; 1 (upright) where it is not given."""
    tiff = exif.removeprefix(b"Exif\x00\x00")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, _type, _count, value = struct.unpack_from(order + "HHIH", tiff, at)
            if tag == _TAG:
                return value if 1 <= value <= 8 else 1
    except struct.error:  # the block is cut off
        pass
    return 1


def upright_shape(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Return height and width of a picture that is turned as its orientation, 1 to 8, asks for."""
    return (width, height) if orientation >= SIDEWAYS else (height, width)


def upright(rgb: Pixels, orientation: int) -> Pixels:
    """Return a picture (h, w, 3) turned and mirrored as its orientation, 1 to 8, asks for."""
    if orientation >= SIDEWAYS:
        rgb = rgb.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    if orientation in (3, 4, 7, 8):
        rgb = rgb[::-1]
    return np.ascontiguousarray(rgb)
