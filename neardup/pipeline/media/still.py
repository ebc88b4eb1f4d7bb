"""Decode one picture: as it is stored, RGB, at no more resolution than is needed; and what is to be said about it.

Plugins of Pillow are called directly, not through `Image.open`: the format is known, and Pillow's own limit on pixels
warns where ours decides. What Pillow would cut to 8 bits, or not read at all, imagecodecs decodes.
"""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import msgspec
import numpy as np
import pillow_heif.options
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PcxImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from pillow_heif.as_plugin import HeifImageFile

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media import jxl
from neardup.pipeline.media.attached import attached_to_heif, attached_to_jpeg, in_order
from neardup.pipeline.media.budget import Metered, current
from neardup.pipeline.media.depth import Numbers, eight_bits, is_stretched
from neardup.pipeline.media.digest import Content, avif_bits, colours_of, holds_nothing_more
from neardup.pipeline.media.extent import ends_early
from neardup.pipeline.media.faults import decoding
from neardup.pipeline.media.ground import WHITE, choose, on_white, put_on
from neardup.pipeline.media.identify import HEIC, ICO, JPEG, JXL, PNG, TIFF, WEBP, Format
from neardup.pipeline.media.jpeg import END, JpegHeader, is_cut_off, read_jpeg, tail
from neardup.pipeline.media.orientation import orientation, upright
from neardup.pipeline.media.refuse import COPY_AGAIN, SAVE_ANEW, beyond
from neardup.pipeline.media.tables import check_strips, expect_picture
from neardup.pipeline.media.tiff import BLACK_IS_ZERO, CMYK, RGB, WHITE_IS_ZERO, Page, read_pages
from neardup.pipeline.media.turbo import decode_plain
from neardup.pipeline.media.webp import webp_size
from neardup.pipeline.types import PLAIN, Attachment, Extras, Limits, Pixels

