from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.workers.conftest import Command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for number in range(40):
        path = tmp_path / "media" / ("photo" if number % 2 else "page") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(path)
    return tmp_path / "media"


def test_tables_are_printed_and_a_page_is_written(neardup: Command, folder: Path, tmp_path: Path) -> None:
    told = neardup("evaluate", folder, "--no-peers", "--edited", "20", "--memes", "photo=4", "--output", "out")
    assert told.code == 0
    assert told.output.startswith("64 edited copies and 16 queries without an original, among 30 references")
    assert "|  | micro-AP | recall at 90 % precision |" in told.output
    assert "| micro-AP | light | medium | hard |" in told.output
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert {one["name"] for one in written["systems"][0]["cuts"]["kind"]} <= {"meme", "page", "photo"}
    assert (tmp_path / "out" / "evaluation.html").stat().st_size > 10_000


def test_kinds_can_be_renamed(neardup: Command, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "kinds.csv").write_text("folder,kind\npage,receipt\n")
    told = neardup("evaluate", folder, "--no-peers", "--edited", "20", "--kinds", "kinds.csv", "--output", "out")
    assert "receipt" in told.output.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere does not exist"),
        ([".", "--trunk", "gone.pth"], "gone.pth does not exist"),
        (["media", "--memes", "photo"], "expected KIND=N"),
        (["media/photo", "--only", "list"], "no pictures"),
    ],
)
def test_mistakes_are_told_in_a_line(
    neardup: Command, folder: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    assert folder.exists()
    (tmp_path / "list").write_text("0" * 40)
    told = neardup("evaluate", *arguments)
    assert told.code == 2
    assert words in told.errors
    assert told.errors.count("\n") == 1
