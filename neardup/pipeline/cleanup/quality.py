"""How good a copy is, by what is in the picture and not by the size of its file.

Three estimates. Which share of the resolution is used: an enlarged or blurred picture holds next to nothing in its
highest octave. How hard it was ever compressed as a JPEG: coefficients stay close to the steps that they were rounded
to, also when the picture is saved anew as something better. And a small grey picture of it, in which a caption, other
text in one form, or a mirror image shows.

They compare copies of one picture and mean little between different ones.
"""

from __future__ import annotations

import io
import logging
import math
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from neardup.pipeline.cleanup.plan import Why
from neardup.pipeline.report.result import File
from neardup.pipeline.types import Kind, Limits

logger = logging.getLogger(__name__)

Grey = npt.NDArray[np.float32]
"""(h, w), 0 black to 255 white."""

LOSSLESS = 100
MAX_PIXELS = 2**26
"""Larger pictures are not decoded for an estimate."""
_TILE = 256
_TILES = 6
_SHARES = (1.0, 0.84, 0.71, 0.59, 0.5, 0.42, 0.35, 0.25)
_LEAST_FALL_DB = -7.5
"""How far the power in the highest half octave may be below that an octave lower: natural pictures, compressed ones
too, stay above, enlarged and blurred ones below."""
_SMALL = 96
_CELLS = 24
"""Small pictures are compared by their sharpest tenth of (96 / 24)² pixels."""
_SAME_MEAN = 6.0
_SAME_PIXEL = 28.0
"""How far two small pictures may be apart, of 255: in the mean of 4 × 4 pixels, and in any pixel."""
_LOSSY = ("heic", "avif", "jxl", "jp2")
_UNKNOWN_LOSS = 92
"""Compression of formats that do not say it: below lossless, and indistinguishable from a good JPEG."""
_MOMENTS = (0.2, 0.5, 0.8)
"""Shares of a video's length at which it is looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """What was estimated of a file.

    Attributes:
        share: of width and height that its detail needs, 0 to 1. pixels: its own.
        compression: as the quality setting of a JPEG, 1 to 100, the lowest of its history; 100 is lossless.
        metadata: entries of EXIF, XMP and the like.
        small: grey pictures of it, one for each moment of a video; none where it could not be looked at.
    """

    share: float = 1.0
    pixels: int = 0
    compression: int = LOSSLESS
    metadata: int = 0
    small: tuple[Grey, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether the picture itself was looked at."""
        return bool(self.small)

    @property
    def words(self) -> str:
        """The compression as a person reads it."""
        if not self.is_known:
            return ""
        return "lossless" if self.compression == LOSSLESS else f"about {self.compression} of 100"

    def finer(self, other: Quality) -> float:
        """Return above 0 where this one shows clearly finer detail, below 0 the other; octaves of area."""
        if not (self.is_known and other.is_known and self.pixels and other.pixels):
            return 0.0
        octaves = math.log2(self.pixels * self.share**2) - math.log2(other.pixels * other.share**2)
        return octaves if abs(octaves) > 0.8 else 0.0

    def less_enlarged(self, other: Quality) -> float:
        """Return above 0 where this one clearly uses more of its resolution, below 0 the other."""
        if not (self.is_known and other.is_known):
            return 0.0
        return 0.0 if 0.72 < self.share / other.share < 1.39 else self.share - other.share

    def less_compressed(self, other: Quality) -> float:
        """Return above 0 where this one is clearly less compressed, below 0 the other."""
        if not (self.is_known and other.is_known):
            return 0.0
        difference = self.compression - other.compression
        return difference if abs(difference) >= LOSSLESS - _UNKNOWN_LOSS else 0.0


UNKNOWN = Quality()


class Look(Protocol):
    """Estimates the quality of a file."""

    def __call__(self, file: File, closely: bool) -> Quality:
        """Return it; of the metadata alone, unless asked to look `closely`."""


