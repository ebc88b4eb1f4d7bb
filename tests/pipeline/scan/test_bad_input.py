"""A folder full of bad files: the scan goes on, and says of each what is wrong with it."""

from __future__ import annotations

import io
import os
import sqlite3
import struct
import zlib
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from neardup.pipeline.describe import decode
from neardup.pipeline.errors import ConfigError, DependencyError, InvalidFrame, Reason
from neardup.pipeline.scan import run, sources
from neardup.pipeline.scan.catalog import FORMAT, Catalog
from neardup.pipeline.types import Media
from tests.pipeline.scan.build import SETTINGS, StandIn, a_picture, date, pairs, reasons, save, save_clip, scan_folder

SETTLED = {"empty", "format", "decode", "truncated", "bomb", "too-large"}


def encoded(form: str, seed: int = 1) -> bytes:
    buffer = io.BytesIO()
    a_picture(seed, 64).save(buffer, form)
    return buffer.getvalue()


def huge_png() -> bytes:
    """Return the beginning of a picture of 50,000 × 50,000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def endless_gif(frames: int = 1_000_000) -> bytes:
    """Return a GIF of so many frames of one pixel."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    frame = (
        b"\x21\xf9\x04\x00\x0a\x00\x00\x00" + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    )
    return head + frame * frames + b";"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    media = tmp_path / "media"
    save(media, "good.png", 1, modified=1000)
    save(media, "good copy.png", 1, side=40, modified=2000)
    return media


