from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from neardup.pipeline.errors import ConfigError, InvalidFrame, Reason
from neardup.pipeline.learn.evaluate.chapters import write_chapters
from neardup.pipeline.learn.evaluate.video_report import (
    VideoEvaluation,
    describe_videos,
    kind_figures,
    segment_figures,
    video_chapter,
    video_figures,
)
from neardup.pipeline.learn.evaluate.videos import (
    VideoSet,
    best_frames,
    build_video_set,
    measure_matches,
    measure_scores,
    read_truth,
    time_error,
)
from neardup.pipeline.log.records import Described, Matched
from neardup.pipeline.types import Decision, Kind, Span
from neardup.pipeline.where import located
from tests.pipeline.scan.build import save_clip

HEAD = "query,reference,query_start,query_end,reference_start,reference_end\n"


def described(*seeds: int) -> list[Described]:
    """Return a video of which each frame is a unit vector of its own."""
    vectors = np.eye(8, dtype=np.float16)[list(seeds)]
    return [
        Described(
            id="", part=0, last=True, kind=Kind.VIDEO, sha256=b"s" * 32, pixels_digest=b"", width=8, height=8,
            seconds=float(len(seeds)), dimension=8, pts=tuple(map(float, range(len(seeds)))),
            vectors=vectors.tobytes(), hashes=bytes(32 * len(seeds)), detail=bytes([50] * len(seeds)),
        )
    ]  # fmt: skip


def found(reference: str, evidence: float, decision: Decision, *span: float) -> Matched:
    spans = (Span(*span, evidence),) if span else ()
    return Matched(
        reference=reference, bank="seen", decision=decision, distance=0.1, evidence=evidence, probability=0.5,
        where=located(False, spans=spans),
    )  # fmt: skip


@pytest.fixture
def given(tmp_path: Path) -> VideoSet:
    path = tmp_path / "truth.csv"
    path.write_text(HEAD + "a.mp4,x.mp4,0,2,1,3\na.mp4,y.mp4,2,3,0,1\nb.mp4,,,,,\n")
    videos = {"a.mp4": described(1, 2, 0), "b.mp4": described(5), "x.mp4": described(7, 1, 2), "y.mp4": described(0)}
    return build_video_set(read_truth(path), {**videos, "truth.csv": InvalidFrame(Reason.FORMAT, "text")})


def test_rows_of_the_csv_are_queries_and_all_else_is_a_reference(given: VideoSet) -> None:
    assert list(given.queries) == ["a.mp4", "b.mp4"]
    assert list(given.references) == ["x.mp4", "y.mp4"]
    assert given.true["a.mp4", "x.mp4"].tolist() == [[0, 2, 1, 3]]
    assert describe_videos(given).startswith("1 videos with 2 copied segments and 1 that copy nothing, among 2")


def test_pairs_are_ranked_together_and_missing_ones_count(given: VideoSet) -> None:
    # true, false, and one of the two true ones not found: the only recall step has precision 1.
    result = measure_scores("s", given, {("a.mp4", "x.mp4"): 0.9, ("b.mp4", "y.mp4"): 0.5})
    assert (result.micro_ap, result.recall_at_p90, result.recall_at_1) == (0.5, 0.5, 0.5)
    worse = measure_scores("s", given, {("a.mp4", "x.mp4"): 0.4, ("b.mp4", "y.mp4"): 0.5, ("a.mp4", "y.mp4"): 0.3})
    assert worse.micro_ap == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert worse.recall_at_1 == 1  # the false pair is another query's


def test_segments_are_measured_by_what_was_decided(given: VideoSet) -> None:
    matches = {
        ("a.mp4", "x.mp4"): found("x.mp4", 0.9, Decision.DUPLICATE, 0, 2, 1, 3),
        ("a.mp4", "y.mp4"): found("y.mp4", 0.5, Decision.UNSURE, 2, 2.5, 0, 0.5),
        ("b.mp4", "y.mp4"): found("y.mp4", 0.1, Decision.DISTINCT, 0, 1, 0, 1),
        ("b.mp4", "x.mp4"): found("x.mp4", 0.0, Decision.DISTINCT),
    }
    result = measure_matches("ours", given, matches)
    sure, likely = result.segments["duplicate"], result.segments["duplicate or unsure"]
    assert (sure.precision, sure.recall, sure.pairs) == (1.0, 0.5, 1)
    assert (likely.precision, likely.recall, likely.pairs) == (1.0, 0.625, 2)
    assert result.micro_ap == 1
    assert video_figures([result]).rows[0] == ("ours", "1.000", "1.000", "1.000")
    assert segment_figures([result]).rows[0] == ("duplicate", "1.000", "0.500", "0.667", "1", "0")


