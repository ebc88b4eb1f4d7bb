"""Sample the frames of a video; memory does not grow with its length."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.budget import current
from neardup.pipeline.media.container import Clock, Opened, open_container, source_ends_early, timed_frames
from neardup.pipeline.media.faults import decoding
from neardup.pipeline.media.ground import to_rgb
from neardup.pipeline.media.identify import Format
from neardup.pipeline.media.listen import Listener
from neardup.pipeline.media.preview import Viewer
from neardup.pipeline.media.refuse import COPY_AGAIN
from neardup.pipeline.media.regions import Mode
from neardup.pipeline.media.sampling import Schedule, check_length
from neardup.pipeline.media.sound import is_audible
from neardup.pipeline.media.steady import SteadyBoxes
from neardup.pipeline.media.still import check_pixels
from neardup.pipeline.media.tile import squeeze
from neardup.pipeline.types import Attachment, Box, Extras, Frame, Kind, Limits, Media, Pixels

_END_MARGIN = 2.0
"""Seconds before the announced end in which every frame is decoded, for one of them is the last."""
_LANDED_LATE = 0.1
"""Seconds. A seek that lands this much after its target has missed it."""


def open_video(
    source: bytes | Path,
    format: Format,
    size: int,
    limits: Limits,
    sample_fps: float,
    preview: Viewer | None = None,
    threads: int = 1,
    regions: Mode = "none",
) -> Media:
    """Open a video and decode its first frame; the others follow as they are asked for.

    Args:
        source: the whole file, or where it is.
        size: side of the tiles.
        sample_fps: frames per second that are looked at, besides the first and the last frame.
        preview: takes a frame.
        threads: of the decoder.
        regions: "boxes" makes frames of their own of rectangles that stay in the film, see `steady`.
    Raises:
        InvalidFrame: here, or by the iterator after those frames that could be decoded.
    """

    def guard() -> AbstractContextManager[None]:
        return decoding(format, lambda: source_ends_early(source, format))

    current().long()
    with guard(), ExitStack() as on_error:
        video = open_container(source, format, limits, threads, with_sound=True)
        on_error.callback(video.container.close)
        check_pixels(video.stream.codec_context.width, video.stream.codec_context.height, limits)
        check_length(video.seconds, video.stream.frames, limits, sample_fps)
        listener = _listener(video, limits)
        sampled = _sample(video, Schedule(sample_fps), limits, listener)
        first = next(sampled, None)
        if first is None:
            raise ValueError("no frame could be decoded")
        on_error.pop_all()
    picture = first[1]
    width, height = (picture.height, picture.width) if picture.rotation % 180 else (picture.width, picture.height)

    def frames() -> Iterator[Frame]:
        tiles = _Tiles(size)
        steady = SteadyBoxes() if regions == "boxes" else None
        with video.container, guard():
            for pts, shown in chain(((0.0, picture),), sampled):
                tile = tiles.of(shown)
                if preview is not None and preview.wants(tile, pts):
                    preview.take(_small(shown, preview.side), pts)
                yield Frame(pts=pts, tile=tile)
                if steady is not None:
                    yield from steady.look(pts, tile, partial(tiles.part, shown))
            if source_ends_early(source, format):
                raise InvalidFrame(
                    Reason.TRUNCATED, f"{format.name}: the file ends before the video does; {COPY_AGAIN}"
                )

    return Media(
        kind=Kind.VIDEO,
        format=format.name,
        width=width,
        height=height,
        seconds=video.seconds,
        pixels_digest=b"",
        frames=frames(),
        late_extras=lambda: _extras(listener),
    )


def _extras(listener: Listener) -> Extras:
    """Return what a video holds beside its frames, when all of it was heard."""
    sound = listener.digest()
    attachments = (Attachment.SOUND,) if is_audible(sound) else ()
    return Extras(attachments=attachments, complete=not listener.is_broken, sound=sound)


def video_frame_at(source: bytes | Path, format: Format, seconds: float, max_side: int, limits: Limits) -> Pixels:
    """Return the first frame at or after `seconds`, or the last one, upright and at its own aspect ratio."""
    with decoding(format, lambda: source_ends_early(source, format)):
        video = open_container(source, format, limits)
        with video.container:
            picture = _seek(video, seconds)
        if picture is None:
            video = open_container(source, format, limits)
            with video.container:
                _time, picture = _walk(timed_frames(video, Clock(video.stream)), seconds)
        rgb = Image.fromarray(_upright(_rgb(picture), picture))
        rgb.thumbnail((max_side, max_side))
        return np.asarray(rgb)


def _listener(video: Opened, limits: Limits) -> Listener:
    stream = video.stream
    origin = float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
    return Listener(float((video.sound and video.sound.time_base) or 0.0), origin, limits.max_seconds)


def _sample(
    video: Opened, schedule: Schedule, limits: Limits, listener: Listener
) -> Iterator[tuple[float, VideoFrame]]:
    """Yield the frames that the schedule picks, and the last one; have the sound in between heard."""

    def skips(time: float) -> bool:
        return time < video.seconds - _END_MARGIN and schedule.skips(time)

    spare = None
    try:
        for count, (time, picture) in enumerate(timed_frames(video, Clock(video.stream), skips, listener.hear), 1):
            check_length(time, count, limits, schedule.fps)
            check_pixels(picture.width, picture.height, limits)
            if schedule.picks(time):
                spare = None
                yield time, picture
            else:
                spare = time, picture
    except av.FFmpegError:
        if spare:
            yield spare
        raise
    if spare:
        yield spare


def _seek(video: Opened, seconds: float) -> VideoFrame | None:
    """Return the frame at or after `seconds`, from the keyframe before it; None if that leads past it or nowhere."""
    clock = Clock(video.stream)
    _walk(timed_frames(video, clock), 0.0)
    origin = clock.origin or 0.0
    try:
        video.container.seek(int((origin + seconds) / (video.stream.time_base or 1)), stream=video.stream)
        time, picture = _walk(timed_frames(video, Clock(video.stream, origin)), seconds)
    except (av.FFmpegError, ValueError):
        return None
    return picture if time < seconds + _LANDED_LATE else None


def _walk(frames: Iterator[tuple[float, VideoFrame]], seconds: float) -> tuple[float, VideoFrame]:
    """Return the first frame that a schedule due at `seconds` would pick, or the last."""
    found = None
    for found in frames:
        if found[0] >= seconds - 1e-3:
            break
    if found is None:
        raise ValueError("no frame could be decoded")
    return found


def _has_alpha(picture: VideoFrame) -> bool:
    return any(component.is_alpha for component in picture.format.components)


def _rgb(picture: VideoFrame) -> Pixels:
    """Return a frame as it is stored, (h, w, 3), what is transparent on white."""
    if _has_alpha(picture):
        return np.array(to_rgb(Image.fromarray(picture.to_ndarray(format="rgba", threads=1))))
    return np.asarray(picture.to_ndarray(format="rgb24", threads=1), dtype=np.uint8)


def _upright(rgb: Pixels, picture: VideoFrame) -> Pixels:
    """Turn by the rotation flag, which counts degrees counterclockwise."""
    return np.ascontiguousarray(np.rot90(rgb, round(picture.rotation / 90)))


def _small(picture: VideoFrame, side: int) -> Pixels:
    """Return a frame, upright, scaled down until its longer side is `side`, if it is longer."""
    scale = min(1.0, side / max(picture.width, picture.height))
    width, height = (max(1, round(length * scale)) for length in (picture.width, picture.height))
    if _has_alpha(picture) or scale == 1.0:
        return _upright(_rgb(picture), picture)
    small = picture.reformat(width, height, "rgb24", interpolation=Interpolation.BILINEAR, threads=1)
    return _upright(np.asarray(small.to_ndarray(), dtype=np.uint8), picture)


class _Tiles:
    """Turns frames of one video into tiles, by the triangle filter that `squeeze` uses for pictures."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._scaler = VideoReformatter()

    def of(self, picture: VideoFrame) -> Pixels:
        if _has_alpha(picture):
            return _upright(squeeze(_rgb(picture), self._size), picture)
        return self._scaled(picture, self._size, self._size)

    def part(self, picture: VideoFrame, box: Box) -> Pixels:
        """Return a part of the upright frame, shares of its width and height, as a tile."""
        left, top, right, bottom = box
        if _has_alpha(picture):
            rgb = _upright(_rgb(picture), picture)
            height, width = rgb.shape[:2]
            rows = slice(int(top * height), max(int(top * height) + 1, round(bottom * height)))
            return squeeze(rgb[rows, int(left * width) : max(int(left * width) + 1, round(right * width))], self._size)
        width, height = round(self._size / (right - left)), round(self._size / (bottom - top))
        sideways = bool(picture.rotation % 180)
        whole = self._scaled(picture, *((height, width) if sideways else (width, height)))
        x, y = (min(round(start * side), side - self._size) for start, side in ((left, width), (top, height)))
        return np.ascontiguousarray(whole[y : y + self._size, x : x + self._size])

    def _scaled(self, picture: VideoFrame, width: int, height: int) -> Pixels:
        small = self._scaler.reformat(picture, width, height, "rgb24", interpolation=Interpolation.BILINEAR, threads=1)
        return _upright(np.asarray(small.to_ndarray(), dtype=np.uint8), picture)