class Looker:
    """Looks at files, each once. A file that cannot be read has an unknown quality."""

    def __init__(self, limits: Limits) -> None:
        """Take the limits that decoding keeps to."""
        self._limits = limits
        self._found: dict[tuple[int, bool], Quality] = {}

    def __call__(self, file: File, closely: bool) -> Quality:
        """See `Look`."""
        key = file.id, closely
        if key not in self._found:
            self._found[key] = self._look(file, closely)
        return self._found[key]

    def _look(self, file: File, closely: bool) -> Quality:
        try:
            return self._film(file, closely) if file.kind is Kind.VIDEO else self._picture(file, closely)
        except Exception as error:  # also a decoder's own: the file stays, as nothing is known of it
            logger.info("file could not be looked at path=%r", file.path, exc_info=error)
            return UNKNOWN

    def _picture(self, file: File, closely: bool) -> Quality:
        from neardup.pipeline.media.identify import HEAD_BYTES, identify

        data = Path(file.path).read_bytes() if file.bytes <= self._limits.max_bytes else b""
        format = identify(data[:HEAD_BYTES])
        if format is None or format.kind is not Kind.IMAGE:
            return UNKNOWN
        metadata, table = _header(data, format.name)
        if not closely or file.width * file.height > MAX_PIXELS:
            return Quality(metadata=metadata)
        grey = self._grey(data, file)
        lossy = format.name in _LOSSY or (format.name == "webp" and b"VP8L" not in data[:64])
        return Quality(
            share=used_share(grey),
            pixels=grey.size,
            compression=min(table, history_quality(grey), _UNKNOWN_LOSS if lossy else LOSSLESS),
            metadata=metadata,
            small=(small(grey),),
        )

    def _grey(self, source: bytes | Path, file: File, seconds: float = 0.0) -> Grey:
        """Return a picture of a file in full size."""
        from neardup.pipeline.media.reader import frame_at

        rgb = frame_at(source, seconds, max(file.width, file.height), self._limits)
        return rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)

    def _film(self, file: File, closely: bool) -> Quality:
        if not closely or file.width * file.height > MAX_PIXELS:
            return UNKNOWN
        greys = [self._grey(Path(file.path), file, share * file.seconds) for share in _MOMENTS]
        share = sorted(used_share(grey) for grey in greys)[len(greys) // 2]
        small_ones = tuple(small(grey) for grey in greys)
        return Quality(share=share, pixels=greys[0].size, compression=_UNKNOWN_LOSS, small=small_ones)


def agree(a: Quality, b: Quality) -> Why | None:
    """Return why two files cannot be said to look alike everywhere; None if they do."""
    if not (a.is_known and b.is_known) or len(a.small) != len(b.small):
        return Why.UNPROVEN
    alike = all(_same(one, other) for one, other in zip(a.small, b.small, strict=True))
    return None if alike else Why.LOOKS_DIFFERENT


def _same(a: Grey, b: Grey) -> bool:
    difference = a - b
    cells = difference.reshape(_CELLS, _SMALL // _CELLS, _CELLS, -1).mean(axis=(1, 3))
    return float(np.abs(cells).max()) <= _SAME_MEAN and float(np.abs(difference).max()) <= _SAME_PIXEL


def small(grey: Grey) -> Grey:
    """Return a picture of 96 × 96."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(grey, dtype=np.float32))
    return np.asarray(picture.resize((_SMALL, _SMALL), Image.Resampling.BILINEAR), dtype=np.float32)


def used_share(grey: Grey) -> float:
    """Return which share of the resolution holds detail, 0.25 to 1, by the fall of power towards high frequencies."""
    tiles = _tiles(grey)
    if not tiles:
        return 1.0
    side = tiles[0].shape[0]
    window = np.outer(np.hanning(side), np.hanning(side))
    power = sum(np.abs(np.fft.rfft2((tile - tile.mean()) * window)) ** 2 for tile in tiles)
    radius = 2 * np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])

    def ring(low: float, high: float) -> float:
        """Return the power above that of rounding to whole numbers, which is 1/12 for each pixel."""
        within = (radius >= low) & (radius < high)
        noise = 4 / 12 * float((window**2).sum()) * len(tiles) * int(within.sum())
        return max(float(np.asarray(power)[within].sum()) - noise, 1e-9)

    for share in _SHARES:
        high, low = ring(0.71 * share, share), ring(0.35 * share, 0.5 * share)
        if high > 1.0 and 10 * math.log10(high / low) >= _LEAST_FALL_DB:
            return share
    return _SHARES[-1]


def _tiles(grey: Grey) -> list[Grey]:
    """Return the parts with most detail: some at its own resolution stand for all."""
    height, width = grey.shape
    side = min(_TILE, height, width)
    if side < 32:
        return []
    corners = [(y, x) for y in range(0, height - side + 1, side) for x in range(0, width - side + 1, side)]

    def detail(corner: tuple[int, int]) -> float:
        y, x = corner
        return float(np.abs(np.diff(grey[y : y + side : 2, x : x + side : 2])).mean())

    return [grey[y : y + side, x : x + side] for y, x in sorted(corners, key=detail)[-_TILES:]]


# --- Compression

_STEPS = np.array([[16, 11, 10], [12, 12, 14], [14, 13, 16]], dtype=np.float64)
"""First entries of the luminance table of ITU-T T.81, K.1, which libjpeg scales by its quality setting."""
_WHERE = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0))


def _table_quality(tables: dict[int, list[int]]) -> int:
    """Return the quality setting that made a JPEG's luminance table."""
    mean = float(np.mean(next(iter(tables.values())))) / 57.625  # that of the standard table
    return _from_scale(mean)


def _from_scale(scale: float) -> int:
    """Return libjpeg's quality for a multiple of the standard table."""
    quality = 100 - 50 * scale if scale <= 1 else 50 / scale
    return max(1, min(99, round(quality)))


def history_quality(grey: Grey) -> int:
    """Return the lowest JPEG quality that a picture went through at this size, as far as it shows; else 100.

    Coefficients that were once rounded to a step stay close to its multiples. Source: Fan and de Queiroz 2003,
    doi:10.1109/TIP.2002.807361.
    """
    tiles = [tile[: tile.shape[0] // 8 * 8, : tile.shape[1] // 8 * 8] for tile in _grid_tiles(grey)]
    if not tiles:
        return LOSSLESS
    blocks = np.concatenate([_blocks(tile) for tile in tiles]) - 128.0
    basis = _dct()
    coefficients = np.einsum("ui,nij,vj->nuv", basis[:3], blocks, basis[:3], optimize=True)
    scales = []
    for u, v in _WHERE:
        step = _step(coefficients[:, u, v])
        if step:
            scales.append(step / _STEPS[u, v])
    return _from_scale(float(np.median(scales))) if len(scales) >= 3 else LOSSLESS


def _step(values: npt.NDArray[np.float64]) -> int:
    """Return the largest step that coefficients keep to, from 3 on; 0 if there is none."""
    for step in range(60, 2, -1):
        far = values[np.abs(values) > 0.5 * step]
        if len(far) >= 60 and float(np.cos(2 * np.pi * far / step).mean()) > 0.6:
            return step
    return 0


def _grid_tiles(grey: Grey) -> list[Grey]:
    """As `_tiles`, on the grid of 8 × 8 blocks that starts in the picture's corner."""
    return [tile for tile in _tiles(grey) if tile.shape[0] % 8 == 0] if min(grey.shape) >= _TILE else [grey]


def _blocks(tile: Grey) -> npt.NDArray[np.float64]:
    height, width = tile.shape
    blocks: npt.NDArray[np.float64] = tile.reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2).astype(np.float64)
    return blocks.reshape(-1, 8, 8)


def _dct() -> npt.NDArray[np.float64]:
    """Return the orthonormal DCT-II of 8 values, as rows."""
    n = np.arange(8)
    basis: npt.NDArray[np.float64] = np.sqrt(2 / 8) * np.cos(np.pi * (2 * n[None] + 1) * n[:, None] / 16)
    basis[0] /= np.sqrt(2)
    return basis


# --- Metadata

_XMP_NAMES = re.compile(rb"[\w-]+:[\w-]+\s*=|<(?!/|rdf:|x:)[\w-]+:[\w-]+")


def _header(data: bytes, format: str) -> tuple[int, int]:
    """Return how many entries of metadata a picture has, and the quality of a JPEG's tables; nothing is decoded."""
    from PIL import Image
    from pillow_heif.as_plugin import HeifImageFile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's own limit on pixels
            source = io.BytesIO(data)
            picture: Any = HeifImageFile(source) if format == "heic" else Image.open(source)
        tables = getattr(picture, "quantization", None)
        return _entries(picture), _table_quality(tables) if tables else LOSSLESS
    except Exception as error:  # a header that Pillow does not read says nothing
        logger.info("header could not be read format=%s", format, exc_info=error)
        return 0, LOSSLESS


def _entries(picture: Any) -> int:
    exif = picture.getexif()
    count = len(exif) + sum(len(exif.get_ifd(tag)) for tag in (0x8769, 0x8825))
    xmp = picture.info.get("xmp")
    names = _XMP_NAMES.findall(xmp[: 2**20]) if isinstance(xmp, bytes) else []
    return count + len(names) + bool(picture.info.get("icc_profile"))
