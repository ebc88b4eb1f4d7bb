"""Hear a video while its frames are decoded: packets of its sound in, a digest out.

Only what the digest samples is decoded: all of the first minute, and of a longer sound less than one minute more each
time the length doubles. Whatever is wrong with the sound costs the sound alone, of which nothing is known then.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.filter import Graph
from av.packet import Packet

from neardup.pipeline.media.sound import RATE, SILENT, Samples, Summary

logger = logging.getLogger(__name__)
_LEAD_SECONDS, _TAIL_SECONDS = 0.25, 0.1
"""Decoded before a window, for a decoder that begins midway, and after it, for one that answers late."""
_GAP_SECONDS = 0.05
"""A frame that stands further from where the one before ended begins anew."""
_RATES = range(4000, 768_001)
"""Samples a second that a sound may have: one of few would be drawn out without end."""
_MAX_DECODED_SECONDS = 3600.0
"""More is not decoded where times are missing or wrong."""
_NOTHING: Samples = np.zeros(0, np.float32)
_MAX_BROKEN = 0.05
"""Share of packets that may be beyond decoding; of a sound with more, nothing is known."""


class _Resampler:
    """Makes sound mono and of RATE samples a second. PyAV's own leaves FFmpeg to start threads, which no budget counts.

    Args:
        frame: the first that will be given to it; all others are of its shape.
    """

    def __init__(self, frame: AudioFrame) -> None:
        self._graph = Graph()
        self._graph.threads = 1
        source = {"sample_rate": f"{frame.sample_rate}", "sample_fmt": frame.format.name}
        source |= {"channel_layout": frame.layout.name, "time_base": f"1/{frame.sample_rate}"}
        wanted = {"sample_rates": f"{RATE}", "sample_fmts": "flt", "channel_layouts": "mono"}
        nodes = self._graph.add("abuffer", **source), self._graph.add("aformat", **wanted)
        self._graph.link_nodes(*nodes, self._graph.add("abuffersink")).configure()
        self._graph.set_audio_frame_size(RATE)

    def resample(self, frame: AudioFrame | None) -> Iterator[Samples]:
        """Yield what is ready after a frame; all the rest where it is None, the end."""
        if frame is not None:
            frame.pts = None
        self._graph.push(frame)
        with suppress(BlockingIOError, EOFError):
            while True:
                yield self._graph.pull().to_ndarray()[0]


class Listener:
    """Takes the packets of one sound, in order.

    Args:
        time_base: seconds in which packets count their times.
        origin: seconds at which the video begins.
        max_seconds: later sound is passed over.
    """

    def __init__(self, time_base: float, origin: float, max_seconds: float) -> None:
        self._silent = True
        self._time_base = time_base
        self._origin = origin
        self._max_seconds = max_seconds
        self._summary = Summary()
        self._resampler: _Resampler | None = None
        self._shape: tuple[object, ...] = ()
        self._expected = 0.0
        self._start = 0
        self._samples = _NOTHING
        self._decoded_seconds = 0.0
        self._tried = self._broken = 0

    def hear(self, packet: Packet[AudioStream]) -> None:
        """Take the next packet."""
        if not self._wants(packet):
            return
        self._silent = False
        self._tried += 1
        try:
            for frame in packet.decode():
                self._take(frame)
        except Exception as error:  # decoders raise nearly anything
            self._broken += 1
            logger.debug("sound not decoded error=%s", error)

    def digest(self) -> bytes:
        """Return the digest of what was heard: b"" where nothing is known of the sound."""
        self._flush()
        if self.is_broken:
            return b""
        return SILENT if self._silent else self._summary.digest()

    @property
    def is_broken(self) -> bool:
        """Whether too much of the sound could not be decoded."""
        return self._broken > _MAX_BROKEN * self._tried

    def _wants(self, packet: Packet[AudioStream]) -> bool:
        if self._decoded_seconds > _MAX_DECODED_SECONDS or not packet.size:
            return False
        if packet.pts is None or not self._time_base:
            return True
        start = packet.pts * self._time_base - self._origin
        end = start + (packet.duration or 0) * self._time_base
        return start < self._max_seconds and self._summary.wants(start - _TAIL_SECONDS, end + _LEAD_SECONDS)

    def _take(self, frame: AudioFrame) -> None:
        if frame.sample_rate not in _RATES:
            raise ValueError(f"{frame.sample_rate} samples a second")
        time = self._expected if frame.time is None else frame.time - self._origin
        seconds = frame.samples / frame.sample_rate
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or shape != self._shape or abs(time - self._expected) > _GAP_SECONDS:
            self._flush()
            self._resampler, self._shape = _Resampler(frame), shape
            self._start, self._expected = round(time * RATE), time
        self._expected += seconds
        self._decoded_seconds += seconds
        if self._expected < 0.0 or time > self._max_seconds:
            self._resampler = None
            return
        self._sum_up(self._resampler.resample(frame))

    def _flush(self) -> None:
        """Sum up what waits, at the end or before a gap."""
        if self._resampler is not None:
            self._sum_up(self._resampler.resample(None))
        self._resampler, self._samples = None, _NOTHING

    def _sum_up(self, pieces: Iterator[Samples]) -> None:
        for piece in pieces:
            samples = np.concatenate([self._samples, piece])
            used = self._summary.add(self._start, np.nan_to_num(samples, posinf=0.0, neginf=0.0))
            self._start += used
            self._samples = samples[used:]
