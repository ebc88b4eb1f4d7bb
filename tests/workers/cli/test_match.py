from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from neardup.pipeline.log.records import Matched
from neardup.pipeline.types import Decision
from neardup.pipeline.where import Where, WhereKind
from tests.pipeline.scan.build import save, save_clip
from tests.workers.conftest import Command

COLUMNS = [
    *("query", "reference", "score", "decision", "relation", "where"),
    *("query_start", "query_end", "reference_start", "reference_end"),
    *("query_box", "reference_box", "transform", "doubt", "proof", "backwards"),
]


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    folder = tmp_path / "queries"
    save(folder, "b small.png", 2, side=40)
    save(folder, "stranger.png", 50)
    return folder


@pytest.fixture
def references(tmp_path: Path) -> Path:
    folder = tmp_path / "references"
    for seed in range(1, 6):
        save(folder, f"{seed}.png", seed)
    save_clip(folder / "clip.mp4", [11, 12, 13, 14])
    return folder


def rows(output: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(output, newline="")))


def test_best_references_are_listed_whatever_the_decision(neardup: Command, queries: Path, references: Path) -> None:
    told = neardup("match", queries, "--references", references, "--top-k", "3")
    assert (told.code, told.errors) == (0, "6 rows for 2 queries among 6 references\n")
    assert told.output.splitlines()[0].split(",") == COLUMNS
    found = rows(told.output)
    assert [Path(row["query"]).name for row in found] == ["b small.png"] * 3 + ["stranger.png"] * 3
    assert Path(found[0]["reference"]).name == "2.png"
    assert [row["decision"] for row in found] == ["duplicate"] + ["distinct"] * 5
    scores = [float(row["score"]) for row in found]
    assert scores[:3] == sorted(scores[:3], reverse=True)
    assert all(row["query_start"] == row["query_end"] == "" for row in found)


def test_where_rows_went_is_said(neardup: Command, queries: Path, references: Path) -> None:
    (queries / "stranger.png").unlink()
    told = neardup("match", queries, "--references", references, "--top-k", "1", "--output", "matches.csv")
    assert (told.output, told.errors) == ("1 row for 1 query among 6 references: matches.csv\n", "")


def test_more_references_wanted_than_there_are(neardup: Command, queries: Path, references: Path) -> None:
    found = rows(neardup("match", queries, "--references", references, "--top-k", "1000").output)
    assert len(found) == len({(row["query"], row["reference"]) for row in found})
    assert {Path(row["reference"]).name for row in found} >= {f"{seed}.png" for seed in range(1, 6)}


def test_times_are_seconds_in_the_video(neardup: Command, tmp_path: Path, references: Path) -> None:
    query = save(tmp_path, "still.png", 13)
    [row] = rows(neardup("match", query, "--references", references, "--top-k", "1").output)
    assert row["decision"] == "duplicate"
    assert (row["query_start"], row["query_end"]) == ("", "")
    assert 1.5 <= float(row["reference_start"]) <= 2.5 <= float(row["reference_end"]) <= 3.5


def test_excerpt_has_times_on_both_sides(neardup: Command, tmp_path: Path, references: Path) -> None:
    query = save_clip(tmp_path / "excerpt.mp4", [13, 14])
    row = rows(neardup("match", query, "--references", references, "--top-k", "1").output)[0]
    assert float(row["query_start"]) == pytest.approx(0.0, abs=0.75)
    assert float(row["query_end"]) == pytest.approx(2.0, abs=0.75)
    assert float(row["reference_start"]) == pytest.approx(2.0, abs=0.75)
    assert float(row["reference_end"]) == pytest.approx(4.0, abs=0.75)


def test_json_lines_say_the_same(neardup: Command, queries: Path, references: Path) -> None:
    arguments = ("match", queries, "--references", references)
    table = rows(neardup(*arguments).output)
    lines = [json.loads(line) for line in neardup(*arguments, "--json").output.splitlines()]
    assert [(line["query"], line["reference"], line["decision"]) for line in lines] == [
        (row["query"], row["reference"], row["decision"]) for row in table
    ]
    assert [(line["where"]["kind"], line["relation"]) for line in lines] == [
        (row["where"], row["relation"]) for row in table
    ]
    for line, row in zip(lines, table, strict=True):
        assert [f"{span['reference_start']:.3f}" for span in line["where"]["spans"]] == [
            *filter(None, [row["reference_start"]])
        ]


def test_rows_are_the_same_in_every_run(neardup: Command, references: Path) -> None:
    arguments = ("match", references, "--references", references, "--threads", "4")
    assert neardup(*arguments).output == neardup(*arguments).output


def test_file_is_written_whole(neardup: Command, queries: Path, references: Path, tmp_path: Path) -> None:
    told = neardup("match", queries, "--references", references, "--output", "new/matches.csv")
    assert (told.code, told.output) == (0, "12 rows for 2 queries among 6 references: new/matches.csv\n")
    written = (tmp_path / "new" / "matches.csv").read_bytes().decode()
    assert written == neardup("match", queries, "--references", references).output


def test_a_name_with_a_carriage_return_is_one_cell(neardup: Command, references: Path, tmp_path: Path) -> None:
    save(tmp_path / "queries", "a\rb.png", 2)
    found = rows(neardup("match", tmp_path / "queries", "--references", references, "--top-k", "1").output)
    assert [Path(row["query"]).name for row in found] == ["a\rb.png"]


def test_unusable_files_are_told_on_standard_error(neardup: Command, queries: Path, references: Path) -> None:
    (queries / "notes\n.txt").write_text("milk")
    (queries / "loop").symlink_to(queries)
    told = neardup("match", queries, "--references", references)
    assert told.code == 0
    assert len(told.errors.splitlines()) == 3
    assert f"skipped {queries}/notes\\n.txt: format" in told.errors
    assert f"skipped {queries}/loop: not-a-file" in told.errors


def test_no_references_is_a_mistake(neardup: Command, queries: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    told = neardup("match", queries, "--references", "nothing")
    assert (told.code, told.output) == (2, "")
    assert "no images or videos in nothing" in told.errors


def test_boxes_say_which_part_matches(neardup: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = Matched(
        reference="r",
        decision=Decision.DUPLICATE,
        bank="seen",
        distance=0.1,
        evidence=0.9,
        probability=0.9,
        where=Where(kind=WhereKind.PART, query_box=(0.25, 0.0, 0.75, 0.123456)),
    )
    monkeypatch.setattr(
        "neardup.pipeline.match.query.lookup.lookup", lambda _state, queries, _k: [[part] for _ in queries]
    )
    picture = save(tmp_path, "a.png", 1)
    [row] = rows(neardup("match", picture, "--references", picture).output)
    assert (row["where"], row["query_box"], row["reference_box"]) == ("part", "0.2500 0.0000 0.7500 0.1235", "")
    line = json.loads(neardup("match", picture, "--references", picture, "--json").output)
    assert line["where"]["query_box"] == [0.25, 0.0, 0.75, 0.123456]
    assert (line["where"]["kind"], line["where"]["reference_box"]) == ("part", None)
