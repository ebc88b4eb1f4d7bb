from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from neardup.pipeline.log.records import Comparison
from neardup.pipeline.prove.finding import BlockMap, Finding, Ground, ProofSummary
from neardup.pipeline.report.result import Group, ScanResult, Skipped
from neardup.pipeline.report.tables import (
    COLUMNS,
    VARIANT_COLUMNS,
    write_csv,
    write_json,
    write_skipped,
    write_variants,
)
from neardup.pipeline.types import Decision, Exact, Span
from neardup.pipeline.where import Where, WhereKind
from tests.pipeline.report.build import a_file, a_group, a_match, a_part, a_proof, a_result, a_stack, a_video

LATIN1 = os.fsdecode(b"Pictures/caf\xe9.jpg")


def rows(result: ScanResult, tmp_path: Path) -> list[dict[str, str]]:
    write_csv(result, tmp_path / "duplicates.csv")
    with (tmp_path / "duplicates.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def report(result: ScanResult, tmp_path: Path) -> dict[str, Any]:
    write_json(result, tmp_path / "duplicates.json")
    loaded: dict[str, Any] = json.loads((tmp_path / "duplicates.json").read_bytes().decode("utf-8"))
    return loaded


def clip() -> Group:
    """Two stretches of one video are in another; a still image is also in it."""
    return a_group(
        a_video("Videos/film.mp4", 60),
        a_part(a_video("Videos/best of.mp4"), Span(0, 4, 10, 14), Span(5, 9.5, 30, 34.5)),
        a_part(a_file("still.png"), Span(0, 0, 12, 12.5), decision=Decision.UNSURE),
    )


def test_a_long_csv_is_several_files_that_cut_no_group(tmp_path: Path) -> None:
    pair = [a_group(a_file(f"{n}.jpg"), a_match(a_file(f"{n}b.jpg"))) for n in range(3)]
    result = a_result(pair[0], clip(), *pair[1:])
    for stale in ("duplicates-3.csv", "duplicates-4.csv", "duplicates-9.csv"):
        (tmp_path / stale).touch()
    write_csv(result, tmp_path / "duplicates.csv", most_rows=2)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["duplicates-2.csv", "duplicates-9.csv", "duplicates.csv"]
    parts = [(tmp_path / name).read_text().splitlines() for name in ("duplicates.csv", "duplicates-2.csv")]
    assert [[line.split(",")[0] for line in part] for part in parts] == [
        ["group", "1", "2", "2", "2"],
        ["group", "3", "4"],
    ]
    whole = rows(result, tmp_path)
    assert [row["group"] for row in whole] == ["1", "2", "2", "2", "3", "4"]


def test_csv_has_a_row_for_each_match_and_span(tmp_path: Path) -> None:
    image = a_group(a_file("a.jpg"), a_match(a_file("b.jpg"), exact=Exact.BYTES, distance=0.0, probability=1.0))
    found = rows(a_result(image, clip()), tmp_path)
    assert [(row["group"], row["file"], row["query_start"], row["reference_end"]) for row in found] == [
        ("1", "b.jpg", "", ""),
        ("2", "Videos/best of.mp4", "0.000", "14.000"),
        ("2", "Videos/best of.mp4", "5.000", "34.500"),
        ("2", "still.png", "", "12.500"),
    ]
    assert found[0]["exact"] == "bytes"
    assert found[0]["where"] == "whole"
    assert found[0]["modified"] == "2024-01-01T00:00:00Z"
    assert found[3]["decision"] == "unsure"
    assert found[3]["where"] == "part"
    assert tuple(found[0]) == COLUMNS


def test_a_stretch_that_runs_backwards_says_so(tmp_path: Path) -> None:
    forwards, backwards = Span(0, 4, 10, 14), Span(5, 9, 30, 34, backwards=True)
    result = a_result(a_group(a_video("film.mp4", 60), a_part(a_video("clip.mp4"), forwards, backwards)))
    assert [row["backwards"] for row in rows(result, tmp_path)] == ["", "yes"]
    spans = report(result, tmp_path)["groups"][0]["matches"][0]["where"]["spans"]
    assert [span["backwards"] for span in spans] == [False, True]


def test_an_empty_result_is_a_header_only(tmp_path: Path) -> None:
    assert rows(a_result(), tmp_path) == []
    assert (tmp_path / "duplicates.csv").read_text().startswith("group,original,file,")


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_path_in_csv_is_a_formula_and_each_still_names_its_file(first: str, tmp_path: Path) -> None:
    name = f"{first}cmd.jpg"
    [row] = rows(a_result(a_group(a_file("a.jpg"), a_match(a_file(name)))), tmp_path)
    assert row["file"] == f"./{name}"
    assert Path(row["file"]) == Path(name)


def test_names_with_newlines_quotes_and_commas_come_back_from_csv(tmp_path: Path) -> None:
    name = 'new\nline, "quoted"; café.jpg'
    [row] = rows(a_result(a_group(a_file("a.jpg"), a_match(a_file(name)))), tmp_path)
    assert row["file"] == name


def test_json_has_the_documented_fields(tmp_path: Path) -> None:
    found = report(a_result(clip(), skipped=(Skipped(path="x.jpg", reason="empty", detail="no bytes"),)), tmp_path)
    assert found["schema"] == 2
    assert found["created"] == "2024-01-01T00:00:00Z"
    assert found["roots"] == ["Pictures"]
    assert found["skipped"] == [{"path": "x.jpg", "reason": "empty", "detail": "no bytes"}]
    [group] = found["groups"]
    assert group["original"]["seconds"] == 60
    first = group["matches"][0]
    assert first["file"]["path"] == "Videos/best of.mp4"
    assert "path_bytes" not in first["file"]
    assert first["where"]["spans"][1] == {
        "query_start": 5,
        "query_end": 9.5,
        "reference_start": 30,
        "reference_end": 34.5,
        "evidence": 0,
        "backwards": False,
    }
    assert (first["decision"], first["exact"], first["where"]["kind"]) == ("duplicate", "", "part")


def test_json_gives_the_bytes_of_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    found = report(a_result(a_group(a_file(LATIN1), a_match(a_file("b.jpg")))), tmp_path)
    original = found["groups"][0]["original"]
    assert original["path"] == "Pictures/caf\\xe9.jpg"
    assert bytes.fromhex(original["path_bytes"]) == b"Pictures/caf\xe9.jpg"


def test_skipped_files_are_listed_with_their_reason(tmp_path: Path) -> None:
    skipped = (
        Skipped(path=LATIN1, reason="truncated", detail="ends early"),
        Skipped(path="=x.jpg", reason="decode", detail="=1+1"),
    )
    write_skipped(a_result(skipped=skipped), tmp_path / "skipped.csv")
    with (tmp_path / "skipped.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["file", "reason", "detail"],
            ["Pictures/caf\\xe9.jpg", "truncated", "ends early"],
            ["./=x.jpg", "decode", "'=1+1"],
        ]


def test_an_impossible_date_is_left_out(tmp_path: Path) -> None:
    [row] = rows(a_result(a_group(a_file("a.jpg"), a_match(a_file("b.jpg", modified=1e18)))), tmp_path)
    assert row["modified"] == ""


def test_a_table_has_the_part_and_the_transform_of_a_match(tmp_path: Path) -> None:
    where = Where(kind=WhereKind.PART, query_box=(0.25, 0.0, 0.75, 0.5), transform=(0.5, 0.0, 0.25, 0.0, 1 / 3, 0.0))
    result = a_result(a_group(a_file("a.jpg"), a_match(a_file("b.jpg"), where=where)))
    [row] = rows(result, tmp_path)
    assert (row["relation"], row["where"]) == ("copy", "part")
    assert (row["query_box"], row["reference_box"]) == ("0.2500 0.0000 0.7500 0.5000", "")
    assert row["transform"] == "0.5 0 0.25 0 0.333333 0"
    [match] = report(result, tmp_path)["groups"][0]["matches"]
    assert match["where"]["query_box"] == [0.25, 0.0, 0.75, 0.5]
    assert (match["where"]["reference_box"], match["where"]["spans"]) == (None, [])


def test_a_proof_is_words_in_the_table_and_whole_in_json(tmp_path: Path) -> None:
    proof = ProofSummary(
        finding=Finding.UNPROVED, ground=Ground.LITTLE_AGREES, agreeing=0.5, map=BlockMap(columns=2, blocks="1342")
    )
    result = a_result(a_group(a_file("a.jpg"), a_match(a_file("b.jpg"), proof=proof), a_match(a_file("c.jpg"))))
    assert [row["proof"] for row in rows(result, tmp_path)] == ["unproved: little agrees", ""]
    first, second = report(result, tmp_path)["groups"][0]["matches"]
    assert (first["proof"]["finding"], first["proof"]["ground"]) == ("unproved", "little-agrees")
    assert first["proof"]["query_extra"] == 0.0  # what is at its default stands there, too
    assert first["proof"]["map"] == {"columns": 2, "blocks": "1342", "of_query": False, "box": [0.0, 0.0, 1.0, 1.0]}
    assert second["proof"] is None


def test_variants_are_in_a_table_of_their_own_and_count_as_no_copies(tmp_path: Path) -> None:
    first, second, third = a_file("1.jpg"), a_file("=2.jpg"), a_file("3.jpg")
    proof = a_proof(finding=Finding.VARIANT, ground=Ground.OTHER_WRITING)
    result = a_result(a_group(a_file("a"), a_match(third)), stacks=(a_stack(first, second, third, proof=proof),))
    assert (len(result.copies), len(rows(result, tmp_path))) == (1, 1)
    write_variants(result, tmp_path / "variants.csv")
    with (tmp_path / "variants.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    wanted = ("stack", "reference", "file", "decision", "relation", "proof", "width")
    assert [tuple(row[name] for name in wanted) for row in found] == [
        ("1", "1.jpg", "./=2.jpg", "distinct", "variant", "variant: other writing", "400"),
        ("1", "./=2.jpg", "3.jpg", "distinct", "variant", "variant: other writing", "400"),
    ]
    assert tuple(found[0]) == VARIANT_COLUMNS
    [stack] = report(result, tmp_path)["stacks"]
    assert [file["path"] for file in stack["files"]] == ["1.jpg", "=2.jpg", "3.jpg"]
    assert [(match["reference"]["path"], match["file"]["path"]) for match in stack["matches"]] == [
        ("1.jpg", "=2.jpg"),
        ("=2.jpg", "3.jpg"),
    ]
    assert stack["matches"][0]["proof"]["ground"] == "other-writing"


@pytest.mark.parametrize("name", Comparison.__struct_fields__)
def test_what_two_have_in_common_is_in_all_tables_and_in_their_documentation(name: str, tmp_path: Path) -> None:
    """See docs/new-match-field.md."""
    [match] = report(a_result(a_group(a_file("a.jpg"), a_match(a_file("b.jpg")))), tmp_path)["groups"][0]["matches"]
    assert name in match
    assert name in COLUMNS
    documented = (Path(__file__).parents[3] / "docs" / "report.md").read_text()
    assert f"| `matches[].{name}` |" in documented
