from __future__ import annotations

import os
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neardup.pipeline.report.result import ScanResult
from neardup.pipeline.scan.catalog import Catalog
from tests.pipeline.match.build import a_calibration
from tests.pipeline.scan.build import (
    SETTINGS,
    StandIn,
    a_checkpoint,
    date,
    pairs,
    reasons,
    save,
    save_clip,
    scan_folder,
)


def refuse() -> StandIn:
    raise AssertionError("the network was loaded")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a picture, a smaller copy of it, and another picture."""
    media = tmp_path / "media"
    save(media, "a.png", 1, modified=1000)
    save(media, "copy of a.png", 1, side=40, modified=2000)
    save(media, "b.png", 2, modified=3000)
    return media


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index"


def same(one: ScanResult, other: ScanResult) -> bool:
    """Return whether two results say the same of the files, however they came about."""
    return (one.groups, one.skipped, one.images, one.videos) == (
        other.groups,
        other.skipped,
        other.images,
        other.videos,
    )


def test_copies_are_found(folder: Path) -> None:
    result = scan_folder(folder)
    assert pairs(result) == {("copy of a.png", "a.png")}
    assert (result.images, result.embedded, result.unchanged) == (3, 3, 0)


def test_unchanged_folder_needs_no_network_and_gives_the_same_result(folder: Path, index: Path) -> None:
    first = scan_folder(folder, index)
    again = scan_folder(folder, index, make=refuse)
    assert same(first, again)
    assert (again.embedded, again.unchanged) == (0, 3)


def test_only_new_and_changed_files_are_embedded(folder: Path, index: Path) -> None:
    scan_folder(folder, index)
    save(folder, "c.png", 1, side=48, modified=4000)
    save(folder, "b.png", 5, modified=5000)
    embedder = StandIn()
    result = scan_folder(folder, index, embedder)
    assert embedder.tiles == 2
    assert (result.embedded, result.unchanged) == (2, 2)
    assert pairs(result) == {("copy of a.png", "a.png"), ("c.png", "a.png")}


def test_moved_file_is_not_embedded_again(folder: Path, index: Path) -> None:
    scan_folder(folder, index)
    (folder / "sub").mkdir()
    (folder / "a.png").rename(folder / "sub" / "moved.png")
    result = scan_folder(folder, index, make=refuse)
    assert pairs(result) == {("copy of a.png", "moved.png")}


def test_deleted_file_is_forgotten(folder: Path, index: Path) -> None:
    scan_folder(folder, index)
    (folder / "copy of a.png").unlink()
    result = scan_folder(folder, index, make=refuse)
    assert pairs(result) == set()
    assert result.images == 2
    catalog = Catalog(index, a_checkpoint().space)
    assert len(catalog.contents()) == len(catalog.files()) == 2
    catalog.close()


def test_files_outside_the_scanned_folder_are_remembered(folder: Path, index: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    save(other, "d.png", 4)
    scan_folder(folder, index)
    assert scan_folder(other, index).images == 1
    assert scan_folder(folder, index, make=refuse).images == 3


def test_relative_names_of_two_folders_are_not_mixed_up(
    folder: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    save(other, "a.png", 7)
    for path in (folder / "a.png", other / "a.png"):
        path.write_bytes(path.read_bytes().ljust(4000, b"\0"))  # same name, size and date, other content
        date(path, 1000)
    monkeypatch.chdir(folder)
    assert scan_folder(Path(), index).images == 3
    monkeypatch.chdir(other)
    result = scan_folder(Path(), index)
    assert (result.images, result.embedded) == (1, 1)


def test_unlisted_folder_is_not_taken_for_an_empty_one(
    folder: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(folder, "sub/d.png", 4, modified=4000)
    scan_folder(folder, index)
    real = os.scandir

    def scandir(path: str | Path) -> object:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    result = scan_folder(folder, index, make=refuse)
    assert result.images == 3
    assert reasons(result) == {"sub": "unreadable"}
    monkeypatch.undo()
    assert scan_folder(folder, index, make=refuse).images == 4


def test_other_precision_matches_again_without_the_network(folder: Path, index: Path) -> None:
    scan_folder(folder, index)
    lower = SETTINGS.model_copy(update={"precision": 0.5})
    result = scan_folder(folder, index, settings=lower, make=refuse)
    assert result.precision == 0.5
    assert same(result, scan_folder(folder, settings=lower))


def test_other_calibration_matches_again(folder: Path, index: Path) -> None:
    scan_folder(folder, index)
    strict = replace(a_checkpoint(), calibration=msgspec.to_builtins(a_calibration(evidence=(1.5, 2.0, 2.2))))
    result = scan_folder(folder, index, checkpoint=strict, make=refuse)
    assert [match.decision.value for group in result.groups for match in group.matches] == ["unsure"]


def test_another_model_embeds_all_and_meets_nothing_of_the_first(folder: Path, index: Path) -> None:
    scan_folder(folder, index)
    embedder = StandIn()
    result = scan_folder(folder, index, embedder, a_checkpoint(seed=1))
    assert embedder.tiles == result.embedded == 3
    assert scan_folder(folder, index, checkpoint=a_checkpoint(), make=refuse).embedded == 0


def test_touched_file_takes_its_new_place_in_time(folder: Path, index: Path) -> None:
    scan_folder(folder, index)
    date(folder / "a.png", 9000)
    result = scan_folder(folder, index, make=refuse)
    assert pairs(result) == {("a.png", "copy of a.png")}


def test_identical_files_are_embedded_once(folder: Path) -> None:
    for number in range(20):
        shutil.copy(folder / "a.png", folder / f"same {number}.png")
    embedder = StandIn()
    result = scan_folder(folder, embedder=embedder)
    assert embedder.tiles == 3
    assert result.images == 23
    assert sum(match.exact.value == "bytes" for group in result.groups for match in group.matches) == 20


def test_video_comes_back_from_the_index_as_it_went_in(folder: Path, index: Path) -> None:
    save_clip(folder / "clip.mp4", [5, 6, 7, 8])
    date(folder / "clip.mp4", 500)
    save(folder, "still.png", 6, modified=6000)
    first = scan_folder(folder, index)
    assert ("still.png", "clip.mp4") in pairs(first)
    save(folder, "c.png", 9, modified=7000)
    again = scan_folder(folder, index)
    assert again.groups == first.groups
    assert again.videos == 1


def test_skipped_file_is_tried_again_under_other_limits(folder: Path, index: Path) -> None:
    small = SETTINGS.model_copy(update={"max_pixels": 3000})
    result = scan_folder(folder, index, settings=small)
    assert reasons(result) == {"a.png": "bomb", "b.png": "bomb"}
    assert reasons(scan_folder(folder, index, settings=small, make=refuse)) == reasons(result)
    assert reasons(scan_folder(folder, index)) == {}


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["add", "copy", "shrink", "move", "delete", "touch", "change", "break"]),
        st.integers(0, 9),
        st.integers(0, 9),
    ),
    max_size=8,
)


def edit(folder: Path, what: str, one: int, other: int, moment: int) -> None:
    """Do something to a folder; the numbers choose files and pictures."""
    source, target = folder / f"{one}.png", folder / f"{other}.png"
    if what == "add" or not source.exists():
        save(folder, source.name, other)
    elif what == "copy" and one != other:
        shutil.copy(source, target)
        source = target
    elif what == "shrink":
        save(folder, target.name, one, side=40)
        source = target
    elif what == "move":
        source.rename(target)
        source = target
    elif what == "delete":
        source.unlink()
        return
    elif what == "change":
        save(folder, source.name, other + 10)
    elif what == "break":
        source.write_bytes(source.read_bytes()[:60])
    date(source, moment)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(rounds=st.lists(EDITS, min_size=2, max_size=4))
def test_result_is_that_of_a_fresh_scan(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[tuple[str, int, int]]]
) -> None:
    root = tmp_path_factory.mktemp("edits")
    folder, moment = root / "media", 1000
    folder.mkdir()
    for edits in rounds:
        for what, one, other in edits:
            moment += 10
            edit(folder, what, one, other, moment)
        kept = scan_folder(folder, root / "index")
        assert same(kept, scan_folder(folder))
        assert same(kept, scan_folder(folder, root / "index", make=refuse))
    shutil.rmtree(root)


def test_what_an_earlier_format_described_is_described_anew(folder: Path, index: Path) -> None:
    before = scan_folder(folder, index)
    with closing(Catalog(index, "s")) as catalog:
        catalog.set_meta("format", b"1")
        catalog.commit()
    after = scan_folder(folder, index)
    assert same(before, after)
    assert after.embedded == 3
