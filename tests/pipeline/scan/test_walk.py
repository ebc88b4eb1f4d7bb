from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.scan.walk import Found, PutAside, identities, walk


def listed(*roots: Path | str) -> list[str]:
    return sorted(one.path for one in walk([Path(root) for root in roots]) if isinstance(one, Found))


def aside(root: Path) -> dict[str, str]:
    return {Path(one.path).name: one.reason.value for one in walk([root]) if isinstance(one, PutAside)}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in ("a", "sub/b", "sub/deep/c", ".hidden/d", "sub/.e"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def test_files_are_found_at_any_depth_and_hidden_ones_left_out(tree: Path) -> None:
    assert listed(tree) == [f"{tree}/{name}" for name in ("a", "sub/b", "sub/deep/c")]


def test_hidden_folder_is_entered_where_it_is_named(tree: Path) -> None:
    assert listed(tree / ".hidden") == [f"{tree}/.hidden/d"]


def test_overlapping_roots_list_a_file_once(tree: Path) -> None:
    assert len(listed(tree, tree / "sub", tree / "a", tree)) == 3


def test_paths_are_as_the_user_named_the_root(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "sub")
    assert listed("..") == ["../a", "../sub/b", "../sub/deep/c"]
    found = {one.path: one.absolute for one in walk([Path()]) if isinstance(one, Found)}
    assert found == {"./b": f"{tree}/sub/b", "./deep/c": f"{tree}/sub/deep/c"}


def test_loop_ends_and_is_told(tree: Path) -> None:
    (tree / "sub" / "loop").symlink_to(tree)
    (tree / "self").symlink_to("self")
    (tree / "nowhere").symlink_to("gone")
    assert len(listed(tree)) == 3
    assert aside(tree) == {"loop": "not-a-file", "self": "not-a-file", "nowhere": "not-a-file"}


def test_file_with_several_names_counts_once(tree: Path) -> None:
    (tree / "0 link").symlink_to("sub/b")
    os.link(tree / "sub" / "deep" / "c", tree / "z hard link")
    assert listed(tree) == [f"{tree}/a", f"{tree}/sub/b", f"{tree}/z hard link"]


def test_link_to_a_file_elsewhere_is_followed(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("e")
    (tree / "link").symlink_to(tmp_path / "elsewhere")
    assert f"{tree}/link" in listed(tree)


def test_pipe_and_socket_are_told_and_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket has to be short
    os.mkfifo("pipe.jpg")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind("door.jpg")
        assert aside(tmp_path) == {"pipe.jpg": "not-a-file", "door.jpg": "not-a-file"}


def test_folder_named_like_a_picture_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    (tmp_path / "x.jpg" / "y.jpg").touch()
    assert listed(tmp_path) == [f"{tmp_path}/x.jpg/y.jpg"]


def test_name_that_is_no_text_is_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n.jpg")
    (tmp_path / name).touch()
    assert listed(tmp_path) == [f"{tmp_path}/{name}"]


def test_files_of_ours_are_left_out(tree: Path) -> None:
    ours = identities([tree / "a", tree / "gone"])
    assert len(ours) == 1
    found = [one.path for one in walk([tree], ours) if isinstance(one, Found)]
    assert f"{tree}/a" not in found
    assert len(found) == 2


def test_missing_root_is_a_mistake(tree: Path) -> None:
    with pytest.raises(ConfigError, match="gone"):
        list(walk([tree / "gone"]))


def test_file_that_goes_between_listing_and_looking_is_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(folder: str) -> list[os.DirEntry[str]]:
        entries = list(real(folder))
        if folder.endswith("sub"):
            (tree / "sub" / "b").unlink()
        return entries

    monkeypatch.setattr(os, "scandir", scandir)
    assert aside(tree) == {"b": "vanished"}
