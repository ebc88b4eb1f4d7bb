from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from neardup.pipeline.report.plan import Keep, write_plan
from neardup.pipeline.report.result import File, ScanResult
from neardup.pipeline.types import Decision, Span
from tests.pipeline.report.build import a_file, a_group, a_match, a_part, a_result, a_video

NASTY = [
    b"new\nline.jpg",
    b"end of line\n",
    b"-rf",
    b"it's; rm -rf $HOME `id` $(id) \\.jpg",
    b'"quoted" & <b>.jpg',
    b"caf\xe9 \xff.jpg",
    b"  spaces  ",
    b"*",
    b"\n# comment\nrm -rf keep me",
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, so that relative paths are tested; the plan lies elsewhere."""
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def names() -> set[bytes]:
    """Return what lies in the current folder."""
    return {os.fsencode(path.name) for path in Path().iterdir()}


def on_disk(name: bytes, content: bytes = b"x") -> File:
    Path(os.fsdecode(name)).write_bytes(content)
    return a_file(os.fsdecode(name), bytes=len(content))


def run(plan: Path, *arguments: str) -> str:
    # Another current folder: the plan must not depend on it.
    done = subprocess.run(["sh", str(plan), *arguments], cwd="/", capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


def planned(result: ScanResult, keep: Keep, tmp_path: Path) -> set[bytes]:
    """Return the names of the files that running the plan removes."""
    before = names()
    count = write_plan(result, keep, tmp_path / "plan.sh")
    run(tmp_path / "plan.sh", "--delete")
    gone = before - names()
    assert len(gone) == count
    return gone


def test_nasty_names_are_removed_and_nothing_else(tmp_path: Path) -> None:
    original = on_disk(b"keep me")
    other = on_disk(b"bystander")
    result = a_result(a_group(original, *(a_match(on_disk(name)) for name in NASTY)))
    assert planned(result, Keep.OLDEST, tmp_path) == set(NASTY)
    assert Path(other.path).exists()


@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_name_can_be_what_is_kept(name: bytes, tmp_path: Path) -> None:
    result = a_result(a_group(on_disk(name), a_match(on_disk(b"copy"))))
    assert planned(result, Keep.OLDEST, tmp_path) == {b"copy"}


def test_running_the_plan_without_a_word_removes_nothing(tmp_path: Path) -> None:
    result = a_result(a_group(on_disk(b"a"), a_match(on_disk(b"b"))))
    write_plan(result, Keep.OLDEST, tmp_path / "plan.sh")
    assert "Nothing was removed" in run(tmp_path / "plan.sh")
    assert names() == {b"a", b"b"}


def test_writing_the_plan_removes_nothing(tmp_path: Path) -> None:
    result = a_result(a_group(on_disk(b"a"), a_match(on_disk(b"b"))))
    assert write_plan(result, Keep.OLDEST, tmp_path / "plan.sh") == 1
    assert names() == {b"a", b"b"}


def test_unsure_and_partial_matches_and_other_kinds_stay(tmp_path: Path) -> None:
    result = a_result(
        a_group(
            on_disk(b"a"),
            a_match(on_disk(b"unsure"), Decision.UNSURE),
            a_part(on_disk(b"part"), Span(0, 1, 2, 3)),
            a_match(a_video("film.mp4")),
            a_match(on_disk(b"copy")),
        )
    )
    assert planned(result, Keep.OLDEST, tmp_path) == {b"copy"}


@pytest.mark.parametrize(
    ("keep", "kept"),
    [(Keep.LARGEST, b"large"), (Keep.OLDEST, b"an original"), (Keep.NEWEST, b"the new one"), (Keep.SHORTEST, b"s")],
)
def test_the_kept_file_follows_the_rule(keep: Keep, kept: bytes, tmp_path: Path) -> None:
    facts: dict[bytes, dict[str, float]] = {
        b"an original": {"modified": 1.0},
        b"large": {"width": 800, "height": 600},
        b"the new one": {"modified": 1.8e9},
        b"s": {},
    }
    files = []
    for name, changes in facts.items():
        on_disk(name)
        files.append(a_file(os.fsdecode(name), **changes))
    result = a_result(a_group(files[0], *map(a_match, files[1:])))
    assert planned(result, keep, tmp_path) == set(facts) - {kept}


def test_a_larger_screenshot_does_not_replace_the_picture(tmp_path: Path) -> None:
    screenshot = on_disk(b"screenshot")
    result = a_result(a_group(on_disk(b"picture"), a_match(a_file(screenshot.path, width=900, height=800))))
    assert planned(result, Keep.LARGEST, tmp_path) == {b"screenshot"}


def test_of_files_equally_large_the_original_stays(tmp_path: Path) -> None:
    on_disk(b"captioned")
    result = a_result(a_group(on_disk(b"picture"), a_match(a_file("captioned", bytes=99_999))))
    assert planned(result, Keep.LARGEST, tmp_path) == {b"captioned"}


def test_a_copy_stays_when_the_kept_file_has_gone_or_is_empty(tmp_path: Path) -> None:
    result = a_result(a_group(on_disk(b"a"), a_match(on_disk(b"b"))), a_group(on_disk(b"c"), a_match(on_disk(b"d"))))
    write_plan(result, Keep.OLDEST, tmp_path / "plan.sh")
    Path("a").unlink()
    Path("c").write_bytes(b"")
    run(tmp_path / "plan.sh", "--delete")
    assert names() == {b"b", b"c", b"d"}


def test_a_file_kept_in_one_group_is_not_removed_by_another(tmp_path: Path) -> None:
    a, b = on_disk(b"a"), on_disk(b"b")
    result = a_result(a_group(a, a_match(b)), a_group(b, a_match(a)))
    assert planned(result, Keep.OLDEST, tmp_path) == set()


def test_a_file_reached_by_two_paths_is_not_its_own_copy(folder: Path, tmp_path: Path) -> None:
    on_disk(b"a")
    Path("link").symlink_to(folder, target_is_directory=True)
    result = a_result(a_group(a_file("a"), a_match(a_file("./a")), a_match(a_file("link/a"))))
    assert write_plan(result, Keep.OLDEST, tmp_path / "plan.sh") == 0


def test_an_empty_plan_is_a_script_that_runs(tmp_path: Path) -> None:
    assert write_plan(a_result(), Keep.LARGEST, tmp_path / "plan.sh") == 0
    assert run(tmp_path / "plan.sh", "--delete") == ""
