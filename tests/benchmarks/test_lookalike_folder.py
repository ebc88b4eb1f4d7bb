from __future__ import annotations

from pathlib import Path

from benchmarks.lookalike_folder import Count, count, picture_of, save, table, total
from neardup.pipeline.learn.evaluate.variants import Sample
from neardup.pipeline.learn.variants import render
from neardup.pipeline.learn.variants.copies import copy_of


def file(path: Path) -> dict[str, str]:
    return {"path": str(path)}


def group(original: Path, *matches: tuple[Path, str]) -> dict[str, object]:
    return {
        "original": file(original),
        "matches": [{"file": file(path), "decision": decision} for path, decision in matches],
    }


def test_matches_and_moves_are_counted_by_what_their_files_show(tmp_path: Path) -> None:
    variants = [render("form", 0), render("form", 1)]
    save((Sample(one, *copy_of(one.a, one.number)) for one in variants), tmp_path)
    first, second = ([tmp_path / "form" / f"0000{n}-{side}.jpg" for side in ("a", "b", "copy")] for n in (0, 1))
    assert all(path.exists() for path in first + second)
    report = {
        "groups": [
            group(first[0], (first[2], "duplicate"), (second[0], "unsure")),
            group(second[1], (second[2], "duplicate")),  # of the other side of the pair
        ]
    }
    plan = {
        "moves": [
            {"path": str(first[2]), "kept": file(first[0])},
            {"path": str(second[2]), "kept": file(second[1])},
        ]
    }
    assert count(tmp_path, report, plan) == {
        "form": Count(files=6, duplicate=1, unsure=1, planned=1, copies=2, found=1, doubtful=0, gone=1)
    }


def test_a_copy_shows_the_first_side() -> None:
    assert picture_of("x/logo/00012-copy.jpg") == picture_of("x/logo/00012-a.png") == ("logo", "00012", "a")
    assert picture_of("x/logo/00012-b.png") != picture_of("x/logo/00012-a.png")


def test_the_table_sums_held_out_kinds_by_themselves() -> None:
    counts = {"logo": Count(3, 1, 0, 1, 1, 1, 0, 0), "form": Count(3, 0, 2, 0, 1, 0, 1, 0)}
    lines = list(table(counts))
    assert lines[2] == "| held-out kinds | 3 | 1 | 0 | 1 | 1 | 1 | 0 | 0 |"
    assert lines[3] == "| other kinds | 3 | 0 | 2 | 0 | 1 | 0 | 1 | 0 |"
    assert lines[-1].startswith("1 of 2 look-alikes in the plan")
    assert total(counts.values()) == Count(6, 1, 2, 1, 2, 1, 1, 0)
