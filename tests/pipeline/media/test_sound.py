from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from typing import Any, cast

import av
import numpy as np
import pytest
from PIL import Image

from benchmarks.sound_set import RATE as STORED_RATE
from benchmarks.sound_set import Carrier, Wave, carried, tone
from neardup.pipeline.match.decide.sounds import MAX_DISTANCE_DB, sound_distance
from neardup.pipeline.media.listen import Listener
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.media.sound import BANDS, MAX_WINDOWS, RATE, SILENT, Sound, Summary, unpack
from neardup.pipeline.types import Attachment, Extras, Limits

PCM = Carrier("mkv", "pcm_s16le", 0)
SECONDS = 6.0


@cache
def notes(seed: int, seconds: float = SECONDS) -> Wave:
    """Return notes of a third of a second, each of other partials."""
    random, pieces = np.random.default_rng(seed), []
    time = np.arange(STORED_RATE // 3) / STORED_RATE
    for _ in range(round(3 * seconds)):
        hertz, partials = random.uniform(120, 900), random.uniform(0, 1, 4)
        pieces.append(sum(loud * np.sin(2 * np.pi * hertz * (n + 1) * time) for n, loud in enumerate(partials)))
    wave = np.concatenate(pieces) * np.exp(-(np.arange(len(pieces) * len(time)) % len(time)) / STORED_RATE / 0.3)
    return np.asarray(0.45 * wave / np.abs(wave).max())


def extras(content: bytes, limits: Limits | None = None) -> Extras:
    media = open_media(content, 16, limits or Limits())
    assert len(list(media.frames)) > 1
    return media.all_extras()


def sound(content: bytes) -> Sound:
    unpacked = unpack(extras(content).sound)
    assert unpacked is not None
    return unpacked


@pytest.mark.parametrize(
    "carrier",
    [
        Carrier("mp4", "aac", 48_000, 22_050, 1, -6.0),
        Carrier("mp4", "libmp3lame", 64_000, 44_100, gain_db=6.0),
        Carrier("mkv", "libopus", 48_000, delay=0.2),
        Carrier("ts", "mp2", 128_000, delay=0.1),
        Carrier("avi", "libmp3lame", 48_000, 22_050, 1),
    ],
    ids=lambda carrier: f"{carrier.codec}-{carrier.container}",
)
def test_a_sound_stored_anew_is_near_and_another_is_far(carrier: Carrier) -> None:
    original, again, other = (
        sound(carried(notes(1), PCM)),
        sound(carried(notes(1), carrier)),
        sound(carried(notes(2), carrier)),
    )
    seconds = SECONDS, SECONDS
    assert sound_distance(original, again, seconds) < MAX_DISTANCE_DB / 1.2
    assert sound_distance(original, other, seconds) > 2 * MAX_DISTANCE_DB


def test_a_video_that_can_be_heard_has_a_sound_attached() -> None:
    found = extras(carried(tone(3, 440), PCM))
    assert found.attachments == (Attachment.SOUND,)
    assert 3 < len(found.sound) <= 512


@pytest.mark.parametrize("wave", [None, np.zeros(3 * STORED_RATE), 0.0002 * tone(3, 440)], ids=("none", "0", "faint"))
def test_no_sound_and_one_that_nobody_hears_are_silent(wave: Wave | None) -> None:
    assert extras(carried(wave, PCM, 3.0)) == Extras(sound=SILENT)


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_animations_are_silent(format: str) -> None:
    pictures = [Image.new("RGB", (32, 24), (40 * n, 0, 0)) for n in range(4)]
    file = io.BytesIO()
    pictures[0].save(file, format, save_all=True, append_images=pictures[1:], duration=500)
    assert extras(file.getvalue()) == Extras(sound=SILENT)


def test_of_a_picture_nothing_is_known() -> None:
    file = io.BytesIO()
    Image.new("RGB", (32, 24)).save(file, "PNG")
    assert unpack(open_media(file.getvalue(), 16).all_extras().sound) is None


def spoiled(content: bytes, share: float) -> bytes:
    """Return a video with random bytes in place of a share of its packets of sound."""
    random, file = np.random.default_rng(5), io.BytesIO()
    with av.open(io.BytesIO(content)) as source, av.open(file, "w", format="matroska") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is None:
                continue
            kept: Any = packet
            if packet.stream.type == "audio" and random.random() < share:
                kept = av.Packet(random.bytes(packet.size))
                kept.pts, kept.dts, kept.time_base = packet.pts, packet.dts, packet.time_base
                kept.duration = packet.duration
            kept.stream = streams[packet.stream.index]
            target.mux(kept)
    return file.getvalue()


def test_a_broken_sound_costs_the_sound_and_not_the_video() -> None:
    content = carried(notes(1), Carrier("mp4", "ac3", 96_000))
    assert extras(spoiled(content, 1.0)) == Extras(complete=False)
    whole = extras(spoiled(content, 0.0))
    assert (whole.complete, len(whole.sound) > 3) == (True, True)


def test_the_default_sound_is_heard_among_hundreds() -> None:
    carrier = Carrier("mkv", "ac3", 64_000)
    many, one = sound(carried(notes(1, 3.0), carrier, tracks=100)), sound(carried(notes(1, 3.0), carrier))
    assert sound_distance(many, one) == 0.0


def test_sound_is_heard_beyond_the_last_frame() -> None:
    found = sound(carried(notes(1), PCM, 1.0))
    assert found.hop * len(found.levels) >= SECONDS - 1


def test_sound_beyond_the_limits_is_passed_over() -> None:
    found = unpack(extras(carried(notes(1), Carrier("mp4", "aac", 64_000), 2.0), Limits(max_seconds=3.0)).sound)
    assert found is not None
    assert found.hop * len(found.levels) <= 4


class Packet:
    """One second of a tone, or of whatever else is given."""

    size = 100
    time_base = 1

    def __init__(self, second: int | None, rate: int = RATE, error: Exception | None = None) -> None:
        self.pts, self.duration, self._rate, self._error = second, 1, rate, error

    def decode(self) -> Iterator[av.AudioFrame]:
        if self._error is not None:
            raise self._error
        samples = np.sin(np.arange(self._rate) * 0.3).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(samples, "flt", "mono")
        frame.rate, frame.pts = self._rate, self.pts
        frame.time_base = cast(Any, 1)
        yield frame


def listener() -> Listener:
    return Listener(1.0, 0.0, 1e9)


@pytest.mark.parametrize("packet", [Packet(0, rate=8), Packet(0, error=MemoryError()), Packet(0, error=KeyError())])
def test_whatever_a_decoder_raises_leaves_the_sound_unknown(packet: Packet) -> None:
    ear = listener()
    ear.hear(cast(Any, packet))
    assert ear.digest() == b""


def test_packets_between_the_windows_are_not_decoded_and_digests_do_not_grow() -> None:
    ear, decoded = listener(), 0
    for second in range(20_000):
        packet = Packet(second)
        packet.decode = lambda packet=packet: count(packet)  # type: ignore[method-assign, misc]

        def count(packet: Packet) -> Iterator[av.AudioFrame]:
            nonlocal decoded
            decoded += 1
            return Packet.decode(packet)

        ear.hear(cast(Any, packet))
    found = unpack(ear.digest())
    assert found is not None
    assert (MAX_WINDOWS // 2 < len(found.levels) <= MAX_WINDOWS, found.hop) == (True, 1024)
    assert len(ear.digest()) <= 512
    assert decoded < 1200


def test_windows_of_a_longer_sound_are_among_those_of_a_shorter() -> None:
    long, short = Summary(), Summary()
    samples = np.random.default_rng(1).normal(size=100 * RATE).astype(np.float32) * 0.1
    samples *= np.repeat(np.random.default_rng(2).uniform(0.05, 1, 200), RATE // 2).astype(np.float32)
    short.add(0, samples[: 30 * RATE])
    long.add(0, samples)
    a, b = unpack(short.digest()), unpack(long.digest())
    assert a is not None
    assert b is not None
    assert (a.hop, b.hop) == (1, 4)
    assert sound_distance(a, b) < 0.5


@pytest.mark.parametrize("digest", [b"", b"\x01", b"\x02\x00\x00" + bytes(BANDS), b"\x01\x00\x00" + bytes(5)])
def test_what_is_no_digest_of_this_version_says_nothing(digest: bytes) -> None:
    assert unpack(digest) is None
