"""The script is run by the system's own sh, on names that mean something to a shell."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from neardup.pipeline.cleanup.plan import QUARANTINE, Action, Difference, Differs, Move, Place, Plan
from neardup.pipeline.cleanup.script import reason, write_plan_json, write_script
from neardup.pipeline.report.result import File, Group
from neardup.pipeline.types import Exact
from tests.pipeline.cleanup.build import a_plan, on_disk
from tests.pipeline.report.build import a_group, a_match, a_result

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
    b"'",
    b"%s\\n%d",
    b"a b/-c\n'd'/e\\",
]

Tree = dict[bytes, tuple[bytes, int]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a name of its own kind, so that relative paths are tested; the plan lies elsewhere."""
    folder = tmp_path / "it's a\nfolder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "report\n").mkdir()
    return folder


def tree(folder: str | Path = ".") -> Tree:
    """Return all files below a folder with their content and time."""
    found = {}
    for parent, _, names in os.walk(os.fsencode(folder)):
        for name in names:
            path = os.path.join(parent, name)  # noqa: PTH118 (bytes)
            found[os.path.relpath(path, os.fsencode(folder))] = (
                Path(os.fsdecode(path)).read_bytes(),
                os.lstat(path).st_mtime_ns,
            )
    return found


def write(*groups: Group, **options: Any) -> tuple[Path, Plan]:
    plan = a_plan(*groups, **options)
    path = Path.cwd().parent / "report\n" / "plan.sh"
    write_script(plan, a_result(*groups, roots=(".",)), path)
    return path, plan


