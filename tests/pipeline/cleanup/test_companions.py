from __future__ import annotations

from pathlib import Path

import pytest

from neardup.pipeline.cleanup.companions import Folder, is_edited_version, with_companions
from tests.pipeline.report.build import a_file, a_result, a_stack

TOGETHER = [
    "IMG_0001.HEIC IMG_0001.MOV IMG_0001.AAE",
    "dsc_1.jpg DSC_1.NEF",
    "a.jpg a.xmp",
    "a.jpg a.jpg.xmp",
    "a.jpg a.jpg.json",
    "a.jpg a.jpg.supplemental-metadata.json",
    "a(1).jpg a.jpg(1).json",
    "IMG_0001.HEIC IMG_E0001.AAE",
    "IMG_0001.HEIC IMG_O0001.aae",
    "PXL_1.MP.jpg PXL_1.MP",
    "film.mp4 film.en.srt",
    "a.b.jpg a.b.xmp",
    "DSC_1.JPG DSC_1.NEF DSC_1.NEF.xmp",
    "x.dng x.nef x.jpg",
]
APART = [
    "a.png a.jpg",
    "a.mp4 a.mov",
    "a.jpg b.xmp",
    "a.jpg ab.xmp",
    "a.b.jpg a.xmp",
    "a.jpg notes.txt",
    "IMG_0001.jpg IMG_0001.jpg.bak",
    "a.jpg a",
    "IMG_0001.JPG IMG_E0001.JPG",
]


@pytest.mark.parametrize("names", [one.split() for one in TOGETHER], ids=TOGETHER)
def test_what_belongs_together_is_found_from_each_side(names: list[str]) -> None:
    folder = Folder([*names, "zz.jpg", "zz.xmp"])
    media = [name for name in names if not name.lower().endswith(("aae", "xmp", "json", "srt"))]
    for name in media:
        assert sorted(folder.companions(name)) == sorted(set(names) - {name})


@pytest.mark.parametrize("names", [one.split() for one in APART], ids=APART)
def test_what_does_not_belong_together_is_not(names: list[str]) -> None:
    assert [Folder(names).companions(name) for name in names] == [[] for _ in names]


def test_the_sidecar_of_the_other_picture_is_not_ours() -> None:
    folder = Folder(["a.jpg", "a.png", "a.png.xmp", "a.xmp"])
    assert folder.companions("a.jpg") == ["a.xmp"]
    assert sorted(folder.companions("a.png")) == ["a.png.xmp", "a.xmp"]


@pytest.mark.parametrize(
    ("a", "b", "edited"),
    [
        ("x/IMG_0001.HEIC", "x/IMG_E0001.JPG", True),
        ("x/a-edited.jpg", "x/A.jpg", True),
        ("x/a.jpg", "x/a.png", False),
        ("x/IMG_0001.HEIC", "y/IMG_E0001.JPG", False),
        ("x/a.jpg", "x/b.jpg", False),
    ],
)
def test_an_edited_version_is_known_by_its_name(a: str, b: str, edited: bool) -> None:
    assert is_edited_version(a, b) is is_edited_version(b, a) is edited


def test_files_of_stacks_have_their_companions(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.xmp", "b.jpg"):
        (tmp_path / name).touch()
    stack = a_stack(*(a_file(str(tmp_path / name)) for name in ("a.jpg", "b.jpg")))
    [found] = with_companions(a_result(stacks=(stack,))).stacks
    assert [one.companions for one in found.files] == [(str(tmp_path / "a.xmp"),), ()]
    assert found.matches[0].reference.companions == (str(tmp_path / "a.xmp"),)