_PLUGINS: dict[str, Callable[[BinaryIO], ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
    "heic": HeifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "jpeg2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "pnm": PpmImagePlugin.PpmImageFile,
    "tga": TgaImagePlugin.TgaImageFile,
    "ico": IcoImagePlugin.IcoImageFile,
    "pcx": PcxImagePlugin.PcxImageFile,
}
# Items are decoded side by side, so that threads within one would only be in each other's way.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
pillow_heif.options.DECODE_THREADS = 1

SMALL = 1.5
"""Shorter side, in tiles, below which a JPEG is always decoded at full scale on the CPU: there its digest is that of
its pixels, and a GPU leaves it alone (`nvjpeg`)."""
_BYTES_PER_PIXEL = {"heic": 9, "avif": 11, "webp": 17, "jpeg2000": 20, "jxl": 20, "jpeg": 6, "ico": 12}
"""What a decoder allocates at its peak, as measured; 4 otherwise. A plain JPEG is decoded at a reduced scale."""
_OF_MODE = {"I;16": 9, "I": 14, "F": 14}
_SLIM_BYTES, _SLIM_CLEAR_BYTES = 10, 18
"""The same for a picture that is kept at full size, which a long and low one is; and with transparency."""
_DEEP_BYTES = 4
"""The same for each channel of more than 8 bits."""
_STRIP_PIXELS = 2**22
_LARGE_PIXELS = 2**25
_large = threading.Lock()
"""Taken while a picture of more than _LARGE_PIXELS is decoded: many threads must not add up to many gigabytes."""
_PLAIN_MODES = {"1", "L", "P", "RGB"}
_CLEAR_MODES = {"LA", "PA", "RGBA", "La", "RGBa"}
_LEAST_ROWS = 0.5
"""Share of a picture's rows that must be there where it is cut off."""
_MCU = 16
_BIG_TIFF_MM = b"MM\x00+"
_PNG_BEGINS = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Still:
    """A picture as it is stored, but for what is said of it.

    Attributes:
        width, height: at full scale, before `orientation`, 1 to 8.
        rgb: uint8 (h, w, 3).
        extent: rows and columns of `rgb` that hold picture; the last of them may stand for less than a whole one.
        digest: see `types.Media.pixels_digest`.
    """

    width: int
    height: int
    orientation: int
    rgb: Pixels
    extent: tuple[float, float]
    digest: bytes
    extras: Extras


class Opened:
    """A file of one picture or several of equal rank, whose headers were read."""

    def __init__(self, plugin: ImageFile.ImageFile | None, directories: Sequence[Page]) -> None:
        self.plugin = plugin
        self.directories = directories
        self.pages = [page for page in directories if page.is_page] or list(directories)

    def __len__(self) -> int:
        return len(self.pages) if self.directories else int(getattr(self.plugin, "n_frames", 1))


def open_still(data: bytes, format: Format, limits: Limits) -> Opened | None:
    """Read the headers of a TIFF or HEIC; None of another format, which holds one picture only, or moves."""
    if format == TIFF:
        check_strips(data)
        return Opened(None, read_pages(data, limits.max_frames + 1))
    if format != HEIC:
        return None
    with decoding(format, lambda: ends_early(format, io.BytesIO(data))):
        return Opened(open_plugin(data, format, limits), [])


def decode_still(
    data: bytes, format: Format, side: int, limits: Limits, page: int = 0, opened: Opened | None = None
) -> Still:
    """Decode a picture so that its shorter side has at least `side` pixels, if it has as many.

    Args:
        data: the whole file. format: what `identify` says of it.
        page: of several pictures in the file, by their number. opened: what `open_still` says of the file.
    Raises:
        InvalidFrame: the content is broken, cut off before half of it, or beyond the limits.
    """

    def guard() -> AbstractContextManager[None]:
        return decoding(format, lambda: ends_early(format, io.BytesIO(data)))

    try:
        with guard():
            header = read_jpeg(data) if format == JPEG else None
            if format != JPEG or not _ends_in_zeros(data):
                if header is not None:
                    return _decode_jpeg(data, header, side, limits)
                return _decode(data, format, side, limits, page, opened)
            raise InvalidFrame(Reason.TRUNCATED, f"jpeg: the file ends in zeros; {COPY_AGAIN}")
    except InvalidFrame as error:
        if error.reason is not Reason.TRUNCATED:
            raise
        rest = None
        with suppress(InvalidFrame), guard():
            rest = _decode_rest(data, format, side, limits)
        if rest is None:
            raise
        return rest


def open_plugin(data: bytes, format: Format, limits: Limits) -> ImageFile.ImageFile:
    """Read the header, and check the picture's size before anything of that size is allocated."""
    if format == TIFF:
        check_strips(data)
    elif format == WEBP and (size := webp_size(data)):  # its decoder makes a canvas when it opens a file
        check_pixels(*size, limits)
    elif format == ICO:  # opening it decodes it
        _check_icon(data, limits)
    picture = _PLUGINS[format.name](Metered(data))
    check_pixels(picture.width, picture.height, limits)
    expect_picture(data, format, picture.width, picture.height)
    return picture


def check_pixels(width: int, height: int, limits: Limits) -> None:
    """Raise InvalidFrame (BOMB) for a picture of more pixels than the limit, (DECODE) for one of none."""
    if width * height > limits.max_pixels:
        raise beyond("max_pixels", f"{width} × {height} pixels, at most {limits.max_pixels} are decoded")
    if width * height <= 0:
        raise InvalidFrame(Reason.DECODE, f"a picture of {width} × {height} pixels; {SAVE_ANEW}")


def _check_icon(data: bytes, limits: Limits) -> None:
    """Check the size of the picture in an icon that is shown, which has a header of its own."""
    pictures = IcoImagePlugin.IcoFile(Metered(data)).entry
    if not pictures:
        raise ValueError("no picture in it")
    shown = pictures[0]
    head = data[shown.offset : shown.offset + 24]
    if head.startswith(_PNG_BEGINS):
        width, height = struct.unpack_from(">II", head, len(_PNG_BEGINS) + 8)
    else:
        width, height = struct.unpack_from("<ii", head, 4)
    check_pixels(abs(width), abs(height), limits)
    _check_memory(abs(width), abs(height), _BYTES_PER_PIXEL[ICO.name], limits)


def _check_memory(width: int, height: int, per_pixel: int, limits: Limits) -> None:
    """Raise InvalidFrame (BOMB) for a picture that would take more memory than the limit."""
    needed = width * height * per_pixel
    if needed > limits.max_picture_memory_bytes:
        most = f"at most {limits.max_picture_memory_bytes / 2**20:,.0f} MiB are allowed"
        raise beyond(
            "max_picture_memory_bytes", f"{width} × {height} pixels take {needed / 2**20:,.0f} MiB to decode, {most}"
        )


# -- JPEG --------------------------------------------------------------------------------------------------------------


def jpeg_extras(data: bytes, header: JpegHeader, rgb: Pixels) -> Extras:
    """Return what a JPEG holds; `rgb` is a picture of it of any size, (h, w, 3)."""
    attachments = attached_to_jpeg(data, header)
    return Extras(attachments=attachments, bits=header.bits, grey=header.components == 1 or is_grey(rgb))


def is_grey(rgb: Pixels) -> bool:
    """Return whether no pixel, (h, w, 3), has a colour."""
    row = rgb[len(rgb) // 2]  # most have one in any row
    if (row[:, 0] != row[:, 1]).any() or (row[:, 1] != row[:, 2]).any():
        return False
    return bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all())


def _decode_jpeg(data: bytes, header: JpegHeader, side: int, limits: Limits) -> Still:
    """Decode a JPEG, a plain one the fast way, to the same pixels."""
    width, height = header.width, header.height
    check_pixels(width, height, limits)
    small = min(width, height) < SMALL * side and header.components != 4
    whole = small and header.is_bare and tail(data, header) == len(data)
    rgb, scale = _decode_fast(data, header, side) if header.plain else None, 1
    if rgb is not None:
        scale = -(-height // len(rgb))
        found = Still(width, height, header.orientation, rgb, (height / scale, width / scale), b"", PLAIN)
    else:
        found = _decode(data, JPEG, side, limits)
    extras = jpeg_extras(data, header, found.rgb)
    if not whole or extras.attachments:
        return replace(found, digest=header.digest, extras=extras)
    content = Content(header.profile)
    pixels = upright(found.rgb, header.orientation)
    content.add(pixels)
    return replace(found, digest=content.digest(pixels.shape[1], pixels.shape[0]), extras=extras)


def _decode_fast(data: bytes, header: JpegHeader, side: int) -> Pixels | None:
    """Decode a plain JPEG at 1/2, 1/4 or 1/8 scale where both sides stay at least `side`; None if that cannot do it."""
    short = min(header.width, header.height)
    scale = next((scale for scale in (8, 4, 2) if short >= scale * side), 1)
    if short // scale >= 4 * side or header.width * header.height > _LARGE_PIXELS:
        return None
    return decode_plain(data, header, scale)


def _ends_in_zeros(data: bytes) -> bool:
    return data.endswith(bytes(16)) and is_cut_off(data)


# -- all others --------------------------------------------------------------------------------------------------------


def _decode(
    data: bytes, format: Format, side: int, limits: Limits, number: int = 0, file: Opened | None = None
) -> Still:
    """Decode any picture."""
    if format == JXL:
        return _decode_jxl(data, side, limits)
    file = file or open_still(data, format, limits) or Opened(None, [])
    page = file.pages[number] if number < len(file.pages) else None
    number = page.number if page is not None else number
    deep = _is_deep(data, format, page)
    if page is not None and deep:
        check_pixels(page.width, page.height, limits)
        _check_memory(page.width, page.height, 2 + _deep_bytes(page), limits)
        picture: Image.Image = Image.new("L", (1, 1))
        with _alone(page.width * page.height):
            return _from_numbers(_tiff_numbers(data, page), picture, data, format, side, page)
    opened = file.plugin = file.plugin or open_plugin(data, format, limits)
    if number != opened.tell():
        if isinstance(opened, HeifImageFile) and opened._heif_file is not None:  # it allocates the picture as it seeks
            width, height = opened._heif_file[number].size
            check_pixels(width, height, limits)
        opened.seek(number)
        check_pixels(opened.width, opened.height, limits)
    per_pixel = _BYTES_PER_PIXEL.get(format.name, _OF_MODE.get(opened.mode[:4], 4)) + (_DEEP_BYTES * 4 if deep else 0)
    _check_memory(opened.width, opened.height, max(per_pixel, _slim_bytes(opened, side)), limits)
    with _alone(opened.width * opened.height):
        if deep:
            import imagecodecs

            return _from_numbers(imagecodecs.png_decode(data), opened, data, format, side, None)
        shape = _load(opened, side)
        return _from_loaded(opened, opened.info, shape, data, format, side, file.directories, page)


def _slim_bytes(picture: Image.Image, side: int) -> int:
    """Return the bytes for each pixel of a picture that is not reduced, for one of its sides is short; else 0."""
    if min(picture.size) >= 4 * side:
        return 0
    return _SLIM_CLEAR_BYTES if picture.has_transparency_data else _SLIM_BYTES


def _alone(pixels: int) -> AbstractContextManager[Any]:
    if pixels > _LARGE_PIXELS:
        current().long()
    return _large if pixels > _LARGE_PIXELS else nullcontext()


def _is_deep(data: bytes, format: Format, page: Page | None) -> bool:
    """Return whether Pillow would cut the numbers to 8 bits, or not read them."""
    if format == PNG:
        return data[24:25] == b"\x10" and data[25:26] != b"\x00"
    if page is not None and data.startswith(_BIG_TIFF_MM):  # Pillow reads those of the other byte order alone
        return page.bits >= 8 and page.colours in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK)
    return page is not None and page.bits > 8 and (page.samples > 1 or page.bits > 32)


def _deep_bytes(page: Page) -> int:
    return page.samples * (page.bits // 8 + _DEEP_BYTES)


def _tiff_numbers(data: bytes, page: Page) -> Numbers:
    import imagecodecs

    values = imagecodecs.tiff_decode(data, index=page.number)
    if page.is_planar and values.ndim == 3 and values.shape[0] == page.samples:
        values = values.transpose(1, 2, 0)
    if page.colours == WHITE_IS_ZERO and values.dtype.kind == "u":
        values = np.iinfo(values.dtype).max - values
    return np.ascontiguousarray(values)


def _decode_jxl(data: bytes, side: int, limits: Limits) -> Still:
    import imagecodecs

    width, height = jxl.size(data)
    check_pixels(width, height, limits)
    expect_picture(data, JXL, width, height)
    _check_memory(width, height, _BYTES_PER_PIXEL[JXL.name], limits)
    with _alone(width * height):
        values = imagecodecs.jpegxl_decode(data, numthreads=1)
        while values.ndim > 3 or (values.ndim == 3 and values.shape[-1] > 4):  # several frames: the first
            values = values[0]
        found = _from_numbers(values, Image.new("L", (1, 1)), data, JXL, side, None)
    return replace(found, digest=b"")


def _from_numbers(
    values: Numbers, opened: Image.Image, data: bytes, format: Format, side: int, page: Page | None
) -> Still:
    """Make a picture of numbers, (h, w) or (h, w, c): grey, with alpha, RGB, with alpha."""
    turn = page.orientation if page is not None else orientation(opened.info.get("exif") or b"")
    values = upright(values.reshape(*values.shape[:2], -1), turn)
    height, width, channels = values.shape
    colours = page.look if page is not None else colours_of(opened, data, format)
    content = Content(colours)
    content.add_numbers(values)
    in_ink = page is not None and page.colours == CMYK and channels == 4
    alpha = 0 if in_ink else 1 - channels % 2 if channels <= 4 else 0
    seen = eight_bits(values[..., : channels - alpha])
    if in_ink:
        picture = Image.fromarray(seen, "CMYK").convert("RGB")
    else:
        seen = seen[..., :3] if seen.shape[2] >= 3 else seen[..., :1].repeat(3, axis=2)
        picture = Image.fromarray(np.ascontiguousarray(seen))
    if alpha:
        picture.putalpha(Image.fromarray(_opacity(values[..., -1])))
    looked_at = Content(b"")
    rgb, factor = _reduce(picture, side, looked_at)
    bits = max(8, 8 * values.dtype.itemsize) if page is None else page.bits
    attachments = (Attachment.ALPHA,) * (not looked_at.opaque)
    extras = Extras(
        attachments=attachments,
        bits=bits,
        grey=is_grey(rgb),
        dark_ground=looked_at.dark_ground,
        stretched=is_stretched(values[..., : channels - alpha]),
    )
    claims = holds_nothing_more(data, format, opened.info) and not (page and (page.associated or page.has_more))
    digest = content.digest(width, height) if claims else b""
    return Still(width, height, 1, rgb, (height / factor, width / factor), digest, extras)


def _opacity(alpha: Numbers) -> Pixels:
    most = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1.0
    return np.asarray(np.clip(alpha * (255.0 / most), 0, 255), dtype=np.uint8)


def _from_loaded(
    picture: Image.Image,
    info: dict[Any, Any],
    shape: tuple[int, int, int],
    data: bytes,
    format: Format,
    side: int,
    directories: Sequence[Page],
    page: Page | None,
) -> Still:
    width, height, scale = shape
    turn = orientation(info.get("exif") or b"")
    bits = _bits(picture, info, data, format, page)
    content = Content(colours_of(picture, data, format))
    if turn != 1 and format != JPEG:
        picture = _turned(picture, turn)
        picture.info.update(info)
        width, height, turn = *picture.size, 1
    if (values := _as_numbers(picture, page)) is not None:
        content.add_numbers(values)
        rgb, factor = _reduce(Image.fromarray(eight_bits(values)), side, Content(b""))
    else:
        rgb, factor = _reduce(picture, side, content)
    found = set() if content.opaque else {Attachment.ALPHA}
    if format.name in ("heic", "avif"):
        found |= set(attached_to_heif(info if format.name == "heic" else {}, data))
    claims = len(directories) <= 1 and holds_nothing_more(data, format, info) and (bits <= 8 or values is not None)
    if page is not None:
        whole = page.samples == len(picture.getbands()) or picture.mode == "P"
        claims = claims and whole and not page.associated and not page.has_more
    claims = claims and not found - {Attachment.ALPHA}
    shrunk = scale * factor
    return Still(
        width,
        height,
        turn,
        rgb,
        (height / shrunk, width / shrunk),
        content.digest(width, height) if claims else b"",
        Extras(
            attachments=in_order(found),
            bits=bits,
            grey=is_grey(rgb),
            dark_ground=content.dark_ground,
            stretched=values is not None and is_stretched(values),
        ),
    )


def _turned(picture: Image.Image, turn: int) -> Image.Image:
    T = Image.Transpose  # noqa: N806
    ways = (T.FLIP_LEFT_RIGHT, T.ROTATE_180, T.FLIP_TOP_BOTTOM, T.TRANSPOSE, T.ROTATE_270, T.TRANSVERSE, T.ROTATE_90)
    return picture.transpose(ways[turn - 2])


def _bits(picture: Image.Image, info: dict[Any, Any], data: bytes, format: Format, page: Page | None) -> int:
    """Return the bits per channel of a picture as it is stored."""
    if picture.mode == "P":
        return 8
    match format.name:
        case "png":
            return data[24]
        case "heic":
            return int(info.get("bit_depth", 8))
        case "avif":
            return avif_bits(data)
    if page is not None:
        return page.bits
    return {"1": 1, "I": 32, "F": 32}.get(picture.mode, 16 if picture.mode.startswith("I;16") else 8)


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


def _as_numbers(picture: Image.Image, page: Page | None) -> Numbers | None:
    """Return the numbers of a picture in one of the modes of more than 8 bits, (h, w); None of another one."""
    if not picture.mode.startswith("I;16") and picture.mode not in ("I", "F"):
        return None
    values = np.asarray(picture)
    if picture.mode.startswith("I;16"):
        values = values.astype(np.uint16)
        if page is not None and page.colours == WHITE_IS_ZERO:
            values = np.uint16(65535) - values
    return values


def _reduce(picture: Image.Image, side: int, content: Content) -> tuple[Pixels, int]:
    """Shrink by a whole factor so that both sides stay at least twice `side`, strip by strip.

    A strip at a time keeps the copies small that RGB on a ground needs: a picture of 200 million pixels takes most of a
    gigabyte as it is.

    Args:
        content: takes in each strip at full size.
    Returns:
        uint8 (h, w, 3), and the factor.
    """
    width, height = picture.size
    factor = max(1, min(width, height) // (2 * side))
    rows = max(1, _STRIP_PIXELS // width // factor) * factor
    clear = picture.has_transparency_data
    strips: list[Pixels] = []
    clears: list[Pixels] = []
    for top in range(0, height, rows):
        current().check()
        strip = picture if rows >= height else picture.crop((0, top, width, min(height, top + rows)))
        if clear:
            rgba = strip.convert("RGBA")
            content.add_clear(np.asarray(rgba))
            rgb, pixels = on_white(rgba), None
            clears.append(np.asarray(rgba.reduce(factor) if factor > 1 else rgba))
        else:
            rgb = strip if strip.mode == "RGB" else strip.convert("RGB")
            pixels = np.array(rgb)
            content.add(pixels) if picture.mode in _PLAIN_MODES else content.add_other(strip)
        strips.append(pixels if factor == 1 and pixels is not None else np.array(rgb.reduce(factor)))
    whole = strips[0] if len(strips) == 1 else np.concatenate(strips)
    if clear and not content.opaque:
        small = clears[0] if len(clears) == 1 else np.concatenate(clears)
        if (ground := choose(small)) != WHITE:
            whole, content.dark_ground = put_on(small, ground), True
    return whole, factor


# -- cut off -----------------------------------------------------------------------------------------------------------


def _decode_rest(data: bytes, format: Format, side: int, limits: Limits) -> Still | None:
    """Decode what there is of a picture that is cut off; None if that is less than half, or cannot be had.

    The rest has the mean colour: a crop, grey, the last row or a mirror instead disturb the descriptor more.
    """
    if format == JPEG:
        data = data.rstrip(b"\x00") + END  # libjpeg makes the rest grey
    elif format.name not in ("png", "tiff", "pnm") or (format == PNG and data[28:29] != b"\x00"):
        return None  # not stored from top to bottom, or by a decoder that gives all or nothing
    picture = open_plugin(data, format, limits)
    per_pixel = max(_BYTES_PER_PIXEL.get(format.name, 4), _slim_bytes(picture, side))
    _check_memory(picture.width, picture.height, per_pixel, limits)
    with _alone(picture.width * picture.height):
        shape = _load_what_is_there(picture, side)
        if shape is None or _is_deep(data, format, None):
            return None
        found = _from_loaded(picture, picture.info, shape, data, format, side, [], None)
    rows = _rows_there(found.rgb)
    if rows < len(found.rgb) and format == JPEG:
        rows -= -(-_MCU * len(found.rgb) // found.height)  # blocks of a row that is not there to its end
    if rows < _LEAST_ROWS * len(found.rgb):
        return None
    rgb = np.array(found.rgb)
    rgb[rows:] = rgb[:rows].mean(axis=(0, 1))  # where everything stands is kept, which a crop would not
    return replace(found, rgb=rgb, digest=b"", extras=msgspec.structs.replace(found.extras, complete=False))


def _load_what_is_there(picture: ImageFile.ImageFile, side: int) -> tuple[int, int, int] | None:
    """Load as `_load`; where the file ends, the rows so far are kept."""
    size = picture.size
    try:
        return _load(picture, side)
    except (OSError, ValueError, SyntaxError, IndexError):
        if picture._im is None:
            return None
        picture.tile = []
        return *picture.size, round(size[0] / picture.width)


def _rows_there(rgb: Pixels) -> int:
    """Return how many rows there are before those at the end that are of one colour."""
    others = (rgb != rgb[-1, -1]).any(axis=(1, 2))
    return int(np.flatnonzero(others)[-1]) + 1 if others.any() else 0
