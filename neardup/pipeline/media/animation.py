"""Pictures that move, GIF, PNG, WebP, AVIF and HEIC: count frames without decoding them, and sample those of a WebP.

FFmpeg decodes the others as any video; an animated WebP only Pillow does.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import accumulate

import numpy as np
from PIL import Image, ImageFile

from neardup.pipeline.media.attached import top_boxes
from neardup.pipeline.media.budget import current
from neardup.pipeline.media.extent import ends_early
from neardup.pipeline.media.faults import decoding
from neardup.pipeline.media.ground import to_rgb
from neardup.pipeline.media.identify import AVIF, GIF, HEIC, PNG, WEBP, Format
from neardup.pipeline.media.preview import Viewer
from neardup.pipeline.media.refuse import beyond
from neardup.pipeline.media.sampling import Schedule, check_length
from neardup.pipeline.media.sound import SILENT
from neardup.pipeline.media.still import open_plugin
from neardup.pipeline.media.tile import squeeze
from neardup.pipeline.media.webp import webp_size
from neardup.pipeline.types import Extras, Frame, Kind, Limits, Media, Pixels

MAX_PICTURES = 100
"""A whole animation may have this many times the pixels that one picture may have."""
_HELD_BYTES = 31
"""Bytes of memory for each pixel, as measured: canvases of the decoder, the frame with transparency and on a ground."""
_PNG_FRAMES = {b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"IDAT", b"fdAT", b"IEND"}
_HASTY_MS, _HASTY_MEANS_MS = 10, 100
"""Browsers show a frame that asks for at most 10 ms for 100 ms; files are made with that in mind."""


def is_animated(data: bytes, format: Format, limits: Limits) -> bool:
    """Return whether a picture has more than one frame.

    Raises:
        InvalidFrame: BOMB, more frames, or more pixels in all of them, than the limits allow.
    """
    if format == GIF:
        frames = _gif_frames(data, limits.max_frames + 1)
        width, height = (int.from_bytes(data[at : at + 2], "little") for at in (6, 8))
    elif format == WEBP and data[12:16] == b"VP8X":
        frames = len(_webp_durations(data, limits.max_frames + 1))
        width, height = webp_size(data) or (0, 0)
    elif format == PNG:
        frames = _png_frames(data)
        width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    else:
        return format in (AVIF, HEIC) and b"moov" in top_boxes(data)
    if frames > limits.max_frames:
        raise beyond("max_frames", f"more than {limits.max_frames} frames in a {format.name}")
    if frames * width * height > MAX_PICTURES * limits.max_pixels:
        raise beyond("max_pixels", too_many("frames", frames, width, height, format, limits))
    return frames > 1


def too_many(what: str, count: int, width: int, height: int, format: Format, limits: Limits) -> str:
    """Return words for a file of more pixels in all its pictures than `MAX_PICTURES` pictures may have."""
    most = MAX_PICTURES * limits.max_pixels
    return f"{count} {what} of {width} × {height} pixels in a {format.name}, at most {most} pixels are decoded"


def open_webp(data: bytes, size: int, limits: Limits, sample_fps: float, preview: Viewer | None = None) -> Media:
    """Open an animated WebP; see `video.open_video`."""
    current().long()
    starts = _starts(data, limits)
    with _guard(data):
        picture = open_plugin(data, WEBP, limits)
        check_length(starts[-1], len(starts), limits, sample_fps)
        current().allocate(_HELD_BYTES * picture.width * picture.height)
    schedule, last = Schedule(sample_fps), len(starts) - 2
    picked = [number for number, start in enumerate(starts[:-1]) if schedule.picks(start) or number == last]

    def frames() -> Iterator[Frame]:
        shown = -1
        for number in picked:
            with _guard(data):
                rgb = _frame(picture, shown, number, starts)
            shown = number
            tile = squeeze(rgb, size)
            if preview is not None and preview.wants(tile, starts[number]):
                preview.take(rgb, starts[number])
            yield Frame(pts=starts[number], tile=tile)

    return Media(
        kind=Kind.VIDEO,
        format=WEBP.name,
        width=picture.width,
        height=picture.height,
        seconds=starts[-1],
        pixels_digest=b"",
        frames=frames(),
        extras=Extras(sound=SILENT),
    )


def webp_frame_at(data: bytes, seconds: float, max_side: int, limits: Limits) -> Pixels:
    """Return one frame of an animated WebP; see `video.video_frame_at`."""
    starts = _starts(data, limits)[:-1]
    number = next((number for number, start in enumerate(starts) if start >= seconds), len(starts) - 1)
    with _guard(data):
        small = Image.fromarray(_frame(open_plugin(data, WEBP, limits), -1, number, starts))
    small.thumbnail((max_side, max_side))
    return np.asarray(small)


def _guard(data: bytes) -> AbstractContextManager[None]:
    return decoding(WEBP, lambda: ends_early(WEBP, io.BytesIO(data)))


def _frame(picture: ImageFile.ImageFile, shown: int, number: int, starts: Sequence[float]) -> Pixels:
    """Decode a frame, and those since the one that was shown last: each is painted over those before."""
    for at in range(shown + 1, number + 1):
        picture.seek(at)
        picture.load()
        current().frame(starts[at], picture.width * picture.height)
    return np.array(to_rgb(picture))


def _starts(data: bytes, limits: Limits) -> list[float]:
    """Return when each frame starts, and when the last one ends, in seconds."""
    durations = _webp_durations(data, limits.max_frames + 1)
    return [ms / 1000 for ms in accumulate(durations, initial=0)]


def _png_frames(data: bytes) -> int:
    """Return how many frames a PNG announces, in a chunk acTL before its picture (PNG third edition, 11.3.6.1)."""
    at = 8
    while at + 12 <= len(data) and (name := data[at + 4 : at + 8]) != b"IDAT":
        if name == b"acTL":
            return int.from_bytes(data[at + 8 : at + 12], "big")
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return 1


def moving_png(data: bytes) -> bytes:
    """Return a PNG with nothing but its frames: FFmpeg unpacks text and profiles whatever their size, and uses none."""
    kept, at = [data[:8]], 8
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] in _PNG_FRAMES:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _gif_frames(data: bytes, enough: int) -> int:
    """Walk the blocks of a GIF (GIF89a specification, 1990) and count pictures, up to `enough`."""
    count, at = 0, 13 + _color_table(data[10:11])
    while count < enough:
        block = data[at : at + 1]
        if block == b",":
            count += 1
            at += 11 + _color_table(data[at + 9 : at + 10])
        elif block == b"!":
            at += 2
        else:
            break
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    return count


def _color_table(flags: bytes) -> int:
    """Return how many bytes of colour table follow."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _webp_durations(data: bytes, enough: int) -> list[int]:
    """Walk the chunks of a WebP (RFC 9649, 2.7) and return the milliseconds of each frame, of `enough` at most."""
    durations: list[int] = []
    at = 12
    while at + 8 <= len(data) and len(durations) < enough:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"ANMF":
            ms = int.from_bytes(data[at + 20 : at + 23], "little")
            durations.append(ms if ms > _HASTY_MS else _HASTY_MEANS_MS)
        at += 8 + length + length % 2
    return durations
