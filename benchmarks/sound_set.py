"""Sounds made by formulas, and videos that carry them: what `benchmarks.sound` and the tests of sound compare."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.audio.resampler import AudioResampler

Wave = npt.NDArray[np.float64]
"""(n,), mono, RATE a second."""
RATE = 48_000
_SCALE = (0, 2, 3, 5, 7, 8, 10)


@dataclass(frozen=True)
class Carrier:
    """How a sound is stored.

    Attributes:
        container: as `open_media` names it. codec, bitrate, rate, channels: of the sound.
        gain_db: louder by so much. delay: silence before it, in seconds, which the video does not wait for.
    """

    container: str
    codec: str
    bitrate: int
    rate: int = 48_000
    channels: int = 2
    gain_db: float = 0.0
    delay: float = 0.0


CARRIERS = (
    Carrier("mp4", "aac", 128_000, 44_100),
    Carrier("mp4", "aac", 48_000, 22_050, 1, -6.0),
    Carrier("mkv", "aac", 64_000, gain_db=6.0, delay=0.05),
    Carrier("mp4", "libmp3lame", 64_000, 44_100),
    Carrier("avi", "libmp3lame", 48_000, 22_050, 1, -6.0),
    Carrier("mkv", "libopus", 48_000),
    Carrier("mkv", "libopus", 128_000, channels=1, gain_db=-6.0, delay=0.2),
    Carrier("mkv", "vorbis", 128_000, 44_100, gain_db=3.0),
    Carrier("ts", "mp2", 128_000, gain_db=-3.0, delay=0.1),
    Carrier("mkv", "ac3", 96_000, 44_100, 1),
)


def sounds(seconds: float) -> dict[str, Wave]:
    """Return sounds by name, among them some that have much in common: one song in two voices and without, a film
    dubbed three times, one drum loop under two melodies, two winds."""
    drums, song = _drums(seconds, 1, 112), _drums(seconds, 1, 112) + _chords(seconds, 2, 112)
    made = {
        "song, voice A": song + 0.8 * _voice(seconds, 3, 140),
        "song, voice B": song + 0.8 * _voice(seconds, 4, 220),
        "song, no voice": song,
        "loop, melody 1": drums + _melody(seconds, 5, 330, 112, 0.3),
        "loop, melody 2": drums + _melody(seconds, 6, 330, 112, 0.3),
        "loop": drums,
        "another song": _drums(seconds, 11, 96) + _chords(seconds, 12, 96) + _melody(seconds, 13, 440, 96, 0.3),
        "speech 1": _voice(seconds, 21, 110),
        "speech 2": _voice(seconds, 22, 110),
        "speech 3": _voice(seconds, 23, 210),
        "film, dub 1": _wind(seconds, 30) + _voice(seconds, 31, 120),
        "film, dub 2": _wind(seconds, 30) + _voice(seconds, 32, 120),
        "film, dub 3": _wind(seconds, 30) + _voice(seconds, 33, 200),
        "tone 220": tone(seconds, 220.0),
        "tone 660": tone(seconds, 660.0),
        "wind 1": _wind(seconds, 40),
        "wind 2": _wind(seconds, 41),
        "piano 1": _melody(seconds, 50, 262, 80, 0.8),
        "piano 2": _melody(seconds, 51, 262, 80, 0.8),
    }
    return {name: 0.45 * wave / np.abs(wave).max() for name, wave in made.items()}


def tone(seconds: float, hertz: float) -> Wave:
    """Return a tone that wavers."""
    time = np.arange(int(seconds * RATE)) / RATE
    return 0.4 * np.sin(2 * np.pi * hertz * time * (1 + 0.1 * np.sin(time)))


def carried(wave: Wave | None, carrier: Carrier, seconds: float = 0.0, tracks: int = 1) -> bytes:
    """Return a video of grey squares with a sound, or of so many seconds without one."""
    seconds = seconds or (0.0 if wave is None else len(wave) / RATE)
    names = {"mkv": "matroska", "ts": "mpegts"}
    fps = 25 if carrier.container == "ts" else 5
    file = io.BytesIO()
    with av.open(file, "w", format=names.get(carrier.container, carrier.container)) as container:
        codec = {"avi": "mpeg4", "ts": "mpeg2video"}.get(carrier.container, "libx264")
        video = container.add_stream(codec, rate=fps)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        heard = [] if wave is None else [_Track(container, carrier, _stored(wave, carrier)) for _ in range(tracks)]
        squares = np.random.default_rng(0).integers(40, 200, (6, 8, 1), dtype=np.uint8)
        picture = np.kron(squares, np.ones((8, 8, 3), np.uint8))
        for number in range(round(seconds * fps)):
            for packet in video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")):
                container.mux(packet)
            for track in heard:
                track.until((number + 1) / fps)
        for packet in video.encode(None):
            container.mux(packet)
        for track in heard:
            track.until(np.inf)
    return file.getvalue()


class _Track:
    def __init__(self, container: av.container.OutputContainer, carrier: Carrier, samples: Wave) -> None:
        self._container, self._samples, self._rate, self._at = container, samples.astype(np.float32), carrier.rate, 0
        self._layout = "stereo" if carrier.channels == 2 else "mono"
        self._stream = container.add_stream(carrier.codec, rate=carrier.rate, layout=self._layout)
        self._stream.bit_rate = carrier.bitrate
        if carrier.codec == "vorbis":
            self._stream.codec_context.options = {"strict": "-2"}
        self._resampler = AudioResampler(self._stream.codec_context.format, self._layout, carrier.rate)

    def until(self, seconds: float) -> None:
        """Write what comes before this time; all, and the end, with infinity."""
        while self._at < min(seconds * self._rate, len(self._samples)):
            some = self._samples[self._at : self._at + 4096]
            both = np.repeat(some[None], 2 if self._layout == "stereo" else 1, axis=0)
            frame = av.AudioFrame.from_ndarray(both, "fltp", self._layout)
            frame.rate, frame.pts, frame.time_base = self._rate, self._at, Fraction(1, self._rate)
            self._at += len(some)
            for converted in self._resampler.resample(frame):
                self._container.mux(self._stream.encode(converted))
        if seconds == np.inf:
            self._container.mux(self._stream.encode(None))


def _stored(wave: Wave, carrier: Carrier) -> Wave:
    """Return a wave late, louder, and at the rate at which it is stored, by linear interpolation after a low-pass."""
    late = np.concatenate([np.zeros(int(carrier.delay * RATE)), wave])
    if carrier.rate < RATE:
        spectrum = np.fft.rfft(late)
        spectrum[int(len(spectrum) * carrier.rate / RATE * 0.95) :] = 0
        late = np.fft.irfft(spectrum, len(late))
    times = np.arange(int(len(late) * carrier.rate / RATE)) * RATE / carrier.rate
    louder = np.interp(times, np.arange(len(late)), late) * 10 ** (carrier.gain_db / 20)
    return np.asarray(np.clip(louder, -1.0, 1.0))


def _fading(count: int, attack: float, decay: float) -> Wave:
    time = np.arange(count) / RATE
    faded: Wave = np.minimum(time / attack, 1.0) * np.exp(-time / decay)
    return faded


def _note(hertz: float, seconds: float, decay: float) -> Wave:
    time = np.arange(int(seconds * RATE)) / RATE
    partials = [np.sin(2 * np.pi * hertz * n * time) / n**1.5 for n in range(1, 7)]
    return np.asarray(np.sum(partials, axis=0) * _fading(len(time), 0.01, decay))


def _put(wave: Wave, seconds: float, piece: Wave) -> None:
    start = int(seconds * RATE)
    piece = piece[: max(0, len(wave) - start)]
    wave[start : start + len(piece)] += piece


def _drums(seconds: float, seed: int, beats: int) -> Wave:
    random, wave, beat = np.random.default_rng(seed), np.zeros(int(seconds * RATE)), 60 / beats
    falling = np.cumsum(50 + 120 * np.exp(-np.arange(RATE // 4) / RATE / 0.03)) / RATE
    kick = np.sin(2 * np.pi * falling) * _fading(RATE // 4, 0.002, 0.1)
    snare = random.normal(size=RATE // 5) * _fading(RATE // 5, 0.001, 0.06)
    hat = np.diff(random.normal(size=RATE // 16 + 1)) * _fading(RATE // 16, 0.001, 0.015)
    pattern = random.integers(0, 2, 16)
    for step in range(int(seconds / beat * 4)):
        if step % 8 == 0 or (pattern[step % 16] and step % 4 == 2):
            _put(wave, step * beat / 4, 0.9 * kick)
        if step % 8 == 4:
            _put(wave, step * beat / 4, 0.4 * snare)
        if step % 2 == 0:
            _put(wave, step * beat / 4, 0.15 * hat)
    return wave


def _pitch(base: float, degree: int) -> float:
    return float(base * 2.0 ** ((_SCALE[degree % 7] + 12 * (degree // 7)) / 12))


def _melody(seconds: float, seed: int, base: float, beats: int, decay: float) -> Wave:
    random, wave, at = np.random.default_rng(seed), np.zeros(int(seconds * RATE)), 0.0
    while at < seconds:
        length = 60 / beats * float(random.choice([0.5, 0.5, 1.0, 1.0, 2.0]))
        _put(wave, at, 0.35 * _note(_pitch(base, int(random.integers(-4, 8))), length, decay))
        at += length
    return wave


def _chords(seconds: float, seed: int, beats: int) -> Wave:
    random, wave, bar = np.random.default_rng(seed), np.zeros(int(seconds * RATE)), 240 / beats
    for number in range(int(seconds / bar) + 1):
        degree = int(random.integers(0, 7))
        for step in (0, 2, 4):
            _put(wave, number * bar, 0.15 * _note(_pitch(130, degree + step), bar, 1.5))
        _put(wave, number * bar, 0.4 * _note(_pitch(65, degree), bar, 1.0))
    return wave


def _voice(seconds: float, seed: int, pitch: float) -> Wave:
    """Return syllables of voiced sound through three formants, some of them breathy, with pauses."""
    random, wave, at = np.random.default_rng(seed), np.zeros(int(seconds * RATE)), 0.0
    while at < seconds:
        length = random.uniform(0.08, 0.35)
        count = int(length * RATE)
        hertz = pitch * 2 ** (random.normal() * 0.15 - 0.1 * np.arange(count) / count)
        phase = 2 * np.pi * np.cumsum(hertz) / RATE
        formants = random.uniform(280, 800), random.uniform(900, 2300), random.uniform(2400, 3300)
        syllable = np.zeros(count)
        for harmonic in range(1, int(4000 / pitch)):
            middle = hertz.mean() * harmonic
            strength = sum(1 / (1 + ((middle - one) / (60 + 0.05 * one)) ** 2) for one in formants)
            syllable += strength / harmonic**0.5 * np.sin(harmonic * phase)
        if random.random() < 0.3:
            syllable = 0.3 * syllable + 0.3 * np.diff(random.normal(size=count + 1))
        _put(wave, at, 0.25 * syllable * np.hanning(count) ** 0.5)
        at += length + (random.uniform(0.4, 1.2) if random.random() < 0.12 else random.uniform(0, 0.08))
    return wave


def _wind(seconds: float, seed: int) -> Wave:
    random, count = np.random.default_rng(seed), int(seconds * RATE)
    spectrum = np.fft.rfft(random.normal(size=count))
    noise = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1.0), count)
    gusts = random.uniform(0.05, 1.0, int(seconds) + 2)
    return np.asarray(0.1 * noise / noise.std() * np.interp(np.arange(count) / RATE, np.arange(len(gusts)), gusts))
