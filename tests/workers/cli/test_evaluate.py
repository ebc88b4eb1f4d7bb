from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neardup.pipeline.embed import embedder
from neardup.pipeline.embed.embedder import make_embedder  # before a stand-in takes its place
from tests.pipeline.scan.build import save_clip
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
    told = neardup(
        "evaluate", folder, "--no-peers", "--edited", "20", "--memes", "photo=4", "--variants", "0", "--output", "out"
    )
    assert told.code == 0
    assert told.output.startswith("64 edited copies and 16 queries without an original, among 30 references")
    assert "|  | micro-AP | recall at 90 % precision |" in told.output
    assert "| micro-AP | light | medium | hard |" in told.output
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert {one["name"] for one in written["systems"][0]["cuts"]["kind"]} <= {"meme", "page", "photo"}
    assert (tmp_path / "out" / "evaluation.html").stat().st_size > 10_000


def test_kinds_can_be_renamed(neardup: Command, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "kinds.csv").write_text("folder,kind\npage,receipt\n")
    told = neardup(
        "evaluate", folder, "--no-peers", "--edited", "20", "--kinds", "kinds.csv", "--variants", "0", "--output", "out"
    )
    assert "receipt" in told.output.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere does not exist"),
        ([".", "--trunk", "gone.pth"], "gone.pth does not exist"),
        (["media", "--memes", "photo"], "expected KIND=N"),
        (["media/photo", "--only", "list"], "no pictures"),
        (["--films", "nowhere"], "nowhere does not exist"),
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


def test_videos_are_matched_and_their_segments_located(neardup: Command, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    save_clip(videos / "film.mp4", [1, 2, 3, 4, 5, 6, 7, 8])
    save_clip(videos / "other.mp4", [21, 22, 23, 24])
    save_clip(videos / "copy.mp4", [31, 3, 4, 5, 6])
    save_clip(videos / "stranger.mp4", [41, 42, 43])
    (videos / "truth.csv").write_text(
        "query,reference,query_start,query_end,reference_start,reference_end\n"
        "copy.mp4,film.mp4,1,5,2,6\nstranger.mp4,,,,,\n"
    )
    told = neardup("evaluate", "--videos", videos / "truth.csv", "--variants", "0", "--output", "out")
    assert (told.code, told.errors) == (0, "")
    assert told.output.startswith("1 videos with 1 copied segments and 1 that copy nothing, among 2 references.")
    [segments] = [one["segments"] for one in json.loads((tmp_path / "out" / "evaluation.json").read_text())["videos"][
        "systems"
    ] if one["segments"]]  # fmt: skip
    assert segments["duplicate"]["f1"] > 0.8
    assert segments["duplicate"]["wrong"] == 0


def test_nothing_to_evaluate_with_is_told(neardup: Command) -> None:
    told = neardup("evaluate", "--variants", "0")
    assert told.code == 2
    assert "name folders of pictures, --videos" in told.errors


@pytest.mark.slow
def test_look_alikes_of_every_kind_are_compared_by_a_shipped_network(
    neardup: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder, "make_embedder", make_embedder)
    told = neardup("evaluate", "--model", "fast", "--variants", "1", "--output", "out")
    assert (told.code, told.errors) == (0, "")
    assert (
        "fast: 23 pairs of look-alikes of 23 kinds, 10 of them held out of all fitting, and 23 true copies"
        in told.output
    )
    [written] = json.loads((tmp_path / "out" / "evaluation.json").read_text())["variants"]
    held, others = (written["kinds"][name] for name in ("held-out kinds", "other kinds"))
    assert held["variants"]["pairs"] == held["copies"]["pairs"] == 10
    assert others["variants"]["pairs"] == 13
    assert len(written["kinds"]) == 25
    assert written["copies"]["re-encoded"]["duplicate"] >= 0.9
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "<h1>Look-alikes of held-out kinds called duplicate:" in page
    assert "Copies of such pictures that are missed" in page