def test_each_kind_has_figures_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(HEAD.strip() + ",kind\na.mp4,x.mp4,0,2,1,3,crop\nb.mp4,y.mp4,0,1,0,1,crop\nc.mp4,,,,,,one room\n")
    names = ("a.mp4", "b.mp4", "c.mp4", "x.mp4", "y.mp4")
    given = build_video_set(read_truth(path), {name: described(1) for name in names})
    result = measure_matches("ours", given, {
        ("a.mp4", "x.mp4"): found("x.mp4", 0.9, Decision.DUPLICATE, 0, 2.4, 1, 3),
        ("b.mp4", "y.mp4"): found("y.mp4", 0.1, Decision.DISTINCT, 0, 1, 0, 1),
        ("c.mp4", "x.mp4"): found("x.mp4", 0.9, Decision.UNSURE, 0, 1, 0, 1),
    })  # fmt: skip
    assert kind_figures([result]).rows == [
        ("crop", "2", "0.50", "0.50", "0.00", "0.10 s", "2", "0", "0"),
        ("one room", "0", "–", "–", "–", "–", "1", "0", "1"),
    ]


def test_a_pair_of_a_lower_decision_is_ranked_lower_whatever_its_evidence(given: VideoSet) -> None:
    matches = {
        ("a.mp4", "x.mp4"): found("x.mp4", 0.4, Decision.DUPLICATE, 0, 2, 1, 3),
        ("a.mp4", "y.mp4"): found("y.mp4", 0.3, Decision.DUPLICATE, 2, 3, 0, 1),
        ("b.mp4", "y.mp4"): found("y.mp4", 0.9, Decision.UNSURE, 0, 1, 0, 1),
    }
    assert measure_matches("ours", given, matches).micro_ap == 1


def test_time_error_is_that_of_the_nearest_found_segment() -> None:
    true = np.array([[0.0, 2.0, 10.0, 12.0], [5.0, 6.0, 0.0, 1.0]])
    assert time_error(true, np.array([[0.0, 2.0, 10.0, 12.0], [5.0, 8.0, 0.0, 1.0]])) == 0.25


def test_most_similar_frames_need_no_segments(given: VideoSet) -> None:
    scores = best_frames(given)
    assert scores["a.mp4", "x.mp4"] == scores["a.mp4", "y.mp4"] == 1
    assert scores["b.mp4", "x.mp4"] == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("query,reference\na,b\n", "expected query, reference, query_start"),
        (HEAD, "names no segments"),
        (HEAD + "a,x,0,one,0,1\n", "line 2"),
        (HEAD + "a,x,2,1,0,1\n", "ends before it starts"),
    ],
)
def test_truth_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "truth.csv").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_truth(tmp_path / "truth.csv")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a.mp4,gone.mp4,0,1,0,1", "'gone.mp4' cannot be evaluated: no such file"),
        ("a.mp4,broken.mp4,0,1,0,1", "'broken.mp4' cannot be evaluated: empty"),
        ("a.mp4,a.mp4,0,1,0,1", "both a query and a reference"),
    ],
)
def test_files_that_the_truth_names_must_be_there(tmp_path: Path, row: str, words: str) -> None:
    (tmp_path / "truth.csv").write_text(f"{HEAD}{row}\n")
    files = {"a.mp4": described(1), "broken.mp4": InvalidFrame(Reason.EMPTY, "no bytes")}
    with pytest.raises(ConfigError, match=words):
        build_video_set(read_truth(tmp_path / "truth.csv"), files)


def test_page_shows_what_is_missed_and_what_is_wrong(given: VideoSet, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", "x.mp4"):
        save_clip(tmp_path / name, [1, 2, 3])  # y.mp4 is gone by now: a grey picture stands for it
    matches = {
        ("a.mp4", "x.mp4"): found("x.mp4", 0.9, Decision.DUPLICATE, 0, 2, 1, 3),
        ("b.mp4", "x.mp4"): found("x.mp4", 0.7, Decision.UNSURE, 0, 1, 0, 1),
    }
    results = [measure_matches("ours", given, matches)]
    chapter = video_chapter(VideoEvaluation(given, results, matches, tmp_path))
    page = write_chapters([chapter], tmp_path).read_text(encoding="utf-8")
    assert "a.mp4 in y.mp4: 0% covered (nothing). True 2.0–3.0 s as 0.0–1.0 s; found nothing." in page
    assert "b.mp4 and x.mp4: unsure, evidence 0.700. Found 0.0–1.0 s as 0.0–1.0 s." in page
    assert page.count("data:image/jpeg") == 4
    told = json.loads((tmp_path / "evaluation.json").read_text())["videos"]
    assert told["systems"][0]["segments"]["duplicate"] == {
        "precision": 1.0, "recall": 0.5, "pairs": 1, "wrong": 0, "f1": pytest.approx(2 / 3),
    }  # fmt: skip
