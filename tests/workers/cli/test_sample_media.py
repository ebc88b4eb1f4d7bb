"""The whole path on the demonstration's media, with the checkpoint that ships, against what was rendered."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.sample_media import Copy, Truth, render, summary
from neardup.pipeline.scan.walk import Found, walk

SAMPLE_SECONDS = 0.5
TOLERANCE = 1.5 * SAMPLE_SECONDS


@dataclass(frozen=True)
class Scanned:
    """Rendered media and what a scan of them said; paths are relative to the media."""

    truth: Truth
    report: Path
    media: Path
    output: str

    def groups(self) -> list[tuple[str, dict[str, dict[str, Any]]]]:
        """Return each original with its matches by path."""
        found = json.loads((self.report / "duplicates.json").read_text(encoding="utf-8"))["groups"]
        return [
            (
                self._relative(group["original"]["path"]),
                {self._relative(match["file"]["path"]): match for match in group["matches"]},
            )
            for group in found
        ]

    def skipped(self) -> dict[str, str]:
        with (self.report / "skipped.csv").open(encoding="utf-8", newline="") as file:
            return {self._relative(row["file"]): row["reason"] for row in csv.DictReader(file)}

    def _relative(self, path: str) -> str:
        return str(Path(path).relative_to(self.media))


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    root = tmp_path_factory.mktemp("sample")
    truth = render(root / "media")
    command = [sys.executable, "-m", "neardup.workers.cli.main", "scan", "media", "--output", "report"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return Scanned(truth, root / "report", Path("media"), done.stdout)


def together(scanned: Scanned) -> dict[frozenset[str], dict[str, Any]]:
    """Return all pairs called duplicate: a copy with its original, and whole copies of one original."""
    found: dict[frozenset[str], dict[str, Any]] = {}
    for original, matches in scanned.groups():
        sure = {path: match for path, match in matches.items() if match["decision"] == "duplicate"}
        for path, match in sure.items():
            found[frozenset((path, original))] = match
            for other, another in sure.items():
                if match["where"]["kind"] == another["where"]["kind"] == "whole" and path < other:
                    found.setdefault(frozenset((path, other)), match)
    return found


def test_summary_counts_files_as_the_page_does(scanned: Scanned) -> None:
    sure = {path for _, matches in scanned.groups() for path, one in matches.items() if one["decision"] == "duplicate"}
    copies = {path for _, matches in scanned.groups() for path in matches}
    matches = sum(len(matches) for _, matches in scanned.groups())
    assert f"{len(sure)} duplicates and {len(copies) - len(sure)} unsure" in scanned.output
    assert (f"; {matches} matches in {len(scanned.groups())} groups" in scanned.output) is (matches > len(copies))
    page = (scanned.report / "report.html").read_text(encoding="utf-8")
    assert f"<b>{len(sure)}</b> duplicates" in page


def expected(truth: Truth) -> list[Copy]:
    return [copy for copy in truth.copies if not copy.hard]


def test_copies_are_found(scanned: Scanned) -> None:
    found = together(scanned)
    missing = [
        f"{copy.copy} ({copy.edit})"
        for copy in expected(scanned.truth)
        if frozenset((copy.copy, copy.original)) not in found
    ]
    assert missing == []


def test_lookalikes_and_strangers_are_no_duplicates(scanned: Scanned) -> None:
    family: dict[str, str] = {}

    def root(path: str) -> str:
        while family.setdefault(path, path) != path:
            path = family[path]
        return path

    for copy in scanned.truth.copies:
        family[root(copy.copy)] = root(copy.original)
    pairs = [sorted(pair) for pair in together(scanned)]
    wrong = [pair for pair in pairs if root(pair[0]) != root(pair[1])]
    assert wrong == []


def test_identical_files_and_pixels_are_marked(scanned: Scanned) -> None:
    exact: dict[str, set[str]] = defaultdict(set)
    for _, matches in scanned.groups():
        for path, match in matches.items():
            if match["where"]["kind"] == "whole":
                exact[path].add(match["exact"])
    for copy in scanned.truth.copies:
        if copy.exact:
            assert copy.exact in exact[copy.copy], copy.copy


def test_spans_are_right_to_one_and_a_half_sampling_intervals(scanned: Scanned) -> None:
    found = together(scanned)
    timed = [copy for copy in expected(scanned.truth) if copy.span is not None]
    assert len(timed) >= 4
    for copy in timed:
        assert copy.span is not None
        [span] = found[frozenset((copy.copy, copy.original))]["where"]["spans"]
        told = tuple(span[f"{side}_{end}"] for side in ("query", "reference") for end in ("start", "end"))
        if copy.span[2] == copy.span[3]:  # a still: the moment lies in what is told, a run of frames like it
            assert told[2] - TOLERANCE <= copy.span[2] <= told[3] + TOLERANCE, copy.copy
        else:
            assert told == pytest.approx(copy.span, abs=TOLERANCE), copy.copy


def test_what_was_rendered_is_counted_by_files_once(scanned: Scanned) -> None:
    files = sum(isinstance(one, Found) for one in walk([scanned.report.parent / "media"]))
    copies = {path for _, matches in scanned.groups() for path in matches}
    broken = len(scanned.truth.broken)
    assert summary(scanned.truth) == (
        f"{files} files: {files - len(copies) - broken} originals, {len(copies)} copies, {broken} broken"
    )


def test_broken_files_are_skipped_with_their_reasons(scanned: Scanned) -> None:
    skipped = scanned.skipped()
    assert set(skipped) == set(scanned.truth.broken)
    for path, reasons in scanned.truth.broken.items():
        assert skipped[path] in reasons


def test_every_file_is_accounted_for(scanned: Scanned) -> None:
    result = json.loads((scanned.report / "duplicates.json").read_text(encoding="utf-8"))
    files = sum(isinstance(one, Found) for one in walk([scanned.report.parent / "media"]))
    assert result["images"] + result["videos"] + len(scanned.skipped()) == files
    assert f"{result['images']} images and {result['videos']} videos in" in scanned.output
