"""Open a video container and read its frames with their times.

The demuxer is the one for the format found in the content, never FFmpeg's guess, and the path a local file's: neither
a playlist nor a file whose name looks like a URL can make FFmpeg open anything else.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.budget import current
from neardup.pipeline.media.extent import ends_early
from neardup.pipeline.media.identify import Format
from neardup.pipeline.media.refuse import COPY_AGAIN
from neardup.pipeline.media.tables import check_tables
from neardup.pipeline.types import Kind, Limits

_DEMUXERS = {
    "mp4": "mov",
    "mov": "mov",
    "mkv": "matroska",
    "webm": "matroska",
    "avi": "avi",
    "ts": "mpegts",
    "gif": "gif",
    "png": "apng",
    "avif": "mov",
    "heic": "mov",
}
# In these codecs a frame that no other refers to is marked, and can be left out without a trace in the others.
_SKIPPING_CODECS = {"h264", "mpeg2video", "mpeg4"}
_HELD_FRAMES = {"h264": 17, "hevc": 17, "vp8": 5, "vp9": 10, "av1": 10, "libdav1d": 10}
"""Frames that later ones may refer to, and the newest; as many as the standards allow."""
_HELD_OTHERWISE = 4
_ON_A_GROUND = 12
"""Bytes for each pixel of a frame with transparency, which is put on a ground at full size; as measured."""
_DISCONTINUITY = 1.0
"""Seconds. Times that step back further than this begin anew, as where recordings were joined."""
_USUAL_RATE = 25.0
_IO_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Opened:
    """A container, its video stream, and the duration as far as the container knows it, else 0.0.

    Attributes:
        sound: the stream that is read beside it: the default one or else the first.
    """

    container: InputContainer
    stream: VideoStream
    seconds: float
    sound: AudioStream | None = None


def open_container(
    source: bytes | Path, format: Format, limits: Limits, threads: int = 1, with_sound: bool = False
) -> Opened:
    """Open a container and find its first real video stream; cover art is none.

    Whoever opens it closes it: it is part of a reference cycle, and would keep its file open until that is collected.
    Nothing may touch it afterwards, PyAV does not check.

    Raises:
        InvalidFrame: FORMAT where there is no video stream, or none that can be decoded.
        av.FFmpegError: the container is broken.
    """
    check_tables(source, format, limits)
    # For frames that grow midway; loose, since the decoder counts rows rounded up to its alignment.
    options = {"max_pixels": str(2 * limits.max_pixels + 2**16)}
    container = av.open(
        "file:" + os.fspath(source) if isinstance(source, Path) else io.BytesIO(source),
        format=_DEMUXERS[format.name],
        options=options,
        metadata_errors="replace",
        timeout=_IO_TIMEOUT_SECONDS,
    )
    with ExitStack() as on_error:
        on_error.callback(container.close)
        opened = _chosen(container, source, format, options, threads, with_sound)
        on_error.pop_all()
    return opened


def _chosen(
    container: InputContainer,
    source: bytes | Path,
    format: Format,
    options: dict[str, str],
    threads: int,
    with_sound: bool,
) -> Opened:
    """Choose the streams that are read, and have all others passed over."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if format.kind is Kind.IMAGE:  # a film in a picture's file stands beside a still of it
        streams.sort(key=lambda one: -one.frames)
    stream = next(iter(streams), None)
    if stream is None or stream.codec_context is None:
        reason = Reason.TRUNCATED if source_ends_early(source, format) else Reason.FORMAT
        remedy = COPY_AGAIN if reason is Reason.TRUNCATED else "if it shows a film elsewhere, convert it to MP4 (H.264)"
        raise InvalidFrame(reason, f"{format.name} without a video stream that can be decoded; {remedy}")
    stream.codec_context.options = options
    stream.codec_context.thread_count = threads
    current().allocate(_held_bytes(stream))
    sound = _sound(container) if with_sound else None
    if sound is not None and sound.codec_context is not None:  # some decoders of sound have threads, too
        sound.codec_context.thread_count = threads
    for other in container.streams:
        if other is not stream and other is not sound:
            other.discard = Discard.all
    return Opened(container, stream, _duration(container, stream), sound)


