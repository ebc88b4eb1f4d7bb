"""Open any image or video: the one way into this stage.

Safe to call from many threads at once; decoding releases the interpreter lock. FFmpeg is loaded with the first video:
stills do without, in every process that reads them.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media import image
from neardup.pipeline.media.animation import is_animated, moving_png, open_webp, webp_frame_at
from neardup.pipeline.media.budget import Budget
from neardup.pipeline.media.identify import HEAD_BYTES, PNG, WEBP, Format, identify
from neardup.pipeline.media.pages import open_pages, page_at
from neardup.pipeline.media.preview import Viewer
from neardup.pipeline.media.raw import read_raw
from neardup.pipeline.media.refuse import COPY_AGAIN, beyond
from neardup.pipeline.media.regions import Cutter, Mode
from neardup.pipeline.media.unread import unread
from neardup.pipeline.types import Kind, Limits, Media, Pixels

if TYPE_CHECKING:  # it imports torch
    from neardup.pipeline.media.nvjpeg import GpuPicture

DEFAULT_SAMPLE_FPS = 2.0


def open_media(
    source: bytes | Path,
    size: int,
    limits: Limits = image.DEFAULT_LIMITS,
    sample_fps: float = DEFAULT_SAMPLE_FPS,
    preview: Viewer | None = None,
    decoded: GpuPicture | None = None,
    regions: Mode | Cutter = "none",
    budget: Budget | None = None,
) -> Media:
    """Open an image or a video.

    Args:
        source: the content, or a file. An image is read whole; a video is streamed from its file.
        size: side of the tiles, in pixels.
        limits: what the content may ask for.
        sample_fps: frames per second of a video that are looked at, besides its first and last one.
        preview: takes a picture for people; has it when the last frame has been yielded.
        decoded: what a GPU made of this very content, with its regions; then nothing is left to do.
        regions: which parts of an image become frames of their own, or who adds them to the frames when told to
            `cut`, those of several images at once. "boxes" are found in videos, too, where they stay.
        budget: counts what decoding costs; one over `limits` if none is given.
    Raises:
        InvalidFrame: the content cannot be used. Also raised by the iterator of a video's frames.
    """
    if decoded is not None:
        return decoded.media(preview)
    budget = budget or Budget(limits)
    with budget.running():
        budget.check()
        media = _open(source, size, limits, sample_fps, preview, regions)
    return replace(media, frames=budget.metered(media.frames)) if media.kind is Kind.VIDEO else media


def _open(
    source: bytes | Path,
    size: int,
    limits: Limits,
    sample_fps: float,
    preview: Viewer | None,
    regions: Mode | Cutter,
) -> Media:
    source, format = _admit(source, limits)
    if format.kind is Kind.IMAGE:
        source = source if isinstance(source, bytes) else _read(source, limits.max_bytes)
        raw = read_raw(source, format)
        if raw is not None or not is_animated(source, format, limits):
            if raw is None and (pages := open_pages(source, format, size, limits, preview)) is not None:
                return pages
            cutter = regions if isinstance(regions, Cutter) else Cutter(regions)
            shown = (source, format) if raw is None else (raw.preview, raw.format)
            media = image.open_image(*shown, size, limits, preview, cutter)
            if cutter is not regions:
                cutter.cut()
            return media if raw is None else raw.described(media)
        if format == WEBP:
            return open_webp(source, size, limits, sample_fps, preview)
        if format == PNG:
            source = moving_png(source)
    from neardup.pipeline.media.video import open_video

    mode = regions.mode if isinstance(regions, Cutter) else regions
    return open_video(source, format, size, limits, sample_fps, preview, regions=mode)


def frame_at(
    source: bytes | Path,
    seconds: float,
    max_side: int,
    limits: Limits = image.DEFAULT_LIMITS,
    budget: Budget | None = None,
) -> Pixels:
    """Return a picture for people: upright, aspect ratio kept, its longer side `max_side` or less.

    Args:
        source: an image or a video.
        seconds: time from the start of a video; its first frame at or after it is taken, else the last one.
        budget: see `open_media`.
    Returns:
        uint8 (h, w, 3).
    Raises:
        InvalidFrame: as `open_media`.
    """
    budget = budget or Budget(limits)
    with budget.running():
        budget.check()
        return _frame_at(source, seconds, max_side, limits)


def _frame_at(source: bytes | Path, seconds: float, max_side: int, limits: Limits) -> Pixels:
    source, format = _admit(source, limits)
    if format.kind is Kind.IMAGE:
        source = source if isinstance(source, bytes) else _read(source, limits.max_bytes)
        if (raw := read_raw(source, format)) is not None:
            return image.thumbnail(raw.preview, max_side, limits)
        if not is_animated(source, format, limits):
            page = page_at(source, format, seconds, max_side, limits)
            return image.thumbnail(source, max_side, limits) if page is None else page
        if format == WEBP:
            return webp_frame_at(source, seconds, max_side, limits)
        if format == PNG:
            source = moving_png(source)
    from neardup.pipeline.media.video import video_frame_at

    return video_frame_at(source, format, seconds, max_side, limits)


def _admit(source: bytes | Path, limits: Limits) -> tuple[bytes | Path, Format]:
    """Check the size and find the format."""
    if isinstance(source, bytes):
        length, head = len(source), source[:HEAD_BYTES]
    else:
        length, head = _look(source)
    if not length:
        raise InvalidFrame(Reason.EMPTY, f"no bytes; {COPY_AGAIN}")
    format = identify(head)
    if format is None:
        raise InvalidFrame(Reason.FORMAT, unread(head))
    setting = "max_bytes" if format.kind is Kind.IMAGE else "max_video_bytes"
    if length > (most := getattr(limits, setting)):
        raise beyond(setting, f"{length} bytes of {format.name}, at most {most} are read", Reason.TOO_LARGE)
    return source, format


def _look(path: Path) -> tuple[int, bytes]:
    """Return a file's size and its first bytes."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would keep us waiting
            raise InvalidFrame(Reason.UNREADABLE, "not a regular file")
        with path.open("rb", buffering=0) as file:
            return status.st_size, file.read(HEAD_BYTES)
    except OSError as error:
        raise _unreadable(error) from error


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise _unreadable(error) from error
    if len(data) > most:  # it has grown
        raise beyond("max_bytes", f"more than {most} bytes", Reason.TOO_LARGE)
    return data


def _unreadable(error: OSError) -> InvalidFrame:
    reason = Reason.VANISHED if isinstance(error, FileNotFoundError) else Reason.UNREADABLE
    return InvalidFrame(reason, os.strerror(error.errno) if error.errno else str(error))
