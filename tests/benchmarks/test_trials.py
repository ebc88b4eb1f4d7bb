from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.trials import OWN, Failed, Outcome, expectation, faults

OUTCOME = Outcome(
    files=["a.jpg", "b.jpg", "c.jpg", "d.jpg"],
    companions={"a.jpg": {"a.xmp"}},
    edges=[
        ("a.jpg", "b.jpg", "duplicate", True, "bytes"),
        ("a.jpg", "c.jpg", "unsure", True, ""),
        ("a.jpg", "d.jpg", "duplicate", False, ""),
    ],
    plans={"exact": {"b.jpg"}, "duplicate": {"b.jpg", "c.jpg"}},
)


@pytest.mark.parametrize(
    ("expected", "count"),
    [
        ({"duplicates": [["a.jpg", "b.jpg"]]}, 0),
        ({"duplicates": [["a.jpg", "c.jpg"]]}, 1),
        ({"duplicates": [["a.jpg", "d.jpg"]]}, 1),
        ({"found": [["a.jpg", "c.jpg"]]}, 0),
        ({"apart": [["?.jpg"]]}, 1),
        ({"apart": [["[acd].jpg"]]}, 0),
        ({"exact": [["a.jpg", "b.jpg", "c.jpg"]]}, 1),
        ({"exact_apart": [["*"]]}, 1),
        ({"go": [["a.jpg", "b.jpg"]]}, 0),
        ({"go": [["a.jpg", "c.jpg"]], "go_if_asked": [["a.jpg", "b.jpg", "c.jpg"]]}, 1),
        ({"stay": ["b*"]}, 1),
        ({"stay": ["c*"], "stay_anyway": ["a*", "d*"]}, 0),
        ({"stay_anyway": ["c*"]}, 1),
        ({"together": [["a.jpg", "a.xmp"]]}, 0),
        ({"together": [["b.jpg", "a.xmp"]]}, 1),
    ],
)
def test_each_expectation_is_checked(expected: dict[str, Any], count: int) -> None:
    outcome = Outcome([*OUTCOME.files, "a.xmp"], OUTCOME.companions, OUTCOME.edges, OUTCOME.plans)
    assert len(list(faults(expected, outcome))) == count


@pytest.mark.parametrize("expected", [{"typo": []}, {"apart": [["no such file"]]}, {"go": [["a.jpg", "gone.jpg"]]}])
def test_an_expectation_that_means_nothing_is_an_error(expected: dict[str, Any]) -> None:
    with pytest.raises(Failed):
        list(faults(expected, OUTCOME))


def test_each_case_of_ours_says_what_should_come_out(tmp_path: Path) -> None:
    cases = [path.parent for path in OWN.glob("*/make.py")]
    assert len(cases) >= 9
    assert all(expectation(case) for case in cases)
    assert expectation(tmp_path / "white-logos") == json.loads((OWN / "expected" / "white-logos.json").read_text())
    assert expectation(tmp_path / "nobody knows") is None
