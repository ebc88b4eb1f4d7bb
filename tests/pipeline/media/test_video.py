from __future__ import annotations

import gc
import io
import os
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image, ImageDraw

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media import container
from neardup.pipeline.media.container import Clock
from neardup.pipeline.media.reader import frame_at, open_media
from neardup.pipeline.media.sampling import Schedule
from neardup.pipeline.types import Frame, Kind, Limits, Media
from tests.timing import soonest

Photo = Callable[..., Image.Image]
Save = Callable[..., bytes]
Clip = Callable[..., bytes]
ToPath = Callable[[bytes], Path]
CONTAINERS = ["mp4", "mov", "mkv", "webm", "avi", "ts"]
HALF_SECONDS = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 3.9]  # the last frame of forty at ten per second is at 3.9


def _shades(frames: list[Frame]) -> list[int]:
    """Return the number of each frame of a clip, from the grey that it shows."""
    return [round((float(frame.tile.mean()) - 16) / 5) for frame in frames]


def _pts(frames: list[Frame]) -> list[float]:
    return [round(frame.pts, 3) for frame in frames]


def _walk(media: Media) -> tuple[list[Frame], Reason | None]:
    """Return the frames up to the end, or up to the error, and its reason."""
    seen: list[Frame] = []
    try:
        for frame in media.frames:
            seen.append(frame)
    except InvalidFrame as refusal:
        return seen, refusal.reason
    return seen, None


def _reason(source: bytes | Path, limits: Limits | None = None) -> Reason:
    with pytest.raises(InvalidFrame) as caught:
        list(open_media(source, 16, limits or Limits()).frames)
    return caught.value.reason


@pytest.mark.parametrize("name", CONTAINERS)
def test_frames_are_sampled_twice_a_second_and_at_the_end(clip: Clip, path: ToPath, name: str) -> None:
    content = clip(name)
    for source in (content, path(content)):
        media = open_media(source, 16)
        assert (media.kind, media.format, media.width, media.height) == (Kind.VIDEO, name, 64, 48)
        assert media.seconds == pytest.approx(4.0, abs=0.2)
        assert media.pixels_digest == b""
        frames = list(media.frames)
        assert _pts(frames) == HALF_SECONDS
        assert _shades(frames) == [0, 5, 10, 15, 20, 25, 30, 35, 39]
        assert frames[0].tile.shape == (16, 16, 3)


def test_sampling_rate_is_kept(clip: Clip) -> None:
    assert _pts(list(open_media(clip(), 16, sample_fps=1.0).frames)) == [0.0, 1.0, 2.0, 3.0, 3.9]
    assert len(list(open_media(clip(), 16, sample_fps=100.0).frames)) == 40


def test_uneven_frames_are_taken_at_or_after_the_sample_time(clip: Clip) -> None:
    frames = list(open_media(clip("mp4", [0, 0.1, 0.2, 3.0, 3.05, 3.6, 7.0]), 16).frames)
    assert _pts(frames) == [0.0, 3.0, 3.6, 7.0]
    assert _shades(frames) == [0, 3, 5, 6]


def test_time_starts_with_the_first_frame(clip: Clip) -> None:
    frames = list(open_media(clip("mkv", [5 + n / 10 for n in range(12)]), 16).frames)
    assert _pts(frames) == [0.0, 0.5, 1.0, 1.1]


