from __future__ import annotations

import csv
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFilter

from neardup.pipeline.embed.embedder import make_embedder
from tests.pipeline.scan.build import a_picture, save
from tests.timing import LATE_SECONDS
from tests.workers.conftest import Command

AWKWARD = ["with space.png", "quote\"s 'and' $(id).png", "line\nbreak.png", os.fsdecode(b"caf\xe9.png"), "-rf.png"]


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    save(folder, "a.png", 1, modified=1000)
    save(folder, "copy of a.png", 1, side=40, modified=2000)
    save(folder, "b.png", 2, modified=3000)
    (folder / "notes.txt").write_text("milk")
    return folder


def test_report_is_written_and_summed_up(neardup: Command, media: Path, tmp_path: Path) -> None:
    told = neardup("scan", media, "--output", "out")
    assert (told.code, told.errors) == (0, "")
    assert "3 images in " in told.output
    assert "1 duplicate and 0 unsure in 1 group; 1 file skipped" in told.output
    assert f"report: {tmp_path / 'out' / 'report.html'}" in told.output
    names = {"report.html", "duplicates.json", "duplicates.csv", "variants.csv", "skipped.csv"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    with (tmp_path / "out" / "skipped.csv").open(encoding="utf-8", newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["file"], row["reason"]) == (str(media / "notes.txt"), "format")


def test_summary_says_why_not_all_were_embedded(neardup: Command, media: Path) -> None:
    shutil.copy2(media / "b.png", media / "twin of b.png")
    first = neardup("scan", media, "--index", "i").output
    assert "3 embedded" in first
    assert ", 1 identical to one of these\n" in first
    again = neardup("scan", media, "--index", "i").output
    assert " s, 0 embedded" in again
    assert ", 4 known from before\n" in again


def test_json_is_the_report_for_programs(neardup: Command, media: Path, tmp_path: Path) -> None:
    told = neardup("scan", media, "--json")
    [group] = json.loads(told.output)["groups"]
    assert [match["file"]["path"] for match in group["matches"]] == [str(media / "copy of a.png")]
    assert told.output == (tmp_path / "neardup-report" / "duplicates.json").read_text(encoding="utf-8")


def test_folder_without_media_is_no_error(neardup: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    told = neardup("scan", "empty")
    assert (told.code, told.errors) == (0, "")
    assert "no images or videos in empty; 0 files skipped" in told.output


def test_a_new_folder_is_scanned_without_torch_once_the_network_is_converted(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make_embedder("default", "cpu", "openvino")
    program = (
        "import sys; from neardup.workers.cli.app import run; "
        f"code = run(['scan', {str(media)!r}, '--device', 'cpu', '--output', {str(tmp_path / 'out')!r}]); "
        "print('torch' in sys.modules, code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "3 embedded" in done.stdout
    assert done.stdout.splitlines()[-1] == "False 0"


def planned(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "neardup-report" / "plan.json").read_bytes())
    return found


def test_plan_alone_lists_what_is_exact_and_removes_nothing(neardup: Command, media: Path, tmp_path: Path) -> None:
    shutil.copy2(media / "b.png", media / "twin of b.png")
    told = neardup("scan", "--plan", media)
    assert (told.code, told.errors) == (0, "")
    plan = planned(tmp_path)
    assert (plan["keep"], plan["include"], plan["action"]) == ("best", "exact", "quarantine")
    assert [Path(move["path"]).name for move in plan["moves"]] == ["twin of b.png"]
    assert "b.png'" in (tmp_path / "neardup-report" / "plan.sh").read_text(encoding="utf-8")
    assert len(list(media.iterdir())) == 5
    report = json.loads((tmp_path / "neardup-report" / "duplicates.json").read_bytes())
    notes = {Path(m["file"]["path"]).name: m["file"]["plan"] for g in report["groups"] for m in g["matches"]}
    assert notes["twin of b.png"] == {"goes": True, "why": ""}
    assert notes["copy of a.png"] == {"goes": False, "why": "differs"}


def test_a_report_without_a_plan_stands_beside_none(neardup: Command, media: Path) -> None:
    shutil.copy2(media / "b.png", media / "twin of b.png")
    out = media / "out"
    for number in ("", "-2"):
        assert neardup("scan", media, "--plan", "--output", out).code == 0
        script = (out / "plan.sh").read_bytes()
        told = neardup("scan", media, "--output", out)
        assert "plan.sh.old" in told.errors
        assert not (out / "plan.sh").exists()
        assert not (out / "plan.json").exists()
        assert (out / f"plan.sh.old{number}").read_bytes() == script
        assert (out / f"plan.json.old{number}").exists()
    assert "plan.sh" not in (out / "skipped.csv").read_text(encoding="utf-8")


def test_what_no_scan_wrote_keeps_its_name(neardup: Command, media: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "plan.sh").write_text("#!/bin/sh\necho mine\n")
    (tmp_path / "out" / "plan.json").write_text('{"moves": 3}')
    assert neardup("scan", media, "--output", "out").errors == ""
    assert (tmp_path / "out" / "plan.sh").read_text() == "#!/bin/sh\necho mine\n"
    assert (tmp_path / "out" / "plan.json").read_text() == '{"moves": 3}'


def test_duplicates_are_listed_where_they_are_asked_for(neardup: Command, tmp_path: Path) -> None:
    picture = a_picture(3, 320).filter(ImageFilter.GaussianBlur(2))
    (tmp_path / "media").mkdir()
    picture.save(tmp_path / "media" / "a.png")
    picture.resize((160, 160)).save(tmp_path / "media" / "small.jpg", quality=90)
    assert neardup("scan", "media", "--plan", "--plan-include", "duplicate").code == 0
    [move] = planned(tmp_path)["moves"]
    assert (Path(move["path"]).name, Path(move["kept"]["path"]).name) == ("small.jpg", "a.png")
    assert "pixels 160 × 160 instead of 320 × 320" in move["reason"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--plan", "keep=worst"], "choose one of best, largest"),
        (["--plan=best"], "write keep="),
        (["--plan", "--plan-include", "all"], "choose one of exact, duplicate"),
        (["--plan", "--plan-action", "burn"], "choose one of quarantine, trash"),
        (["--plan-action", "delete"], "add --plan"),
        (["--plan", "--plan-action", "hardlink", "--plan-include", "duplicate"], "identical bytes"),
    ],
)
def test_a_plan_that_cannot_be_is_one_line(neardup: Command, media: Path, options: list[str], told: str) -> None:
    found = neardup("scan", media, *options)
    assert (found.code, found.errors.count("\n")) == (2, 1)
    assert told in found.errors


def test_what_a_plan_put_into_quarantine_is_not_scanned_again(neardup: Command, media: Path) -> None:
    shutil.copy2(media / "b.png", media / "twin of b.png")
    arguments = ("scan", media, "--plan", "--output", media / "out")
    neardup(*arguments)
    subprocess.run(["/bin/sh", media / "out" / "plan.sh", "--run"], check=True, capture_output=True)
    assert not (media / "twin of b.png").exists()
    assert "3 images" in neardup(*arguments).output
    [undo] = (media / "out").glob("*/*/undo.sh")
    subprocess.run(["/bin/sh", undo], check=True, capture_output=True)
    assert (media / "twin of b.png").exists()


def test_companions_are_known_by_what_lies_there_now(neardup: Command, media: Path) -> None:
    def companions() -> list[list[str]]:
        report = json.loads(neardup("scan", media, "--index", "index", "--json").output)
        return [file["companions"] for group in report["groups"] for file in (group["original"],)]

    assert companions() == [[]]
    (media / "A.XMP").write_text("<x:xmpmeta/>")
    assert companions() == [[str(media / "A.XMP")]]


def test_report_and_index_inside_the_folder_are_left_out(neardup: Command, media: Path) -> None:
    arguments = ("scan", media, "--output", media / "out", "--index", media / "index")
    neardup(*arguments)
    told = neardup(*arguments)
    assert "0 embedded" in told.output
    assert "1 file skipped" in told.output


def test_report_into_the_scanned_folder_itself_is_left_out(neardup: Command, media: Path) -> None:
    for _ in range(2):
        told = neardup("scan", media, "--output", media, "--index", media)
        assert "3 images in " in told.output
        assert "1 file skipped" in told.output


def test_awkward_names_survive(neardup: Command, tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s "quoted"\nand broken'
    for number, name in enumerate(AWKWARD):
        save(folder, "temporary.png", 1, side=40 + 8 * number, modified=1000 + number).rename(folder / name)
    for _ in range(2):
        told = neardup("scan", folder, "--index", "index", "--plan", "keep=oldest")
        assert (told.code, told.errors) == (0, "")
        assert "4 duplicates" in told.output
    assert "0 embedded" in told.output
    shutil.copy2(folder / AWKWARD[0], folder / "twin.png")
    neardup("scan", folder, "--plan", "keep=oldest", "--plan-action", "delete")
    plan = ["sh", str(tmp_path / "neardup-report" / "plan.sh"), "--run"]
    assert subprocess.run(plan, check=False, capture_output=True).returncode == 0
    assert sum(1 for _ in folder.iterdir()) == len(AWKWARD)


def test_home_is_meant_by_a_tilde(
    neardup: Command, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert neardup("scan", media, "--index=~/index", "--output=~/out").code == 0
    assert {path.name for path in (tmp_path / "home").iterdir()} == {"index", "out"}


def test_damaged_index_is_one_line(neardup: Command, media: Path, tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "catalog.sqlite").write_bytes(b"no database" * 1000)
    told = neardup("scan", media, "--index", "index")
    assert told.code == 2
    assert told.errors.count("\n") == 1
    assert "index index is damaged" in told.errors


def test_index_in_use_is_one_line_and_exit_code_1(neardup: Command, media: Path, tmp_path: Path) -> None:
    from neardup.pipeline.scan.catalog import Catalog

    held = Catalog(tmp_path / "index", "s")
    told = neardup("scan", media, "--index", "index")
    held.close()
    assert (told.code, told.errors) == (1, "neardup: index index: another scan is using it\n")
    assert neardup("scan", media, "--index", "index").code == 0


def test_unwritable_places_are_told_before_the_work(
    neardup: Command, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locked").mkdir()
    real = os.access

    def access(path: Path, mode: int) -> bool:
        return not (mode & os.W_OK and Path(path).name == "locked") and real(path, mode)

    monkeypatch.setattr(os, "access", access)
    for option in ("--index", "--output"):
        told = neardup("scan", media, option, "locked")
        assert told.code == 2
        assert "locked cannot be written" in told.errors


def test_unchanged_folder_of_2000_files_loads_no_network_and_takes_no_time(
    neardup: Command, tmp_path: Path, model: Path
) -> None:
    """Processor seconds are asserted, as they hold on a busy machine too; imports are compiled where not cached."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(2000):
        a_picture(number % 1700, 16 if number < 1700 else 24).save(folder / f"{number}.bmp")
    assert "2,000 embedded" in neardup("scan", folder, "--index", "index").output
    program = (
        "import sys; from neardup.workers.cli.app import run; "
        f"code = run(['scan', {str(folder)!r}, '--index', 'index']); "
        "print(sorted({'torch', 'openvino', 'scann', 'PIL', 'av'} & set(sys.modules)), code)"
    )
    environment = {**os.environ, "NEARDUP_MODEL": str(model)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=LATE_SECONDS,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "2,000 images" in done.stdout
    assert "0 embedded" in done.stdout
    assert done.stdout.splitlines()[-1] == "[] 0"
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2.0


def test_progress_is_silent_where_nobody_watches(neardup: Command, media: Path) -> None:
    assert neardup("scan", media).errors == ""


def test_rotated_original_is_the_same_picture(neardup: Command, media: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    a_picture(2, 64).transpose(Image.Transpose.ROTATE_90).save(media / "turned.jpg", exif=exif, quality=95)
    told = neardup("scan", media)
    assert "2 duplicates" in told.output
