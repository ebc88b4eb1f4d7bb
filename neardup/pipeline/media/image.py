"""Decode still pictures: upright, RGB, on white, at no more resolution than the tile needs.

Plugins of Pillow are called directly, not through `Image.open`: the format is known, and Pillow's own limit on pixels
warns where ours decides.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pillow_heif.options
from blake3 import blake3
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from pillow_heif.as_plugin import HeifImageFile

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.budget import Metered, current
from neardup.pipeline.media.extent import ends_early
from neardup.pipeline.media.faults import decoding
from neardup.pipeline.media.identify import JPEG, TIFF, Format, identify
from neardup.pipeline.media.jpeg import read_plain_jpeg
from neardup.pipeline.media.orientation import orientation, upright, upright_shape
from neardup.pipeline.media.preview import Preview
from neardup.pipeline.media.regions import Cutter
from neardup.pipeline.media.tables import check_strips, expect_picture
from neardup.pipeline.media.tile import fit, squeeze
from neardup.pipeline.media.turbo import decode_plain
from neardup.pipeline.types import Frame, Kind, Limits, Media, Pixels

DEFAULT_LIMITS = Limits()

_PLUGINS: dict[str, Callable[[BinaryIO], ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
    "heic": HeifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
}
# Items are decoded side by side, so that threads within one would only be in each other's way.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
pillow_heif.options.DECODE_THREADS = 1

_STRIP_PIXELS = 2**22
_LARGE_PIXELS = 2**25
_large = threading.Lock()
"""Held while a picture of more than _LARGE_PIXELS is decoded: many threads must not add up to many gigabytes."""


def open_image(
    data: bytes,
    format: Format,
    size: int,
    limits: Limits,
    preview: Preview | None = None,
    regions: Cutter | None = None,
) -> Media:
    """Decode a picture; of several pages or frames, the first.

    Args:
        data: the whole file. format: what `identify` says of it.
        size: side of the tile.
        preview: takes the picture.
        regions: takes the picture, and adds its regions to the frames when it is told to `cut`.
    Raises:
        InvalidFrame: the content is broken, cut off or beyond the limits.
    """
    digest = blake3()
    with decoding(format, lambda: ends_early(format, io.BytesIO(data))):
        found = _decode_plain(data, size, limits) if format == JPEG else None
        if found is not None:
            digest.update(found.rgb.data)
        else:
            found = _decode(data, format, size, limits, lambda strip: digest.update(strip.data))
    width, height, turn = found.width, found.height, found.orientation
    digest.update(b"%d %d %d %d" % (width, height, found.scale, turn))
    shrunk = found.scale * found.factor
    tile = upright(squeeze(found.rgb, size, (height / shrunk, width / shrunk)), turn)
    frames = [Frame(pts=0.0, tile=tile)]
    if regions is not None:
        regions.add(frames, upright(found.rgb, turn))
    if preview is not None:
        preview.take(upright(found.rgb, turn))
    height, width = upright_shape(height, width, turn)
    return Media(
        kind=Kind.IMAGE,
        format=format.name,
        width=width,
        height=height,
        seconds=0.0,
        pixels_digest=digest.digest(16),
        frames=iter(frames),
    )


def thumbnail(data: bytes, max_side: int, limits: Limits = DEFAULT_LIMITS) -> Pixels:
    """Return a picture at its own aspect ratio, upright, its longer side `max_side` or its own size if that is less.

    Returns:
        uint8 (h, w, 3).
    Raises:
        InvalidFrame: as `open_image`.
    """
    format = identify(data)
    if format is None or format.kind is not Kind.IMAGE:
        raise InvalidFrame(Reason.FORMAT, "no image format that is read here")
    with decoding(format, lambda: ends_early(format, io.BytesIO(data))):
        found = _decode_plain(data, max_side, limits) if format == JPEG else None
        found = found or _decode(data, format, max_side, limits, lambda _strip: None)
    return upright(fit(found.rgb, max_side), found.orientation)


def open_plugin(data: bytes, format: Format, limits: Limits) -> ImageFile.ImageFile:
    """Read the header, and check the picture's size before anything of that size is allocated."""
    if format == TIFF:
        check_strips(data)
    picture = _PLUGINS[format.name](Metered(data))
    check_pixels(picture.width, picture.height, limits)
    expect_picture(data, format, picture.width, picture.height)
    return picture