def test_skipping_frames_that_nothing_refers_to_changes_nothing(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    content = clip("mp4", [n / 30 for n in range(200)], shade=lambda number: 40 + number % 150)
    skipping = list(open_media(content, 16).frames)
    monkeypatch.setattr(container, "_SKIPPING_CODECS", set())
    whole = list(open_media(content, 16).frames)
    assert _pts(skipping) == _pts(whole)
    assert all(np.array_equal(a.tile, b.tile) for a, b in zip(skipping, whole, strict=True))


def test_schedule_picks_the_first_frame_at_or_after_each_time() -> None:
    schedule = Schedule(2.0)
    times = [0.0, 0.033, 0.4995, 0.533, 0.97, 1.01, 2.7, 2.8, 3.0]
    assert [time for time in times if schedule.picks(time)] == [0.0, 0.4995, 1.01, 2.7, 3.0]


def test_clock_fills_gaps_and_never_runs_backwards() -> None:
    clock = Clock(SimpleNamespace(average_rate=10))  # type: ignore[arg-type]
    times = [100.0, None, 100.2, 100.15, 100.3, 7.0, 7.1]  # at 7.0 another recording was joined on
    assert [round(clock(time), 3) for time in times] == [0.0, 0.1, 0.2, 0.2, 0.3, 0.4, 0.5]


def turned(content: bytes, degrees: int) -> bytes:
    """Write a rotation into the track header of an MP4 (ISO/IEC 14496-12, 8.3.2): clockwise, 16.16 fixed point."""
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = struct.pack(">9i", cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    at = content.index(b"tkhd") + 4 + 40
    return content[:at] + matrix + content[at + 36 :]


@pytest.mark.parametrize(("degrees", "turn"), [(90, -1), (180, 2), (270, 1)])
def test_rotation_flag_is_honoured(photo: Photo, degrees: int, turn: int) -> None:
    stored = np.asarray(photo(64, 48))
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        output.mux(stream.encode())
    content = turned(file.getvalue(), degrees)
    upright = np.rot90(stored, turn)
    media = open_media(content, 16)
    assert (media.height, media.width) == upright.shape[:2]
    (frame,) = media.frames
    expected = np.asarray(Image.fromarray(upright).resize((16, 16), Image.Resampling.BILINEAR))
    assert np.abs(frame.tile.astype(int) - expected).mean() < 6
    thumbnail = frame_at(content, 0.0, 64)
    assert thumbnail.shape == upright.shape
    assert np.abs(thumbnail.astype(int) - upright).mean() < 12


def test_tile_of_a_frame_is_that_of_the_picture(photo: Photo, save: Save) -> None:
    picture = photo(640, 360)
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "bgr0"
        output.mux(stream.encode(av.VideoFrame.from_image(picture)))
        output.mux(stream.encode())
    (frame,) = open_media(file.getvalue(), 32).frames
    (still,) = open_media(save(picture, "PNG"), 32).frames
    assert np.abs(frame.tile.astype(int) - still.tile).max() <= 2


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_animation_is_a_video_with_its_own_timing(photo: Photo, save: Save, format: str) -> None:
    pictures = [photo(seed=seed) for seed in range(4)]
    content = save(pictures[0], format, save_all=True, append_images=pictures[1:], duration=[200, 600, 100, 300])
    media = open_media(content, 16)
    assert (media.kind, media.format) == (Kind.VIDEO, format.lower())
    assert (media.width, media.height) == pictures[0].size
    assert media.seconds == pytest.approx(1.2)
    frames = list(media.frames)
    assert _pts(frames) == [0.0, 0.8, 0.9]
    for frame, number in zip(frames, (0, 2, 3), strict=True):
        expected = np.asarray(pictures[number].resize((16, 16), Image.Resampling.BILINEAR))
        assert np.abs(frame.tile.astype(int) - expected).mean() < 12
    second = np.asarray(pictures[1].convert("RGB"))
    assert np.abs(frame_at(content, 0.15, 120).astype(int) - second).mean() < 16


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_transparent_animation_stands_on_white(save: Save, format: str) -> None:
    pictures = []
    for left in (0, 20):
        picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
        ImageDraw.Draw(picture).ellipse((left, 10, left + 30, 40), fill=(200, 0, 0, 255))
        pictures.append(picture)
    content = save(pictures[0], format, save_all=True, append_images=pictures[1:], duration=500, disposal=2)
    for frame in open_media(content, 64).frames:
        assert frame.tile[32, 60].tolist() == [255, 255, 255]


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_animation_of_one_frame_is_an_image(photo: Photo, save: Save, format: str) -> None:
    media = open_media(save(photo(), format, save_all=True), 16)
    assert media.kind is Kind.IMAGE
    assert len(list(media.frames)) == 1


def test_sound_alone_is_no_format() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        output.mux(stream.encode(sound))
        output.mux(stream.encode())
    assert _reason(file.getvalue()) is Reason.FORMAT


@pytest.mark.parametrize("name", ["mkv", "webm", "avi"])
def test_frames_before_the_cut_are_yielded(clip: Clip, path: ToPath, name: str) -> None:
    content = clip(name)
    seen, refusal = _walk(open_media(path(content[: len(content) * 2 // 3]), 16))
    assert refusal is Reason.TRUNCATED
    assert _pts(seen)[:3] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("name", ["mp4", "mov"])
def test_video_cut_before_its_index_is_truncated(clip: Clip, name: str) -> None:
    content = clip(name)
    assert _reason(content[: len(content) * 2 // 3]) is Reason.TRUNCATED


def test_cut_transport_stream_is_a_shorter_video(clip: Clip) -> None:
    content = clip("ts")
    frames = list(open_media(content[: len(content) * 2 // 3], 16).frames)
    assert 3 <= len(frames) < len(HALF_SECONDS)


def test_limits_of_a_video_are_checked_before_decoding(clip: Clip) -> None:
    content = clip()
    list(open_media(content, 16, Limits(max_seconds=4, max_frames=9, max_pixels=64 * 48)).frames)
    for limits in (Limits(max_seconds=3.9), Limits(max_frames=7), Limits(max_pixels=64 * 48 - 1)):
        with pytest.raises(InvalidFrame, match="bomb"):
            open_media(content, 16, limits)
    with pytest.raises(InvalidFrame, match="too-large"):
        open_media(content, 16, Limits(max_video_bytes=len(content) - 1))


def test_seconds_are_counted_where_the_container_lies(clip: Clip) -> None:
    content = clip("mkv")
    at = content.index(b"\x44\x89\x88") + 3  # element Duration, a float of 8 bytes, in milliseconds
    lying = content[:at] + struct.pack(">d", 1000.0) + content[at + 8 :]
    media = open_media(lying, 16, Limits(max_seconds=2))
    assert media.seconds == 1.0
    seen, refusal = _walk(media)
    assert refusal is Reason.BOMB
    assert _pts(seen) == [0.0, 0.5, 1.0, 1.5, 2.0]


def test_gif_of_a_million_frames_is_refused_at_once() -> None:
    head = b"GIF89a\x08\x00\x08\x00\x80\x00\x00" + bytes(6)
    frame = b"!\xf9\x04\x00\x02\x00\x00\x00,\x00\x00\x00\x00\x08\x00\x08\x00\x00\x02\x02\x84Q\x00"
    content = head + frame * 1_000_000 + b";"
    assert _reason(content) is Reason.BOMB
    assert soonest(lambda: _reason(content), 1.0, clock=time.process_time) < 1.0


@pytest.mark.parametrize("name", CONTAINERS)
def test_frame_at_is_the_first_at_or_after_the_time(clip: Clip, name: str) -> None:
    content = clip(name)
    for seconds, number in ((0.0, 0), (1.0, 10), (2.25, 23), (3.9, 39), (100.0, 39)):
        picture = frame_at(content, seconds, 32)
        assert picture.shape == (24, 32, 3)
        assert round((float(picture.mean()) - 16) / 5) == number


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files where Linux lists them")
def test_no_file_stays_open(clip: Clip, path: ToPath) -> None:
    content = clip()
    whole, broken = path(content), path(content).with_name("broken")
    broken.write_bytes(content[:200] + bytes(len(content) - 200))
    gc.collect()
    gc.disable()
    try:
        before = os.listdir("/proc/self/fd")  # noqa: PTH208
        for file in (whole, broken):
            for use in (lambda file: list(open_media(file, 16).frames), lambda file: frame_at(file, 1.0, 16)):
                with suppress(InvalidFrame):
                    use(file)
        frames = open_media(whole, 16).frames
        next(frames)
        del frames
        assert os.listdir("/proc/self/fd") == before  # noqa: PTH208
    finally:
        gc.enable()
