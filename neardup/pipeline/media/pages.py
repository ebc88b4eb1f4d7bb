"""Files of several pictures of equal rank: the pages of a TIFF, the pictures of a HEIC.

They are an item of pages: a video that shows one page each second, so that `pts` is the number of a page, counted from
0. A page that is found elsewhere is then a part, and where it stands is said as it is of a film.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from neardup.pipeline.media.animation import MAX_PICTURES, too_many
from neardup.pipeline.media.identify import Format
from neardup.pipeline.media.orientation import upright, upright_shape
from neardup.pipeline.media.preview import Viewer
from neardup.pipeline.media.refuse import beyond
from neardup.pipeline.media.still import Still, decode_still, open_still
from neardup.pipeline.media.tile import fit, squeeze
from neardup.pipeline.types import Frame, Kind, Limits, Media, Pixels


def open_pages(data: bytes, format: Format, size: int, limits: Limits, preview: Viewer | None = None) -> Media | None:
    """Open a file of several pictures, and decode the first; None if there is but one.

    Raises:
        InvalidFrame: here, or by the iterator of the frames after those pages that could be decoded.
    """
    opened = open_still(data, format, limits)
    count = 1 if opened is None else len(opened)
    if count < 2:
        return None
    if count > limits.max_frames:
        raise beyond("max_frames", f"{count} pages in a {format.name}, at most {limits.max_frames} are decoded")
    first = decode_still(data, format, size, limits, 0, opened)
    if count * first.width * first.height > MAX_PICTURES * limits.max_pixels:
        raise beyond("max_pixels", too_many("pages", count, first.width, first.height, format, limits))

    def frames() -> Iterator[Frame]:
        shown: Still | None = first
        for number in range(count):
            page = shown or decode_still(data, format, size, limits, number, opened)
            shown = None
            tile = upright(squeeze(page.rgb, size, page.extent), page.orientation)
            if preview is not None and preview.wants(tile, float(number), True):
                preview.take(upright(page.rgb, page.orientation), float(number))
            yield Frame(pts=float(number), tile=tile)

    height, width = upright_shape(first.height, first.width, first.orientation)
    return Media(
        kind=Kind.VIDEO,
        format=format.name,
        width=width,
        height=height,
        seconds=float(count),
        pixels_digest=b"",
        frames=frames(),
        extras=msgspec.structs.replace(first.extras, pages=count),
    )


def page_at(data: bytes, format: Format, seconds: float, max_side: int, limits: Limits) -> Pixels | None:
    """Return the page that stands at a time, as `image.thumbnail` does; None if there is but one."""
    opened = open_still(data, format, limits)
    if opened is None or len(opened) < 2:
        return None
    number = min(max(0, round(seconds)), len(opened) - 1)
    found = decode_still(data, format, max_side, limits, number, opened)
    return upright(fit(found.rgb, max_side), found.orientation)
