from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from neardup.pipeline.errors import ConfigError, DependencyError, SpaceError
from neardup.pipeline.index.snapshot import MANIFEST, read_snapshot, write_snapshot


def fill(data: Path) -> None:
    (data / "one").write_bytes(b"1" * 100)
    (data / "folder").mkdir()
    (data / "folder" / "two").write_bytes(b"2" * 50)


def other(data: Path) -> None:
    (data / "three").write_bytes(b"3")


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_the_newest_is_read_and_nothing_else_left(tmp_path: Path) -> None:
    write_snapshot(tmp_path, 4, "s", fill)
    write_snapshot(tmp_path, 4, "s", other)
    data = read_snapshot(tmp_path, 4, "s")
    assert [path.name for path in data.iterdir()] == ["three"]
    assert sorted(tmp_path.iterdir()) == sorted([data, tmp_path / MANIFEST])


@pytest.mark.parametrize("damage", [flip_a_byte, cut, Path.unlink])
@pytest.mark.parametrize("name", ["manifest.json", "*/one", "*/folder/two"])
def test_damage_anywhere_is_refused(tmp_path: Path, damage: Callable[[Path], object], name: str) -> None:
    write_snapshot(tmp_path, 4, "s", fill)
    (path,) = tmp_path.glob(name)
    damage(path)
    with pytest.raises((ConfigError, SpaceError)):
        read_snapshot(tmp_path, 4, "s")


def test_a_foreign_or_missing_one_is_refused(tmp_path: Path) -> None:
    write_snapshot(tmp_path, 4, "s", fill)
    for dimension, space in ((4, "t"), (5, "s")):
        with pytest.raises(SpaceError, match=r"holds 4 dimensions of space 's'"):
            read_snapshot(tmp_path, dimension, space)
    with pytest.raises(ConfigError, match="no index snapshot"):
        read_snapshot(tmp_path / "missing", 4, "s")


def test_a_file_too_many_or_another_format_is_refused(tmp_path: Path) -> None:
    write_snapshot(tmp_path, 4, "s", fill)
    (read_snapshot(tmp_path, 4, "s") / "scann_docids.pkl").write_bytes(b"")
    with pytest.raises(ConfigError, match="does not name"):
        read_snapshot(tmp_path, 4, "s")
    manifest = tmp_path / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": "neardup-index-9"}))
    with pytest.raises(ConfigError, match="neardup-index-9"):
        read_snapshot(tmp_path, 4, "s")


def test_one_that_fails_leaves_the_former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_snapshot(tmp_path, 4, "s", fill)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DependencyError, match="No space left"):
        write_snapshot(tmp_path, 4, "s", other)
    assert (read_snapshot(tmp_path, 4, "s") / "one").exists()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_one_that_is_stopped_once_its_manifest_stands_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    def stopped(*_: object) -> None:
        raise stop

    write_snapshot(tmp_path, 4, "s", fill)
    monkeypatch.setattr("neardup.pipeline.files.fsync_folder", stopped)
    with pytest.raises((KeyboardInterrupt, DependencyError)):
        write_snapshot(tmp_path, 4, "s", other)
    assert (read_snapshot(tmp_path, 4, "s") / "three").exists()