def check_pixels(width: int, height: int, limits: Limits) -> None:
    """Raise InvalidFrame (BOMB) for a picture of more pixels than the limit, (DECODE) for one of none."""
    if width * height > limits.max_pixels:
        raise InvalidFrame(Reason.BOMB, f"{width} × {height} pixels, at most {limits.max_pixels} are decoded")
    if width * height <= 0:
        raise InvalidFrame(Reason.DECODE, f"{width} × {height} pixels")


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A picture as it is stored.

    Attributes:
        width, height: at full scale, before `orientation`, 1 to 8.
        scale: denominator of the scale that it was decoded at. factor: it was shrunk by since then.
        rgb: uint8 (h, w, 3).
    """

    width: int
    height: int
    orientation: int
    scale: int
    factor: int
    rgb: Pixels


def _decode_plain(data: bytes, side: int, limits: Limits) -> _Decoded | None:
    """Decode a plain JPEG the fast way, to the same pixels as `_decode`; None if that cannot do it."""
    header = read_plain_jpeg(data)
    if header is None:
        return None
    width, height = header.width, header.height
    check_pixels(width, height, limits)
    scale = next((scale for scale in (8, 4, 2) if min(width, height) >= scale * side), 1)
    if min(width, height) // scale >= 4 * side or width * height > _LARGE_PIXELS:
        return None
    rgb = decode_plain(data, header, scale)
    return None if rgb is None else _Decoded(width, height, header.orientation, scale, 1, rgb)


def _decode(data: bytes, format: Format, side: int, limits: Limits, seen: Callable[[Pixels], object]) -> _Decoded:
    """Decode any picture at no more resolution than `side` needs; `seen` is called with each strip of it."""
    picture = open_plugin(data, format, limits)
    large = picture.width * picture.height > _LARGE_PIXELS
    if large:
        current().long()
    with _large if large else nullcontext():
        width, height, scale = _load(picture, side)
        turn = orientation(picture.info.get("exif") or b"")
        rgb, factor = _reduce(picture, side, seen)
    return _Decoded(width, height, turn, scale, factor, rgb)


def _load(picture: ImageFile.ImageFile, side: int) -> tuple[int, int, int]:
    """Decode in place; a JPEG at 1/2, 1/4 or 1/8 scale where both sides stay at least `side`.

    Returns:
        width and height at full scale, before EXIF orientation, and the scale's denominator.
    """
    width, height = picture.size
    if isinstance(picture, JpegImagePlugin.JpegImageFile):  # HEIC would answer with its embedded thumbnail
        picture.draft("RGB", (side, side))
    scale = round(width / picture.width)
    picture.load()
    # TIFF is turned upright by loading, and the size in a HEIC header may be off.
    return (width, height, scale) if scale > 1 else (picture.width, picture.height, 1)


def _reduce(picture: Image.Image, side: int, seen: Callable[[Pixels], object]) -> tuple[Pixels, int]:
    """Shrink by a whole factor so that both sides stay at least twice `side`, strip by strip.

    A strip at a time keeps the copies small that RGB on white needs: a picture of 200 million pixels takes most of a
    gigabyte as it is.

    Args:
        seen: called with each strip at full size.
    Returns:
        uint8 (h, w, 3), and the factor.
    """
    picture = _eight_bits(picture)
    width, height = picture.size
    factor = max(1, min(width, height) // (2 * side))
    rows = max(1, _STRIP_PIXELS // width // factor) * factor
    strips = []
    for top in range(0, height, rows):
        current().check()
        rgb = to_rgb(picture if rows >= height else picture.crop((0, top, width, min(height, top + rows))))
        pixels = np.array(rgb)
        seen(pixels)
        strips.append(np.array(rgb.reduce(factor)) if factor > 1 else pixels)
    return strips[0] if len(strips) == 1 else np.concatenate(strips), factor


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Bring the modes that Pillow would clip to 0 to 255: the upper 8 of 16 bits; other numbers stretched to fit."""
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(picture, dtype=np.float32))
        low, high = float(values.min()), float(values.max())
        return Image.fromarray(((values - low) * (255 / max(high - low, 1e-12))).astype(np.uint8))
    return picture


def to_rgb(picture: Image.Image) -> Image.Image:
    """Return a picture of any 8-bit mode as RGB, what is transparent on white."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=picture.getchannel("A"))
    return white