def _sound(container: InputContainer) -> AudioStream | None:
    streams = container.streams.audio
    return next((stream for stream in streams if stream.disposition & Disposition.default), next(iter(streams), None))


def _held_bytes(stream: VideoStream) -> int:
    """Return the memory of the frames that a decoder holds at most, and of one on a ground, in bytes."""
    codec = stream.codec_context
    bits = 32 if codec.format is None else codec.format.padded_bits_per_pixel
    clear = codec.format is None or any(component.is_alpha for component in codec.format.components)
    held = bits * _HELD_FRAMES.get(codec.name, _HELD_OTHERWISE) // 8
    return codec.width * codec.height * (held + clear * _ON_A_GROUND)


def _duration(container: InputContainer, stream: VideoStream) -> float:
    if stream.duration and stream.time_base:
        return max(0.0, float(stream.duration * stream.time_base))
    return max(0.0, float((container.duration or 0) / av.time_base))


def source_ends_early(source: bytes | Path, format: Format) -> bool:
    """Return whether the source is cut off, as far as its own structure tells."""
    try:
        with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
            return ends_early(format, file)
    except OSError:
        return False


class Clock:
    """Turns timestamps into seconds from the first frame that never run backwards."""

    def __init__(self, stream: VideoStream, origin: float | None = None) -> None:
        self.origin = origin
        self._step = 1 / float(stream.average_rate or _USUAL_RATE)
        self._last = 0.0

    def __call__(self, time: float | None) -> float:
        """Return the seconds of the next frame, whose timestamp is `time`; a frame without comes a step later."""
        if self.origin is None:
            self.origin = time or 0.0
            return self._last
        seconds = self._last + self._step if time is None else time - self.origin
        if seconds < self._last - _DISCONTINUITY and time is not None:
            seconds = self._last + self._step
            self.origin = time - seconds
        self._last = max(self._last, seconds)
        return self._last


def timed_frames(
    video: Opened,
    clock: Clock,
    skips: Callable[[float], bool] = lambda _seconds: False,
    hear: Callable[[Packet[AudioStream]], object] = lambda _packet: None,
) -> Iterator[tuple[float, VideoFrame]]:
    """Decode, in order of time.

    Packets that cannot be decoded are passed over, as players do, but not several at the end.

    Args:
        skips: says of a time whether a frame there is not needed; it may save decoding it, or it may come all the same.
        hear: takes each packet of the sound, in between.
    Raises:
        av.FFmpegError: the container is broken from here on, or its last packets cannot be decoded.
    """
    codec = video.stream.codec_context
    may_skip = codec.name in _SKIPPING_CODECS
    broken: list[av.FFmpegError] = []  # since the last frame
    budget = current()
    for packet in _packets(video, hear):
        budget.check()
        if may_skip:
            codec.skip_frame = "NONREF" if _is_skipped(packet, clock, skips) else "DEFAULT"
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            broken = [error, *broken[:1]]
            continue
        for frame in frames:
            if not frame.is_corrupt:
                broken.clear()
                time = clock(frame.time)
                budget.frame(time, frame.width * frame.height)
                yield time, frame
    if len(broken) > 1:  # one alone is where a transport stream was cut
        raise broken[0]


def _packets(video: Opened, hear: Callable[[Packet[AudioStream]], object]) -> Iterator[Packet[VideoStream]]:
    """Yield the packets of the frames, and hand over those of the sound."""
    if video.sound is None:
        yield from video.container.demux(video.stream)
        return
    for packet in video.container.demux((video.stream, video.sound)):
        if packet.stream is video.sound:
            current().check()
            hear(cast("Packet[AudioStream]", packet))
        else:
            yield cast("Packet[VideoStream]", packet)


def _is_skipped(packet: Packet[VideoStream], clock: Clock, skips: Callable[[float], bool]) -> bool:
    if packet.pts is None or packet.time_base is None or clock.origin is None:
        return False
    return skips(float(packet.pts * packet.time_base) - clock.origin)
