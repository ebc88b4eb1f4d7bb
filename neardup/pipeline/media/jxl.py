"""The size of a JPEG XL picture, read before anything is decoded.

Source: ISO/IEC 18181-1, SizeHeader; 18181-2, boxes.
"""

from __future__ import annotations

from neardup.pipeline.media.attached import top_boxes

CODESTREAM, CONTAINER = b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_HEAD = 64


def size(data: bytes) -> tuple[int, int]:
    """Return width and height.

    Raises:
        ValueError: there is no codestream.
    """
    bits = _Bits(_codestream(data)[len(CODESTREAM) :])
    small = bits.take(1)
    height = 8 * (bits.take(5) + 1) if small else bits.number()
    ratio = bits.take(3)
    if ratio:
        over, under = _RATIOS[ratio - 1]
        return height * over // under, height
    return (8 * (bits.take(5) + 1) if small else bits.number()), height


def _codestream(data: bytes) -> bytes:
    if data.startswith(CODESTREAM):
        return data[:_HEAD]
    for name, skip in ((b"jxlc", 4), (b"jxlp", 8)):
        if name in top_boxes(data) and (start := data.index(name) + skip):
            return data[start : start + _HEAD]
    raise ValueError("no picture in it")


class _Bits:
    """Numbers of some bits each, the lowest of a byte first."""

    def __init__(self, data: bytes) -> None:
        self._rest = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._rest & ((1 << count) - 1)
        self._rest >>= count
        return value

    def number(self) -> int:
        """Return a side: 9, 13, 18 or 30 bits, and one more."""
        return 1 + self.take((9, 13, 18, 30)[self.take(2)])
