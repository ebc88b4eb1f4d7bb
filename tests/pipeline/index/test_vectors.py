from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neardup.pipeline.errors import ConfigError, DependencyError, SpaceError
from neardup.pipeline.index.rowfile import HEADER_BYTES
from neardup.pipeline.index.vectors import VectorFile

ROW_BYTES = 8 + 2 * 2
X, Y = [1.0, 0.0], [0.0, 1.0]


def ids(*values: int) -> Any:
    return np.array(values, np.int64)


def vectors(*rows: list[float]) -> Any:
    return np.array(rows, np.float32)


def written(path: Path, count: int = 3) -> Path:
    """A file of `count` committed rows with ids 10, 11, …"""
    file = VectorFile(path, 2, "s")
    for i in range(count):
        file.append(ids(10 + i), vectors(X if i % 2 else Y))
        file.flush()
    file.close()
    return path


@pytest.fixture(params=["memory", "disk"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    opened = VectorFile(None if request.param == "memory" else tmp_path / "v", 2, "s")
    yield opened
    opened.close()


def test_rows_come_back_in_the_order_asked(file: VectorFile) -> None:
    assert file.append(ids(5, 6), vectors(X, Y)) == 0
    assert file.append(ids(7), vectors([0.6, 0.8])) == 2
    assert len(file) == 3
    assert file.ids(np.array([2, 0])).tolist() == [7, 5]
    assert file.read(np.array([1, 0, 1])).tolist() == [Y, X, Y]
    assert file.ids(slice(1, 9)).tolist() == [6, 7]
    assert (file.dimension, file.space) == (2, "s")


def test_rows_are_read_at_unit_length_although_float16_rounds(file: VectorFile) -> None:
    angles = np.linspace(0, 6, 50)
    file.append(np.arange(50), np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))
    read = file.read(slice(None))
    assert read.dtype == np.float32
    assert np.abs(np.linalg.norm(read, axis=1) - 1).max() < 2e-7


def test_an_empty_file_has_no_rows(file: VectorFile) -> None:
    file.append(ids(), np.empty((0, 2), np.float32))
    file.flush()
    assert len(file) == 0
    assert file.read(slice(None)).shape == (0, 2)


def test_many_small_appends_keep_every_row(file: VectorFile) -> None:
    for i in range(1000):
        file.append(ids(i), vectors(X))
        if i % 300 == 0:
            file.flush()
            file.read(slice(None))
    assert file.ids(slice(None)).tolist() == list(range(1000))


def test_flushed_rows_are_there_after_reopening(tmp_path: Path) -> None:
    file = VectorFile(written(tmp_path / "v"), 2, "s")
    assert file.ids(slice(None)).tolist() == [10, 11, 12]
    assert file.read(slice(None)).tolist() == [Y, X, Y]
    file.append(ids(13), vectors(X))
    file.flush()
    file.close()
    again = VectorFile(tmp_path / "v", 2, "s")
    assert again.ids(slice(None)).tolist() == [10, 11, 12, 13]
    again.close()


@pytest.mark.parametrize("torn_bytes", [1, ROW_BYTES - 1, ROW_BYTES, 5 * ROW_BYTES + 3])
def test_rows_written_but_not_committed_are_cut_off_at_open(tmp_path: Path, torn_bytes: int) -> None:
    with written(tmp_path / "v").open("ab") as torn:
        torn.write(b"\x7f" * torn_bytes)
    file = VectorFile(tmp_path / "v", 2, "s")
    assert len(file) == 3
    assert (tmp_path / "v").stat().st_size == HEADER_BYTES + 3 * ROW_BYTES
    file.append(ids(13), vectors(X))
    assert file.ids(slice(None)).tolist() == [10, 11, 12, 13]
    file.close()


def test_unflushed_rows_are_gone_after_a_crash(tmp_path: Path) -> None:
    file = VectorFile(written(tmp_path / "v"), 2, "s")
    file.append(ids(13), vectors(X))
    file.close()
    again = VectorFile(tmp_path / "v", 2, "s")
    assert len(again) == 3
    again.close()


@pytest.mark.parametrize("slot", [512, 1024])
def test_a_torn_commit_falls_back_to_the_one_before(tmp_path: Path, slot: int) -> None:
    counts = []
    path = written(tmp_path / "v")
    damage(path, slot)
    file = VectorFile(path, 2, "s")
    counts.append(len(file))
    file.append(ids(20), vectors(X))
    file.flush()
    file.close()
    assert counts[0] in (2, 3)
    again = VectorFile(path, 2, "s")
    assert again.ids(slice(None)).tolist()[-1] == 20
    again.close()


def test_a_damaged_header_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    for place in (0, 9, 13, 20):
        path = written(tmp_path / f"v{place}")
        damage(path, place)
        with pytest.raises(ConfigError, match=path.name):
            VectorFile(path, 2, "s")


def test_the_checksum_is_of_the_rows_that_are_wanted(file: VectorFile) -> None:
    file.append(ids(5, 6, 7), vectors(X, Y, X))
    some, other = np.array([True, False, True]), np.array([True, True, True])
    before = file.checksum(some), file.checksum(other)
    file.erase(ids(1))
    assert file.checksum(some) == before[0]
    assert file.checksum(other) != before[1]
    assert file.checksum(some[:2]) != before[0]


def test_erased_rows_are_zeros_for_good_and_others_as_they_were(tmp_path: Path) -> None:
    file = VectorFile(written(tmp_path / "v", 4), 2, "s")
    mapped = file.records(slice(None))
    file.erase(ids(0, 2))
    assert mapped["vector"][:, 1].tolist() == [0, 0, 0, 0]  # a copy of this process sees it too
    assert file.is_erased(ids(0, 1, 2, 3)).tolist() == [True, False, True, False]
    assert file.read(slice(None)).tolist() == [[0, 0], X, [0, 0], X]
    file.sync()
    file.append(ids(14), vectors(Y))
    file.flush()
    file.close()
    again = VectorFile(tmp_path / "v", 2, "s")
    assert again.ids(slice(None)).tolist() == [0, 11, 0, 13, 14]
    again.close()


def test_both_commits_damaged_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path / "v")
    damage(path, 512)
    damage(path, 1024)
    with pytest.raises(ConfigError, match="both commit slots"):
        VectorFile(path, 2, "s")