def test_each_bad_file_has_its_reason(folder: Path) -> None:
    random = np.random.default_rng(1).bytes(5000)
    contents = {
        "empty.jpg": (b"", "empty"),
        "text.png": (b"milk, bread", "format"),
        "random.jpg": (random, "format"),
        "half.jpg": (encoded("JPEG")[: len(encoded("JPEG")) // 2], "truncated"),
        "half.png": (encoded("PNG")[:100], "truncated"),
        "huge.png": (huge_png(), "bomb"),
        "endless.gif": (endless_gif(), "bomb"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    result = scan_folder(folder)
    assert reasons(result) == {name: reason for name, (_, reason) in contents.items()}
    assert pairs(result) == {("good copy.png", "good.png")}


def test_content_counts_and_not_the_name(folder: Path) -> None:
    (folder / "really a png.mp4").write_bytes(encoded("PNG"))
    date(folder / "really a png.mp4", 3000)
    assert ("really a png.mp4", "good.png") in pairs(scan_folder(folder))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_file_cut_off_anywhere_is_read_or_skipped(tmp_path: Path, form: str) -> None:
    content = encoded(form, 3)
    for number, end in enumerate(np.linspace(0, len(content) - 1, 24).astype(int)):
        (tmp_path / f"{number}.bin").write_bytes(content[:end])
    result = scan_folder(tmp_path)
    assert result.images + len(result.skipped) >= 20  # the first few bytes may be equal
    assert set(reasons(result).values()) <= SETTLED


def test_video_cut_off_anywhere_is_read_or_skipped(tmp_path: Path) -> None:
    content = save_clip(tmp_path / "whole.mp4", [1, 2, 3]).read_bytes()
    (tmp_path / "cut").mkdir()
    for number, end in enumerate(np.linspace(0, len(content) - 1, 12).astype(int)):
        (tmp_path / "cut" / f"{number}.mp4").write_bytes(content[:end])
    result = scan_folder(tmp_path / "cut")
    assert result.videos + len(result.skipped) == 12
    assert set(reasons(result).values()) <= SETTLED


def test_bytes_turned_over_do_no_harm(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    for form in ("JPEG", "PNG", "WEBP", "GIF", "TIFF"):
        content = np.frombuffer(encoded(form, 4), np.uint8)
        for number in range(12):
            broken = content.copy()
            broken[random.integers(0, len(broken), 8)] = random.integers(0, 256, 8)
            (tmp_path / f"{form} {number}.bin").write_bytes(broken.tobytes())
    result = scan_folder(tmp_path)
    assert result.images + result.videos + len(result.skipped) == 60
    assert set(reasons(result).values()) <= SETTLED


def test_unreadable_file_is_skipped_and_not_tried_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(folder, "secret.png", 5)
    real_access = os.access

    def refuse(path: str, *arguments: Any, **options: Any) -> IO[Any]:
        if path.endswith("secret.png"):
            raise PermissionError(13, "Permission denied")
        return open(path, *arguments, **options)  # noqa: PTH123

    monkeypatch.setattr(sources, "open", refuse, raising=False)
    monkeypatch.setattr(os, "access", lambda path, mode: "secret" not in str(path) and real_access(path, mode))
    index = tmp_path / "index"
    assert reasons(scan_folder(folder, index)) == {"secret.png": "unreadable"}
    again = scan_folder(folder, index, make=lambda: pytest.fail("the network was loaded"))
    assert reasons(again) == {"secret.png": "unreadable"}
    monkeypatch.undo()
    result = scan_folder(folder, index)
    assert (reasons(result), result.embedded) == ({}, 1)


@pytest.mark.parametrize(("what", "reason"), [("remove", "vanished"), ("change", "changed")])
def test_file_that_goes_or_changes_while_scanning_is_skipped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, reason: str
) -> None:
    victim = save(folder, "victim.png", 6, modified=3000)
    real = decode.open_media

    def open_media(source: bytes | Path, *arguments: object, **options: object) -> Media:
        if source == content:
            victim.unlink() if what == "remove" else victim.write_bytes(encoded("PNG", 7))
        return real(source, *arguments, **options)  # type: ignore[arg-type]

    content = victim.read_bytes()
    monkeypatch.setattr(decode, "open_media", open_media)
    index = tmp_path / "index"
    assert reasons(scan_folder(folder, index)) == {"victim.png": reason}
    result = scan_folder(folder, index)
    assert reasons(result) == {}
    assert result.images == (2 if what == "remove" else 3)


def test_file_that_is_gone_when_its_turn_comes_is_skipped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(folder, "gone.png", 6)

    def vanish(path: str, *arguments: Any, **options: Any) -> IO[Any]:
        if path.endswith("gone.png"):
            Path(path).unlink()
        return open(path, *arguments, **options)  # noqa: PTH123

    monkeypatch.setattr(sources, "open", vanish, raising=False)
    assert reasons(scan_folder(folder)) == {"gone.png": "vanished"}


def test_twins_of_a_file_that_changed_are_read_themselves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of three identical files changes while it is read; the others are as good as before."""
    content = encoded("PNG", 8)
    for number in range(3):
        (folder / f"twin {number}.png").write_bytes(content)
        date(folder / f"twin {number}.png", 3000 + number)
    real = sources._check_unchanged
    met: list[str] = []

    def check(file: sources.Found) -> None:
        met.append(file.path)
        if "twin" in file.path and sum("twin" in path for path in met) == 1:
            raise InvalidFrame(Reason.CHANGED, "it changed")
        real(file)

    monkeypatch.setattr(sources, "_check_unchanged", check)
    result = scan_folder(folder)
    assert list(reasons(result).values()) == ["changed"]
    assert result.images == 4


@pytest.mark.parametrize("failing", [1, 2])
def test_twins_that_come_after_one_that_failed_are_read_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """All of one chunk, so that what becomes of the others is known only after the first has ended."""
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(encoded("PNG", 8))
    real, met = sources._check_unchanged, list[str]()

    def check(file: sources.Found) -> None:
        met.append(file.path)
        if len(met) <= failing:
            raise InvalidFrame(Reason.CHANGED, "it changed")
        real(file)

    monkeypatch.setattr(sources, "_check_unchanged", check)
    result = scan_folder(tmp_path)
    assert list(reasons(result).values()) == ["changed"] * failing
    assert result.images == 5 - failing


def test_many_identical_bad_files_are_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, opened = decode.open_media, []

    def open_media(source: bytes | Path, *arguments: object, **options: object) -> Media:
        opened.append(source)
        return real(source, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(decode, "open_media", open_media)
    for number in range(600):
        (tmp_path / f"{number}.txt").write_text("milk")
    result = scan_folder(tmp_path)
    assert len(opened) == 1
    assert len(result.skipped) == 600


def test_fault_of_a_decoder_costs_one_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "odd.png").write_bytes(encoded("PNG", 9))
    odd = (folder / "odd.png").read_bytes()
    real = decode.open_media

    def open_media(source: bytes | Path, *arguments: object, **options: object) -> Media:
        if source == odd:
            raise ZeroDivisionError("a bug")
        return real(source, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(decode, "open_media", open_media)
    result = scan_folder(folder)
    [skipped] = result.skipped
    assert (skipped.reason, skipped.detail) == ("decode", "ZeroDivisionError: a bug")
    assert result.images == 2


def test_file_that_takes_too_long_is_skipped(folder: Path) -> None:
    save_clip(folder / "clip.mp4", [5, 6, 7, 8])
    result = scan_folder(folder, settings=SETTINGS.model_copy(update={"max_video_pixels": 1000}))
    assert [skipped.reason for skipped in result.skipped] == ["too-slow"]
    assert result.images == 2


def test_large_file_is_streamed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "READ_WHOLE_BYTES", 100)
    save_clip(folder / "clip.mp4", [5, 6])
    result = scan_folder(folder)
    assert (result.images, result.videos, result.skipped) == (2, 1, ())
    assert pairs(result) == {("good copy.png", "good.png")}


def test_loop_is_told_and_does_not_stop_the_scan(folder: Path) -> None:
    (folder / "loop").symlink_to(folder)
    result = scan_folder(folder)
    assert pairs(result) == {("good copy.png", "good.png")}
    assert reasons(result) == {"loop": "not-a-file"}


def test_full_disk_ends_the_scan_in_one_line_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, index = tmp_path / "media", tmp_path / "index"
    for number in range(120):
        save(folder, f"{number}.bmp", number, side=16, modified=number)
    scan_folder(folder / "0.bmp", index)
    real = sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        database = real(*arguments, **options)
        database.execute("PRAGMA max_page_count = 20")  # SQLite answers as it does where the disk is full
        return database

    monkeypatch.setattr(sqlite3, "connect", connect)
    monkeypatch.setattr(run, "COMMIT_SECONDS", 0.0)
    with pytest.raises(DependencyError, match="full"):
        scan_folder(folder, index)
    monkeypatch.undo()
    embedder = StandIn()
    result = scan_folder(folder, index, embedder)
    assert result.images == 120
    assert embedder.tiles < 119


def test_catalog_of_a_later_version_is_refused(folder: Path, tmp_path: Path) -> None:
    with closing(Catalog(tmp_path / "index", "s")) as catalog:
        catalog.set_meta("format", b"99")
        catalog.commit()
    with pytest.raises(ConfigError, match=f"format 99, this version of neardup reads {FORMAT.decode()}"):
        scan_folder(folder, tmp_path / "index")


def scan_or_complaint(folder: Path, index: Path) -> int | str:
    """Return the number of images, or that the index was found to be damaged."""
    try:
        return scan_folder(folder, index).images
    except ConfigError as error:
        return "damaged" if "is damaged" in str(error) else str(error)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_damage_in_the_middle_of_the_catalog_is_told(folder: Path, tmp_path: Path, share: float) -> None:
    for number in range(60):
        save(folder, f"{number}.bmp", number, side=16)
    scan_folder(folder, tmp_path / "index")
    path = tmp_path / "index" / "catalog.sqlite"
    content = bytearray(path.read_bytes())
    start = int(len(content) * share)
    content[start : start + 4096] = bytes(4096)
    path.write_bytes(content)
    save(folder, "new.png", 99)
    assert scan_or_complaint(folder, tmp_path / "index") in (63, "damaged")


def test_catalog_cut_short_is_told_or_read(folder: Path, tmp_path: Path) -> None:
    scan_folder(folder, tmp_path / "index")
    path = tmp_path / "index" / "catalog.sqlite"
    content = path.read_bytes()
    for end in (0, 50, 5000, len(content) - 4096):
        path.write_bytes(content[:end])
        assert scan_or_complaint(folder, tmp_path / "index") in (2, "damaged")
