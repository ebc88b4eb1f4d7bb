"""Still pictures: tiles for the network, and small pictures for people."""

from __future__ import annotations

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.identify import Format, identify
from neardup.pipeline.media.orientation import upright, upright_shape
from neardup.pipeline.media.preview import Viewer
from neardup.pipeline.media.regions import Cutter
from neardup.pipeline.media.still import decode_still
from neardup.pipeline.media.tile import fit, squeeze
from neardup.pipeline.types import Frame, Kind, Limits, Media, Pixels

DEFAULT_LIMITS = Limits()


def open_image(
    data: bytes,
    format: Format,
    size: int,
    limits: Limits,
    preview: Viewer | None = None,
    regions: Cutter | None = None,
) -> Media:
    """Decode a picture.

    Args:
        data: the whole file. format: what `identify` says of it.
        size: side of the tile.
        preview: takes the picture.
        regions: takes the picture, and adds its regions to the frames when `cut` is called.
    Raises:
        InvalidFrame: the content is broken, cut off before half of it, or beyond the limits.
    """
    found = decode_still(data, format, size, limits)
    frames = [Frame(pts=0.0, tile=upright(squeeze(found.rgb, size, found.extent), found.orientation))]
    if regions is not None:
        regions.add(frames, upright(found.rgb, found.orientation))
    if preview is not None:
        preview.take(upright(found.rgb, found.orientation))
    height, width = upright_shape(found.height, found.width, found.orientation)
    return Media(
        kind=Kind.IMAGE,
        format=format.name,
        width=width,
        height=height,
        seconds=0.0,
        pixels_digest=found.digest,
        frames=iter(frames),
        extras=found.extras,
    )


def thumbnail(data: bytes, max_side: int, limits: Limits = DEFAULT_LIMITS, page: int = 0) -> Pixels:
    """Return a picture at its own aspect ratio, upright, its longer side `max_side` or its own size if that is less.

    Args:
        page: of several in the file, by its number.
    Returns:
        uint8 (h, w, 3).
    Raises:
        InvalidFrame: as `open_image`.
    """
    format = identify(data)
    if format is None or format.kind is not Kind.IMAGE:
        raise InvalidFrame(Reason.FORMAT, "no image format that is read here")
    found = decode_still(data, format, max_side, limits, page)
    return upright(fit(found.rgb, max_side), found.orientation)
