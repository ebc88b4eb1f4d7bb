"""Exact copies: a digest of what a picture is, equal only where nothing was thrown away before comparing.

Two kinds, which are never equal by accident: of a JPEG as it is stored without its metadata (`jpeg`), and of pixels at
full depth, with alpha and the colours beneath it. What a reader passes over (further pages, layers, bits, what hangs on
the picture, bytes behind it) has no digest: then two files are at most what the network says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from blake3 import blake3
from PIL import Image, PngImagePlugin

from neardup.pipeline.media.attached import top_boxes
from neardup.pipeline.media.depth import Numbers
from neardup.pipeline.media.identify import Format
from neardup.pipeline.types import Pixels

_CONTEXT = "neardup 2026-11 pixels of a picture at full depth"
_SRGB_GAMMA = 0.45455
_PNG_CHUNKS = {
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"bKGD"),
    *(b"hIST", b"pHYs", b"sPLT", b"eXIf", b"iTXt", b"tEXt", b"zTXt", b"tIME", b"mDCV", b"cLLI", b"mDCv", b"cLLi"),
    *(b"oFFs", b"pCAL", b"sCAL", b"sTER", b"caBX", b"iDOT", b"orNT", b"vpAg"),
}
_WEBP_CHUNKS = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"EXIF", b"XMP "}
_HEIF_BOXES = {b"ftyp", b"meta", b"mdat", b"free", b"skip"}
_HEAD = 2**18


class Content:
    """Takes in a picture from top to bottom.

    Args:
        colours: what decides how its numbers look; see `colours_of`.
    """

    def __init__(self, colours: bytes) -> None:
        self._colours = colours
        self._digest = blake3(derive_key_context=_CONTEXT)
        self._alpha = blake3(derive_key_context=_CONTEXT)
        self._kind = b"RGB"
        self.opaque = True
        """Whether no pixel is transparent, not even in part."""
        self.dark_ground = False
        """Whether the picture is looked at on another ground than white."""

    def add(self, rgb: Pixels) -> None:
        """Take in opaque pixels of 8 bits, (h, w, 3)."""
        self._digest.update(rgb.data)

    def add_clear(self, rgba: Pixels) -> None:
        """Take in pixels of 8 bits with alpha, (h, w, 4)."""
        alpha = np.ascontiguousarray(rgba[..., 3])
        self.opaque = self.opaque and bool((alpha == 255).all())
        self._digest.update(np.ascontiguousarray(rgba[..., :3]).data)
        self._alpha.update(alpha.data)

    def add_other(self, strip: Image.Image) -> None:
        """Take in pixels of another colour space as they are stored."""
        self._kind = strip.mode.encode()
        self._digest.update(strip.tobytes())

    def add_numbers(self, values: Numbers) -> None:
        """Take in a whole picture of more than 8 bits."""
        little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        self._kind = f"{little.dtype.str} {little.shape[2:]}".encode()
        self._digest.update(little.reshape(-1).view(np.uint8).data)

    def digest(self, *shape: int) -> bytes:
        """Return 16 bytes.

        Args:
            shape: width, height and orientation, and whatever else tells pictures apart.
        """
        self._digest.update(b"\x00".join((self._kind, self._colours, *(b"%d" % number for number in shape))))
        if not self.opaque:
            self._digest.update(self._alpha.digest())
        return self._digest.digest(16)


def colours_of(picture: Image.Image, data: bytes, format: Format) -> bytes:
    """Return what decides how equal numbers look: ICC profile, gamma, colour space; b"" for plain sRGB."""
    said: list[bytes] = []
    if profile := picture.info.get("icc_profile"):
        said.append(profile)
    elif format.name == "png":
        if (gamma := picture.info.get("gamma")) and "srgb" not in picture.info and abs(gamma - _SRGB_GAMMA) > 1e-3:
            said.append(b"gamma %d" % round(1e5 * gamma))
        if (chromaticity := picture.info.get("chromaticity")) and "srgb" not in picture.info:
            numbers = [round(100 * number) for number in chromaticity]
            if numbers != [31, 33, 64, 33, 30, 60, 15, 6]:
                said.append(repr(numbers).encode())
    if format.name == "png" and (at := data[:_HEAD].find(b"\x00\x00\x00\x04cICP")) > 0:
        said.append(data[at : at + 12])
    if format.name in ("avif", "heic") and (at := data[:_HEAD].find(b"colrnclx")) > 0:
        primaries, transfer = (int.from_bytes(data[at + 8 + 2 * i : at + 10 + 2 * i], "big") for i in range(2))
        if primaries not in (1, 2) or transfer not in (1, 2, 6, 13):
            said.append(b"nclx %d %d" % (primaries, transfer))
    return b"\x00".join(said)


def holds_nothing_more(data: bytes, format: Format, info: dict[Any, Any]) -> bool:
    """Return whether a file of one picture holds nothing that its reader passes over.

    Args:
        info: what the reader says of the picture.
    """
    match format.name:
        case "png":
            return _png_is_bare(data)
        case "webp":
            return _webp_is_bare(data)
        case "gif":
            return data.rstrip(b"\x00").endswith(b";")
        case "bmp":
            return _bmp_is_bare(data)
        case "heic":
            pictures = info.get("aux") or info.get("depth_images")
            return not pictures and info.get("bit_depth", 8) == 8 and set(top_boxes(data)) <= _HEIF_BOXES
        case "avif":
            items = data[:_HEAD].count(b"\x00\x00av01")  # of the picture, and of its alpha
            return items <= 2 and set(top_boxes(data)) <= _HEIF_BOXES and avif_bits(data) == 8
        case "tiff":
            return True  # `tiff.read_pages` has seen all of it
    return False


def avif_bits(data: bytes) -> int:
    """Return the bits per channel of an AVIF (AV1-ISOBMFF, 2.3.3: av1C)."""
    at = data[:_HEAD].find(b"av1C")
    flags = data[at + 6] if 0 < at < len(data) - 6 else 0
    return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10


def _png_is_bare(data: bytes) -> bool:
    at = len(PngImagePlugin._MAGIC)
    while at + 8 <= len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name not in _PNG_CHUNKS:
            return False
        at += 12 + length
        if name == b"IEND":
            return not data[at:].strip(b"\x00")
    return False


def _webp_is_bare(data: bytes) -> bool:
    end = 8 + int.from_bytes(data[4:8], "little")
    at = 12
    while at + 8 <= end:
        if data[at : at + 4] not in _WEBP_CHUNKS:
            return False
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return not data[end:].strip(b"\x00")


def _bmp_is_bare(data: bytes) -> bool:
    """Return whether no byte of a BMP is left over: a fourth one of each pixel, a profile behind them."""
    start, header = (int.from_bytes(data[at : at + 4], "little") for at in (10, 14))
    if header < 40:
        return False
    width, height = (int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22))
    bits, packed = int.from_bytes(data[28:30], "little"), int.from_bytes(data[30:34], "little")
    stored = start + (width * bits + 31) // 32 * 4 * abs(height)
    return packed == 0 and bits <= 24 and len(data.rstrip(b"\x00")) <= stored
