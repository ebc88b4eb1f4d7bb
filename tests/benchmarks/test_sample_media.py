from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from benchmarks.photographs import NAMES, photograph, render_photographs
from benchmarks.sample_media import Copy, Truth, render, truth_path
from benchmarks.sample_video import read_clip
from neardup.pipeline.errors import Reason


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    directory = tmp_path_factory.mktemp("media") / "media"
    return directory, render(directory)


def loaded(path: Path) -> Image.Image:
    image: Image.Image
    with Image.open(path) as image:
        return image.convert("RGB")


def small(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.asarray(image.convert("RGB").resize((16, 9)), dtype=np.float32)


def test_everything_that_the_truth_names_is_there(media: tuple[Path, Truth]) -> None:
    directory, truth = media
    named = {*truth.originals, *(copy.copy for copy in truth.copies), *truth.broken}
    files = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert files == named
    assert {copy.original for copy in truth.copies} <= set(truth.originals)
    assert 60 <= len(files) <= 100
    assert sum((directory / file).stat().st_size for file in files) < 25_000_000


def test_the_truth_on_disk_is_the_truth_returned(media: tuple[Path, Truth]) -> None:
    directory, truth = media
    stored = json.loads(truth_path(directory).read_text())
    assert stored["originals"] == truth.originals
    assert [copy["edit"] for copy in stored["copies"]] == [copy.edit for copy in truth.copies]


def test_originals_are_older_than_their_copies(media: tuple[Path, Truth]) -> None:
    directory, truth = media
    for copy in truth.copies:
        assert (directory / copy.original).stat().st_mtime < (directory / copy.copy).stat().st_mtime, copy


def test_exact_copies_are_exact(media: tuple[Path, Truth]) -> None:
    directory, truth = media
    for copy in truth.copies:
        first, second = directory / copy.original, directory / copy.copy
        assert (first.read_bytes() == second.read_bytes()) is (copy.exact == "bytes"), copy
        if copy.exact == "pixels":
            assert loaded(first).tobytes() == loaded(second).tobytes()


def test_the_turned_copy_is_upright_after_its_exif(media: tuple[Path, Truth]) -> None:
    directory, _ = media
    with Image.open(directory / "Camera roll/IMG_0007.jpg") as image:
        assert image.size == (300, 400)
        assert np.abs(small(ImageOps.exif_transpose(image)) - small(photograph("clock"))).mean() < 3


def test_spans_name_the_same_moments(media: tuple[Path, Truth]) -> None:
    directory, truth = media
    clips = [c for c in truth.copies if c.span is not None and c.original.startswith("Videos/") and c.span[1] > 0]
    assert len(clips) == 4
    for clip in clips:
        assert clip.span is not None
        start, end, other_start, other_end = clip.span
        assert end - start == other_end - other_start
        for moment in (0.25, 1.75):
            here = small(next(iter(read_clip(directory / clip.copy, start + moment, end))))
            there = small(next(iter(read_clip(directory / clip.original, other_start + moment, other_end))))
            assert np.abs(here - there).mean() < 12, (clip.copy, moment)


def test_families_join_what_shares_content() -> None:
    truth = Truth(
        ["a", "b", "c", "d"], [Copy("x", "a", ""), Copy("y", "b", ""), Copy("y", "a", ""), Copy("z", "x", "")]
    )
    assert sorted(map(sorted, truth.families())) == [["a", "b", "x", "y", "z"], ["c"], ["d"]]


def test_a_collage_is_all_that_joins_two_pictures(media: tuple[Path, Truth]) -> None:
    _, truth = media
    without = Truth(truth.originals, [copy for copy in truth.copies if copy.edit not in ("collage", "pan in a clip")])
    assert len(without.families()) == len(truth.originals)


def test_broken_files_have_known_reasons(media: tuple[Path, Truth]) -> None:
    _, truth = media
    assert {reason for reasons in truth.broken.values() for reason in reasons} <= {reason.value for reason in Reason}


def test_a_folder_of_somebody_else_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="empty folder"):
        render(tmp_path)
    assert (tmp_path / "mine.txt").exists()


@pytest.mark.parametrize("name", NAMES)
def test_each_bundled_photograph_is_there(name: str) -> None:
    assert min(photograph(name).size) >= 250


def test_rendered_photographs_differ_and_repeat(tmp_path: Path) -> None:
    paths = render_photographs(tmp_path / "a", count=12, threads=2)
    again = render_photographs(tmp_path / "b", count=12, threads=1)
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    pictures = [loaded(path) for path in paths]
    tiles = [small(picture) for picture in pictures]
    for number, tile in enumerate(tiles):
        assert all(np.abs(tile - other).mean() > 10 for other in islice(tiles, number))
    for picture in pictures:
        assert 450 <= picture.width <= 550
        assert 360 <= picture.height <= 440


def test_a_rendered_photograph_is_kept(tmp_path: Path) -> None:
    [path] = render_photographs(tmp_path, count=1)
    path.write_bytes(b"kept")
    assert render_photographs(tmp_path, count=1) == [path]
    assert path.read_bytes() == b"kept"
