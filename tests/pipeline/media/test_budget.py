"""What an item costs is counted while it is decoded; beyond its budget it is given up, and nothing of it stays."""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.budget import Budget, current
from neardup.pipeline.media.reader import frame_at, open_media
from neardup.pipeline.types import Limits

Clip = Callable[..., bytes]
Save = Callable[..., bytes]
LONG = [n / 10 for n in range(200)]


class Clock:
    """A processor on which each look at it takes so long."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def refusal(
    source: bytes | Path, budget: Budget | None = None, limits: Limits | None = None
) -> tuple[int, InvalidFrame]:
    """Return how many frames came, and the error that ended them."""
    count = 0

    def count_all() -> None:
        nonlocal count
        for _ in open_media(source, 16, limits or Limits(), budget=budget).frames:
            count += 1

    with pytest.raises(InvalidFrame) as caught:
        count_all()
    return count, caught.value


def test_processor_time_is_counted_while_it_runs_and_not_between() -> None:
    now = [0.0]
    budget = Budget(Limits(max_decode_seconds=2.0), clock=lambda: now[0])

    def values() -> Iterator[int]:
        for number in range(3):
            now[0] += 0.5
            yield number

    for _ in budget.metered(values()):
        now[0] += 10.0  # what is done with a frame is not its decoder's
    assert budget.seconds == 1.5
    budget.check()


def test_a_film_gets_more_time_for_each_second_but_not_for_hours_between_two_frames() -> None:
    budget = Budget(Limits(max_decode_seconds=1.0, max_decode_ratio=0.5))
    for number in range(101):
        budget.frame(number / 25, 1)
    assert budget.granted == pytest.approx(1.0 + 0.5 * 4.0)
    budget.frame(3600.0, 1)
    assert budget.granted == pytest.approx(1.0 + 0.5 * 4.04)
    budget.frame(10.0, 1)
    budget.frame(3600.0, 1)
    assert budget.granted == pytest.approx(1.0 + 0.5 * 4.04)


def test_a_budget_is_that_of_its_thread_while_it_runs() -> None:
    budget, seen = Budget(Limits()), []
    with budget.running():
        thread = threading.Thread(target=lambda: seen.append(current() is budget))
        thread.start()
        thread.join(10)
        assert current() is budget
    assert (seen, current() is budget) == ([False], False)


@pytest.mark.parametrize("name", ["mp4", "mkv", "avi", "ts"])
def test_a_video_that_takes_too_long_ends_where_it_is(clip: Clip, name: str) -> None:
    limits = Limits(max_decode_seconds=0.5, max_decode_ratio=0)
    count, error = refusal(clip(name), Budget(limits, clock=Clock(0.01)), limits)
    assert error.reason is Reason.TOO_SLOW
    assert 0 < count < 9


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_an_animation_that_takes_too_long_ends_where_it_is(
    save: Save, photo: Callable[..., Image.Image], format: str
) -> None:
    pictures = [photo(seed=seed) for seed in range(40)]
    content = save(pictures[0], format, save_all=True, append_images=pictures[1:], duration=300)
    limits = Limits(max_decode_seconds=0.5, max_decode_ratio=0)
    count, error = refusal(content, Budget(limits, clock=Clock(0.01)), limits)
    assert error.reason is Reason.TOO_SLOW
    assert 0 < count < 20


def test_frames_that_are_not_looked_at_count_as_well(save: Save, photo: Callable[..., Image.Image]) -> None:
    pictures = [photo(32, 32, seed) for seed in range(50)]
    content = save(pictures[0], "WEBP", save_all=True, append_images=pictures[1:], duration=20, minimize_size=False)
    count, error = refusal(content, limits=Limits(max_video_pixels=20 * 32 * 32))
    assert (count, error.reason) == (1, Reason.TOO_SLOW)


def test_the_pixels_of_all_frames_are_counted(clip: Clip) -> None:
    content = clip("mkv")
    assert len(list(open_media(content, 16, Limits(max_video_pixels=40 * 64 * 48)).frames)) == 9
    count, error = refusal(content, limits=Limits(max_video_pixels=12 * 64 * 48))
    assert error.reason is Reason.TOO_SLOW
    assert count < 9


def test_huge_flat_frames_of_a_few_bytes_are_given_up() -> None:
    """Hours of work in a small file, by the real clock."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=10, options={"g": "300"})
        stream.width, stream.height, stream.pix_fmt = 2048, 2048, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((2048, 2048, 3), np.uint8), format="rgb24")
        picture = picture.reformat(format="yuv420p")
        for number in range(120):
            picture.pts = number
            output.mux(stream.encode(picture))
        output.mux(stream.encode())
    content = file.getvalue()
    assert len(content) < 1_000_000
    _, error = refusal(content, limits=Limits(max_decode_seconds=0.05, max_decode_ratio=0))
    assert error.reason is Reason.TOO_SLOW


def test_who_is_gone_is_decoded_no_further(clip: Clip) -> None:
    gone = threading.Event()
    budget = Budget(Limits(), gone=gone.is_set)
    frames = open_media(clip("mkv", LONG, shade=lambda number: 16 + number), 16, budget=budget).frames
    next(frames)
    gone.set()
    with pytest.raises(InvalidFrame, match="nobody waits"):
        list(frames)
    with pytest.raises(InvalidFrame, match="nobody waits"):
        open_media(clip(), 16, budget=budget)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files where Linux lists them")
