"""Plain JPEGs by libjpeg-turbo, from the bytes of a file straight into an array.

Pillow has the same library and gives the same pixels, but keeps them at four bytes each, to be copied out again. What
is broken in any way is left to it, whose errors tell more.
"""

from __future__ import annotations

import simplejpeg

from neardup.pipeline.media.jpeg import JpegHeader
from neardup.pipeline.types import Pixels


def decode_plain(data: bytes, header: JpegHeader, scale: int) -> Pixels | None:
    """Return the pixels at 1, 1/2, 1/4 or 1/8 scale, as they are stored; None if something about the file is wrong.

    Args:
        data: the whole file. header: what `read_plain_jpeg` says of it.
        scale: the denominator.
    Returns:
        uint8 (h, w, 3), both sides rounded up.
    """
    height, width = -(-header.height // scale), -(-header.width // scale)
    try:
        rgb: Pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width)
    except ValueError:
        return None
    return rgb if rgb.shape == (height, width, 3) else None