def run(script: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(["/bin/sh", str(script), *arguments], cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")
    return done.stdout


def twins(original: File, *names: bytes) -> Group:
    return a_group(original, *(a_match(on_disk(name), exact=Exact.BYTES) for name in names))


def test_the_script_only_tells_unless_it_is_asked_to_run() -> None:
    script, _ = write(twins(on_disk("a.jpg"), b"b.jpg"))
    before = tree()
    told = run(script)
    assert "would quarantine: " in told
    assert "identical bytes; stays: " in told
    assert "Nothing was touched" in told
    assert tree() == before
    assert subprocess.run(["/bin/sh", script, "--delete"], capture_output=True, check=False).returncode == 2
    assert tree() == before


def test_one_file_is_not_called_files() -> None:
    script, _ = write(twins(on_disk("a.jpg"), b"b.jpg"))
    assert "plan`: 1 file, " in script.read_text()
    assert "--run to quarantine 1 file; 0 would be left alone" in run(script)
    assert "\n1 file: quarantine." in run(script, "--run")


def test_nasty_names_are_moved_and_nothing_else_and_undo_brings_all_back(tmp_path: Path) -> None:
    script, plan = write(twins(on_disk("keep me"), *NASTY))
    on_disk("bystander", b"other")
    before = tree()
    run(script, "--run")
    assert set(before) - set(tree()) == set(NASTY)
    [place] = (tmp_path / "report\n" / QUARANTINE).iterdir()
    assert {name.partition(b"/")[2] for name in tree(place)} - {b""} == set(NASTY)
    assert "left alone" in run(script, "--run")
    run(place / "undo.sh")
    assert tree() == before
    assert set(tree(place)) == {b"undo.sh"}
    run(place / "undo.sh")
    assert len(plan.moves) == len(NASTY)


@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_name_can_be_what_is_kept(name: bytes) -> None:
    script, _ = write(twins(on_disk(name), b"the copy"))
    run(script, "--run")
    assert set(tree()) == {name}


def test_undo_never_writes_over_anything(tmp_path: Path) -> None:
    script, _ = write(twins(on_disk("a.jpg"), b"b.jpg"))
    run(script, "--run")
    Path("b.jpg").write_text("something new")
    [undo] = (tmp_path / "report\n" / QUARANTINE).glob("*/undo.sh")
    done = subprocess.run(["/bin/sh", undo], capture_output=True, text=True, check=False)
    assert (done.returncode, "something is there already" in done.stderr) == (1, True)
    assert Path("b.jpg").read_text() == "something new"


def test_what_stands_in_the_quarantine_is_never_written_over() -> None:
    script, _ = write(twins(on_disk("a.jpg"), b"b.jpg"))
    run(script, "--run")
    on_disk("b.jpg")
    done = subprocess.run(["/bin/sh", script, "--run"], capture_output=True, text=True, check=False)
    assert (done.returncode, "could not quarantine" in done.stderr) == (1, True)
    assert Path("b.jpg").exists()


def spoil_kept_time() -> None:
    os.utime("a.jpg", (5, 5))


def spoil_bytes() -> None:
    was = Path("a.jpg").stat()
    Path("a.jpg").write_bytes(b"y")
    os.utime("a.jpg", ns=(was.st_atime_ns, was.st_mtime_ns))


def spoil_file() -> None:
    Path("b.jpg").write_bytes(b"longer")


def spoil_link() -> None:
    Path("b.jpg").rename("c.jpg")
    Path("b.jpg").symlink_to("c.jpg")


def spoil_hard_link() -> None:
    Path("b.jpg").unlink()
    os.link("a.jpg", "b.jpg")


@pytest.mark.parametrize(
    "spoil", [spoil_kept_time, spoil_bytes, spoil_file, spoil_link, spoil_hard_link, lambda: Path("a.jpg").unlink()]
)
@pytest.mark.parametrize("action", [Action.QUARANTINE, Action.DELETE, Action.HARDLINK])
def test_a_step_acts_only_on_what_it_was_made_for(action: Action, spoil: Any) -> None:
    script, _ = write(twins(on_disk("a.jpg"), b"b.jpg"), action=action)
    spoil()
    before = tree()
    assert "left alone" in run(script, "--run")
    assert tree() == before


def test_what_belongs_together_goes_together_or_not_at_all() -> None:
    for folder in ("a", "b"):
        on_disk(f"{folder}/1.MOV", b"film")
        on_disk(f"{folder}/1.AAE", b"edits")
    group = a_group(on_disk("a/1.HEIC"), a_match(on_disk("b/1.HEIC"), exact=Exact.BYTES))
    script, _ = write(group)
    Path("b/1.AAE").write_text("other edits")
    before = tree()
    assert "left alone" in run(script, "--run")
    assert tree() == before
    on_disk("b/1.AAE", b"edits")
    run(script, "--run")
    assert {name for name in tree() if name.startswith(b"b")} == set()


def test_the_trash_is_that_of_the_desktop(tmp_path: Path) -> None:
    script, _ = write(twins(on_disk("a.jpg"), *NASTY, b"x/-rf"), action=Action.TRASH)
    run(script, "--run")
    assert set(tree()) == {b"a.jpg"}
    trash = tmp_path / "home" / ".local" / "share" / "Trash"
    if not trash.exists():
        pytest.skip("the temporary folder is not on the home's disk")
    infos = {path.name: path.read_text() for path in (trash / "info").iterdir()}
    assert len(infos) == len(NASTY) + 1
    assert {f"{path.name}.trashinfo" for path in (trash / "files").iterdir()} == set(infos)
    assert infos["2.-rf.trashinfo"].startswith("[Trash Info]\nPath=/")
    assert any("/new%0Aline.jpg\nDeletionDate=20" in text for text in infos.values())
    assert any("/caf%E9%20%FF.jpg\n" in text for text in infos.values())


def test_a_hard_link_takes_the_place_of_each_copy() -> None:
    script, _ = write(twins(on_disk("a.jpg"), *NASTY), action=Action.HARDLINK)
    run(script, "--run")
    assert {Path(os.fsdecode(name)).stat().st_ino for name in (b"a.jpg", *NASTY)} == {Path("a.jpg").stat().st_ino}
    assert set(tree()) == {b"a.jpg", *NASTY}


def test_a_reflink_that_the_file_system_cannot_make_leaves_the_file() -> None:
    script, _ = write(twins(on_disk("a.jpg"), b"b.jpg"), action=Action.REFLINK)
    before = tree()
    done = subprocess.run(["/bin/sh", script, "--run"], capture_output=True, text=True, check=False)
    assert tree() == before
    assert done.returncode == ("could not reflink" in done.stderr)


def test_delete_removes() -> None:
    script, _ = write(twins(on_disk("a.jpg"), *NASTY), action=Action.DELETE)
    run(script, "--run")
    assert set(tree()) == {b"a.jpg"}


def test_an_empty_plan_is_a_script_that_runs() -> None:
    script, _ = write()
    assert "Nothing was touched" in run(script)
    assert "0 files" in run(script, "--run")


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Difference(Differs.QUALITY, "about 19 of 100", "about 78 of 100"), "quality about 19 instead of 78"),
        (Difference(Differs.QUALITY, "lossless", "about 78 of 100"), "quality lossless instead of about 78"),
        (Difference(Differs.BYTES, "4051", "9992"), "4,051 bytes instead of 9,992"),
        (Difference(Differs.COLOUR, "grey", "colour"), "grey instead of colour"),
        (Difference(Differs.METADATA, "3 entries", "8 entries"), "3 entries of metadata instead of 8"),
        (Difference(Differs.CONTENT, "film", ""), "content film instead of none"),
        (Difference(Differs.FORMAT, "png", "jpeg"), "format png instead of jpeg"),
    ],
)
def test_a_difference_is_said_in_words(difference: Difference, words: str) -> None:
    place = Place(path=b"/a", size=1, modified_ns=0, device=0, inode=0)
    assert reason(Move(place, place, Exact.NO, (difference,))) == f"duplicate; differs: {words}"


def test_programs_read_the_plan_as_json(tmp_path: Path) -> None:
    group = twins(on_disk("a.jpg"), b"b.jpg", b"\xff\n.jpg")
    plan = a_plan(group)
    write_plan_json(plan, a_result(group), tmp_path / "plan.json")
    found = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    assert (found["keep"], found["include"], found["action"]) == ("best", "exact", "quarantine")
    assert (found["files"], found["bytes"]) == (2, 2)
    here = str(Path.cwd())
    first, second = found["moves"]
    assert (first["path"], first["kept"]["path"]) == (f"{here}/b.jpg", f"{here}/a.jpg")
    assert (first["exact"], first["reason"], first["bytes"]) == ("bytes", "identical bytes", 1)
    assert bytes.fromhex(second["path_bytes"]) == os.fsencode(here) + b"/\xff\n.jpg"
    [stays] = found["stays"]
    assert (stays["path"], stays["why"]) == (f"{here}/a.jpg", "first")