def test_what_was_given_up_is_closed(clip: Clip, tmp_path: Path) -> None:
    file = tmp_path / "film.mp4"
    file.write_bytes(clip())
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    limits = Limits(max_decode_seconds=0.3, max_decode_ratio=0)
    _, error = refusal(file, Budget(limits, clock=Clock(0.01)), limits)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert error.reason is Reason.TOO_SLOW


def test_a_picture_of_a_video_far_from_any_keyframe_has_a_budget_too(clip: Clip) -> None:
    content = clip("mkv", LONG, shade=lambda number: 16 + number)
    limits = Limits(max_decode_seconds=0.5, max_decode_ratio=0)
    with pytest.raises(InvalidFrame, match="too-slow"):
        frame_at(content, 19.0, 16, limits, Budget(limits, clock=Clock(0.02)))
    assert frame_at(content, 19.0, 16).shape == (12, 16, 3)


def test_frames_that_would_not_fit_into_memory_are_not_decoded(clip: Clip, save: Save) -> None:
    content = clip("mp4")
    with pytest.raises(InvalidFrame, match=r"bomb.*memory"):
        open_media(content, 16, Limits(max_video_memory_bytes=16 * 64 * 48 * 3 // 2))
    open_media(content, 16, Limits(max_video_memory_bytes=17 * 64 * 48 * 3 // 2))
    pictures = [Image.new("RGB", (64, 64), (value, 0, 0)) for value in (0, 200)]
    animated = save(pictures[0], "WEBP", save_all=True, append_images=pictures[1:], duration=500)
    with pytest.raises(InvalidFrame, match=r"bomb.*memory"):
        open_media(animated, 16, Limits(max_video_memory_bytes=12 * 64 * 64 - 1))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_png_of_endless_chunks_is_given_up_within_them(save: Save) -> None:
    png = save(Image.new("L", (8, 8)), "PNG")
    head, rest = png[:33], png[33:]
    many = head + chunk(b"prVt", b"") * 100_000 + rest
    assert refusal(many, limits=Limits(max_decode_seconds=0.02))[1].reason is Reason.TOO_SLOW


def test_text_of_a_png_that_unpacks_without_end_is_not_unpacked(save: Save) -> None:
    png = save(Image.new("L", (8, 8)), "PNG")
    bomb = chunk(b"iTXt", b"key\x00\x01\x00\x00\x00" + zlib.compress(bytes(200_000_000), 9))
    budget = Budget(Limits(max_decode_seconds=2.0))
    with suppress(InvalidFrame):  # whether the picture before it counts is its decoder's decision
        list(open_media(png[:33] + bomb + png[33:], 16, budget=budget).frames)
    budget.check()


def test_scans_of_a_jpeg_without_end_are_counted_before(save: Save, photo: Callable[..., Image.Image]) -> None:
    jpeg = save(photo(640, 480), "JPEG", progressive=True)
    start = jpeg.rindex(b"\xff\xda")
    scan = jpeg[start : jpeg.rindex(b"\xff\xd9")]
    bomb = jpeg[:start] + scan * 5000 + b"\xff\xd9"
    limits = Limits(max_decode_seconds=1.0)
    open_media(jpeg, 16, limits)
    budget = Budget(limits)
    assert refusal(bomb, budget, limits)[1].reason is Reason.TOO_SLOW
    assert budget.seconds < 0.5
    hidden = jpeg[:start] + b"\xff\xfe\x00\x04\xff\xd9" + scan * 5000 + b"\xff\xd9"  # an end within a comment
    assert refusal(hidden, limits=limits)[1].reason is Reason.TOO_SLOW


@pytest.mark.parametrize("big", [False, True])
def test_strips_of_a_tiff_without_end_are_counted_before(big: bool) -> None:
    count = 2**21
    tags = [(256, 4, 1, 1), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, count, 8)]
    if big:
        entries = b"".join(struct.pack("<HHQQ", *tag) for tag in tags)
        tiff = b"II+\x00\x08\x00\x00\x00" + struct.pack("<QQ", 16, len(tags)) + entries + bytes(8)
    else:
        entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
        tiff = b"II*\x00" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    error = refusal(tiff + bytes(4 * count))[1]
    assert (error.reason, "strips" in error.detail) == (Reason.BOMB, True)


def patched(content: bytes, kind: bytes, at: int, value: int) -> bytes:
    """Return an MP4 in which a number of a box is another one."""
    start = content.index(kind) + 4 + at
    return content[:start] + struct.pack(">I", value) + content[start + 4 :]


def test_samples_that_an_mp4_announces_are_counted_before(clip: Clip, tmp_path: Path) -> None:
    content = clip("mp4")
    sizes = content.index(b"stsz") + 4
    lying = content[: sizes + 4] + struct.pack(">II", 100, 2**30) + content[sizes + 12 :]  # all of the same size
    file = tmp_path / "film.mp4"
    file.write_bytes(lying)
    for source in (lying, file):
        error = refusal(source)[1]
        assert (error.reason, "samples" in error.detail) == (Reason.BOMB, True)


def test_edits_of_an_mp4_count_once_for_each_sample(clip: Clip) -> None:
    content = clip("mp4")
    assert b"elst" in content
    limits = Limits(max_seconds=10.0)  # 4,800 samples
    open_media(patched(content, b"elst", 4, 100), 16, limits)
    error = refusal(patched(content, b"elst", 4, 200), limits=limits)[1]
    assert (error.reason, "samples" in error.detail) == (Reason.BOMB, True)
