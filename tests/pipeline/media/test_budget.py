"""What an item costs is counted while it is decoded; beyond its budget it is given up, and nothing of it stays."""

from __future__ import annotations

import ctypes
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
    open_media(animated, 16, Limits(max_video_memory_bytes=31 * 64 * 64))
    with pytest.raises(InvalidFrame, match=r"bomb.*memory"):
        open_media(animated, 16, Limits(max_video_memory_bytes=31 * 64 * 64 - 1))


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


def an_icon(inside: bytes, width: int = 16, height: int = 16) -> bytes:
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, width, height, 0, 0, 1, 32, len(inside), 22) + inside


def a_flat_png(width: int, height: int) -> bytes:
    rows = zlib.compress(bytes(height * (width // 8 + 1)), 9)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def a_canvas(width: int, height: int) -> bytes:
    """A WebP of that size, according to its header."""
    body = b"\x10\x00\x00\x00" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + body


@pytest.mark.parametrize(
    "content", [an_icon(a_flat_png(15_000, 15_000)), a_canvas(16_383, 16_383)], ids=["icon", "webp"]
)
def test_what_is_decoded_or_laid_out_while_it_is_opened_is_measured_before(content: bytes) -> None:
    error = refusal(content)[1]
    assert (error.reason, "NEARDUP_MAX_PIXELS" in error.detail) == (Reason.BOMB, True)


def test_an_icon_may_take_no_more_memory_than_any_picture() -> None:
    icon = an_icon(a_flat_png(200, 150), 200, 150)
    open_media(icon, 16, Limits(max_picture_memory_bytes=12 * 200 * 150))
    error = refusal(icon, limits=Limits(max_picture_memory_bytes=12 * 200 * 150 - 1))[1]
    assert (error.reason, "NEARDUP_MAX_PICTURE_MEMORY_BYTES" in error.detail) == (Reason.BOMB, True)
    assert refusal(b"\x00\x00\x01\x00\x00\x00")[1].reason is Reason.DECODE


def hidden(content: bytes, announced: int | None = None) -> bytes:
    """Return an MP4 whose tables are compressed."""
    start = content.index(b"moov") - 4
    moov = content[start : start + int.from_bytes(content[start : start + 4], "big")]
    packed = struct.pack(">I", len(moov) if announced is None else announced) + zlib.compress(moov)
    for kind, before in ((b"cmvd", b""), (b"cmov", struct.pack(">I4s4s", 12, b"dcom", b"zlib")), (b"moov", b"")):
        packed = struct.pack(">I4s", 8 + len(before) + len(packed), kind) + before + packed
    return content[:start] + packed + content[start + len(moov) :]


def test_tables_that_are_compressed_are_counted_as_others_are(clip: Clip) -> None:
    content = clip("mp4")
    assert open_media(hidden(content), 16).width == 64
    sizes = content.index(b"stsz") + 4
    lying = content[: sizes + 4] + struct.pack(">II", 100, 2**30) + content[sizes + 12 :]
    error = refusal(hidden(lying))[1]
    assert (error.reason, "samples" in error.detail) == (Reason.BOMB, True)
    error = refusal(hidden(content, 2**32 - 1))[1]
    assert (error.reason, "NEARDUP_MAX_VIDEO_MEMORY_BYTES" in error.detail) == (Reason.BOMB, True)


def test_a_profile_of_an_animation_that_unpacks_without_end_is_not_unpacked(
    save: Save, photo: Callable[..., Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [photo(seed=seed) for seed in range(3)]
    png = save(pictures[0], "PNG", save_all=True, append_images=pictures[1:], duration=500)
    plain = [frame.tile for frame in open_media(png, 16).frames]
    bomb = chunk(b"iCCP", b"icc\x00\x00" + zlib.compress(bytes(10_000_000), 9))
    given: list[bytes] = []
    real = av.open

    def look(file: io.BytesIO, *arguments: object, **named: object) -> object:
        given.append(file.getvalue())
        return real(file, *arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr("neardup.pipeline.media.container.av.open", look)
    tiles = [frame.tile for frame in open_media(png[:33] + bomb + png[33:], 16).frames]
    np.testing.assert_array_equal(tiles, plain)
    assert [b"iCCP" in content for content in given] == [False]


def a_film_with_sound() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        video, sound = output.add_stream("mpeg4", rate=10), output.add_stream("flac", rate=44_100)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number in range(20):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * number, np.uint8), format="rgb24")
            picture.pts = number
            output.mux(video.encode(picture))
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 4410), np.int16) + number, format="s16")
            tone.sample_rate, tone.pts = 44_100, 4410 * number
            output.mux(sound.encode(tone))
        output.mux(video.encode())
        output.mux(sound.encode())
    return file.getvalue()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads where Linux lists them")
def test_sound_is_decoded_and_resampled_without_threads_which_no_budget_counts() -> None:
    content = a_film_with_sound()
    before = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    media = open_media(content, 16)
    assert {len(os.listdir("/proc/self/task")) for _ in media.frames} == {before}  # noqa: PTH208
    assert media.all_extras().sound


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files where Linux lists them")
def test_what_is_refused_while_it_is_opened_is_closed(clip: Clip, tmp_path: Path) -> None:
    file = tmp_path / "film.mp4"
    file.write_bytes(clip())
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    error = refusal(file, limits=Limits(max_video_memory_bytes=1))[1]
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert error.reason is Reason.BOMB


@pytest.mark.parametrize(
    ("limits", "content", "reason"),
    [
        (Limits(max_bytes=10), "jpeg", Reason.TOO_LARGE),
        (Limits(max_video_bytes=10), "mp4", Reason.TOO_LARGE),
        (Limits(max_pixels=10), "jpeg", Reason.BOMB),
        (Limits(max_pixels=10), "animated gif", Reason.BOMB),
        (Limits(max_seconds=0.5), "mp4", Reason.BOMB),
        (Limits(max_frames=2), "animated webp", Reason.BOMB),
        (Limits(max_decode_seconds=1e-9), "png", Reason.TOO_SLOW),
        (
            Limits(max_decode_seconds=1e-9, max_decode_ratio=0, decode_setting="api_decode_seconds"),
            "png",
            Reason.TOO_SLOW,
        ),
        (Limits(max_video_pixels=64 * 48), "mp4", Reason.TOO_SLOW),
        (Limits(max_video_memory_bytes=10), "mp4", Reason.BOMB),
        (Limits(max_picture_memory_bytes=10), "png", Reason.BOMB),
    ],
)
def test_a_refusal_names_the_setting_that_would_let_it_in(
    every_format: dict[str, bytes], limits: Limits, content: str, reason: Reason
) -> None:
    changed = [name for name in Limits.__dataclass_fields__ if getattr(limits, name) != getattr(Limits(), name)]
    setting = limits.decode_setting if "max_decode_seconds" in changed else changed[0]
    error = refusal(every_format[content], limits=limits)[1]
    assert (error.reason, f"(NEARDUP_{setting.upper()})" in error.detail) == (reason, True), error.detail


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures memory as Linux does")
@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_an_animation_takes_no_more_memory_than_was_estimated(
    save: Save, photo: Callable[..., Image.Image], format: str
) -> None:
    frames = [photo(1800, 1800, seed).convert("RGBA") for seed in range(2)]
    for number, frame in enumerate(frames):
        frame.putalpha(100 + number)
    content = save(frames[0], format, save_all=True, append_images=frames[1:], duration=500)
    with pytest.raises(InvalidFrame, match="bytes of memory") as caught:
        open_media(content, 16, Limits(max_video_memory_bytes=1))
    estimated = int(caught.value.detail.split()[2])
    list(open_media(content, 16, Limits(max_video_memory_bytes=estimated)).frames)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = peak("VmRSS")
    list(open_media(content, 16).frames)
    assert peak("VmHWM") - before < estimated + 2**25  # 2**24 were passed by 4 MB in a process that had grown large


def peak(name: str) -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return 1024 * int(line.split()[1])
