from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.files import atomic, write_whole


def test_a_written_file_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    with atomic(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail_half_way() -> None:
        with atomic(path) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "duplicates.csv"
    with (
        pytest.raises(DependencyError, match=r"s\.csv: cannot write: No space left"),
        atomic(path) as file,
    ):
        file.write(b"row")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="cannot write"), atomic(tmp_path / "gone" / "x.csv"):
        pass


def test_others_may_read_the_file_as_the_umask_says(tmp_path: Path) -> None:
    path = tmp_path / "x"
    old = os.umask(0o022)
    try:
        with atomic(path) as file:
            file.write(b"x")
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o644


def test_bytes_are_written_whole_and_the_new_name_is_synced_after_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "manifest.json"
    seen: list[tuple[bool, bool]] = []
    monkeypatch.setattr(os, "fsync", lambda place: seen.append((stat.S_ISDIR(os.fstat(place).st_mode), path.exists())))
    write_whole(path, b"{}")
    assert path.read_bytes() == b"{}"
    assert seen == [(False, False), (True, True)]