@pytest.mark.parametrize("left", [100, HEADER_BYTES, HEADER_BYTES + 3 * ROW_BYTES - 1])
def test_a_file_that_was_cut_is_refused(tmp_path: Path, left: int) -> None:
    os.truncate(written(tmp_path / "v"), left)
    with pytest.raises(ConfigError, match=r"cut|not a vector file"):
        VectorFile(tmp_path / "v", 2, "s")


def test_another_space_or_dimension_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "v")
    with pytest.raises(SpaceError, match=r"2 dimensions of space 's', wanted 2 of 't'"):
        VectorFile(tmp_path / "v", 2, "t")
    with pytest.raises(SpaceError, match="wanted 3"):
        VectorFile(tmp_path / "v", 3, "s")


def test_a_space_too_long_or_no_dimension_is_refused() -> None:
    with pytest.raises(ConfigError, match="256 bytes"):
        VectorFile(None, 2, "ü" * 129)
    with pytest.raises(ConfigError, match="dimension 0"):
        VectorFile(None, 0, "s")


def test_a_missing_or_forbidden_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="absent"):
        VectorFile(tmp_path / "absent", 2, "s", visible=0)
    with pytest.raises(DependencyError, match="nowhere"):
        VectorFile(tmp_path / "nowhere" / "v", 2, "s")


def test_a_reader_sees_what_was_written_and_commits_nothing(tmp_path: Path) -> None:
    writer = VectorFile(written(tmp_path / "v"), 2, "s")
    writer.append(ids(13), vectors(X))
    before = (tmp_path / "v").read_bytes()
    reader = VectorFile(tmp_path / "v", 2, "s", visible=4)
    assert reader.ids(slice(None)).tolist() == [10, 11, 12, 13]
    with pytest.raises(ConfigError, match="5 rows were written"):
        VectorFile(tmp_path / "v", 2, "s", visible=5)
    for file in (writer, reader):
        file.close()
    assert (tmp_path / "v").read_bytes() == before
    again = VectorFile(tmp_path / "v", 2, "s")
    assert len(again) == 3
    again.close()


@pytest.mark.parametrize("path", [None, "v"])
def test_some_rows_can_be_copied_for_another_process(
    tmp_path: Path, path: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = VectorFile(path and tmp_path / path, 2, "s")
    file.append(ids(10, 11, 12), vectors(X, Y, X))
    file.copy(tmp_path / "copy", np.array([1, 2]))
    copy = VectorFile(tmp_path / "copy", 2, "s", visible=2)
    assert copy.records(slice(None)).tobytes() == file.records(slice(1, 3)).tobytes()
    copy.close()
    monkeypatch.setattr("os.pwrite", FullDisk(room=0))
    with pytest.raises(DependencyError, match="another: the disk does not take"):
        file.copy(tmp_path / "another", np.array([1, 2]))
    file.close()


def test_rows_that_a_full_disk_does_not_take_are_in_memory_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = VectorFile(written(tmp_path / "v"), 2, "s")
    monkeypatch.setattr("os.pwrite", FullDisk(room=ROW_BYTES + 3))
    assert file.append(ids(13), vectors(X)) == 3  # this one it took
    assert file.append(ids(14, 15), vectors(X, Y)) == 4
    assert file.append(ids(16), vectors(Y)) == 6
    assert (len(file), file.unwritten_bytes) == (7, 3 * ROW_BYTES)
    assert caplog.text.count("rows are kept in memory") == 1
    assert file.ids(slice(None)).tolist() == [10, 11, 12, 13, 14, 15, 16]
    assert file.ids(slice(5, 7)).tolist() == [15, 16]
    assert file.ids(slice(0, 2)).tolist() == [10, 11]
    assert file.ids(np.array([[6, 0], [4, 3]])).tolist() == [[16, 10], [14, 13]]
    assert file.read(np.array([5, 1, 6])).tolist() == [Y, X, Y]
    file.erase(np.array([5, 2]))
    assert file.read(np.array([5, 2, 6])).tolist() == [[0, 0], Y, Y]  # the disk refuses that, too
    with pytest.raises(DependencyError, match=r"v: cannot append 3 rows: No space left"):
        file.flush()
    with pytest.raises(DependencyError, match=r"v: cannot erase 1 rows: No space left"):
        file.sync()
    checksum = file.checksum(np.array([True, True, False, True, True, True, True]))
    monkeypatch.undo()
    file.append(ids(17), vectors(X))
    assert (len(file), file.unwritten_bytes) == (8, 0)
    file.flush()
    file.close()
    again = VectorFile(tmp_path / "v", 2, "s")
    assert again.ids(slice(None)).tolist() == [10, 11, 0, 13, 14, 0, 16, 17]
    assert again.checksum(np.array([True, True, False, True, True, True, True])) == checksum
    again.close()


def test_room_for_some_rows_takes_some_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neardup.pipeline.index.rowfile._CHUNK_BYTES", ROW_BYTES)
    file = VectorFile(written(tmp_path / "v"), 2, "s")
    monkeypatch.setattr("os.pwrite", disk := FullDisk(room=0))
    for number in range(20, 25):
        file.append(ids(number), vectors(X))
    disk.room = 2 * ROW_BYTES + 1
    with pytest.raises(DependencyError, match="cannot append 3 rows"):
        file.flush()
    assert (tmp_path / "v").stat().st_size == HEADER_BYTES + 5 * ROW_BYTES
    assert file.ids(slice(None)).tolist() == [10, 11, 12, 20, 21, 22, 23, 24]
    file.truncate(6)
    assert file.ids(slice(None)).tolist() == [10, 11, 12, 20, 21, 22]
    file.append(ids(30), vectors(X))
    monkeypatch.undo()
    file.flush()
    assert file.ids(slice(None)).tolist() == [10, 11, 12, 20, 21, 22, 30]
    file.truncate(1)
    assert (len(file), file.unwritten_bytes) == (1, 0)
    file.close()


def test_a_file_that_cannot_be_begun_on_a_full_disk_begins_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.pwrite", FullDisk(room=100))
    file = VectorFile(tmp_path / "v", 2, "s")
    file.truncate(0)
    file.append(ids(1), vectors(X))
    assert (file.ids(slice(None)).tolist(), file.unwritten_bytes) == ([1], ROW_BYTES)
    with pytest.raises(DependencyError, match="cannot append 1 rows: No space left"):
        file.flush()
    monkeypatch.undo()
    file.flush()
    file.close()
    again = VectorFile(tmp_path / "v", 2, "s")
    assert again.ids(slice(None)).tolist() == [1]
    again.close()


def test_a_failed_flush_commits_nothing_and_may_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = VectorFile(written(tmp_path / "v"), 2, "s")
    file.append(ids(13), vectors(X))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(DependencyError, match="cannot flush"):
        file.flush()
    monkeypatch.undo()
    file.flush()
    file.close()
    again = VectorFile(tmp_path / "v", 2, "s")
    assert len(again) == 4
    again.close()


class FullDisk:
    """A disk with room for some more bytes, which takes a part of a write first, as a real one does."""

    def __init__(self, room: int) -> None:
        self.room, self._pwrite = room, os.pwrite

    def __call__(self, descriptor: int, data: memoryview, offset: int) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = self._pwrite(descriptor, data[: self.room], offset)
        self.room -= taken
        return taken


def damage(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)
