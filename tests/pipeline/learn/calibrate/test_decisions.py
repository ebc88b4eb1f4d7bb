"""Decisions of reviewers who know the truth: the corrected probability is the true one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.errors import ConfigError, UsageError
from neardup.pipeline.learn.calibrate.decisions import Decisions, read_decisions, update
from neardup.pipeline.match.decide.calibration import Calibration
from neardup.pipeline.match.decide.calibrations import read_calibrations
from tests.pipeline.match.build import a_calibration

PRIOR = msgspec.structs.replace(
    a_calibration(
        evidence=(0.0, 0.5, 1.0), log_false_matches=(-1.0, -11.0, -21.0), recall=(1.0, 0.7, 0.0),
        slope=20.0, intercept=-1.0,
    ),
    spread=((0.8, 0.8, 0.8),),
)  # fmt: skip
REFERENCES = 1000


def decide(count: int, offset: float, seed: int = 0) -> Decisions:
    """Return decisions on evidence around even odds, where the true log-odds differ from the prior's by an offset."""
    random = np.random.default_rng(seed)
    evidence = random.uniform(0.3, 0.6, count)
    log_odds = PRIOR.intercept + PRIOR.slope * evidence - np.log(REFERENCES) + offset
    return Decisions(evidence, random.random(count) < 1 / (1 + np.exp(-log_odds)), np.full(count, REFERENCES))


def log_odds(calibration: Calibration, evidence: float) -> float:
    p = calibration.one_probability(evidence, REFERENCES)
    return float(np.log(p / (1 - p)))


@pytest.mark.parametrize("offset", [-1.5, 0.0, 1.5])
def test_probability_becomes_what_reviewers_find(offset: float) -> None:
    found = update(PRIOR, decide(3000, offset), "a test")
    for evidence in (0.4, 0.5):
        assert log_odds(found, evidence) == pytest.approx(log_odds(PRIOR, evidence) + offset, abs=0.35)


def test_more_false_matches_than_thought_ask_for_more_evidence() -> None:
    worse, better = update(PRIOR, decide(3000, -1.5), ""), update(PRIOR, decide(3000, 1.5), "")
    as_it_was = msgspec.structs.replace(PRIOR, spread=())  # the interval narrows too; here the curves are meant
    least = [msgspec.structs.replace(one, spread=()).min_evidence(0.99, 100) for one in (better, worse)]
    assert least[0] < as_it_was.min_evidence(0.99, 100) < least[1]


def test_interval_narrows_as_decisions_grow_and_where_they_lie() -> None:
    spreads = [np.interp(0.45, one.evidence, one.spread[0]) for one in (
        PRIOR, update(PRIOR, decide(50, 0.0), ""), update(PRIOR, decide(2000, 0.0), ""))]  # fmt: skip
    assert spreads[0] > spreads[1] > spreads[2]
    one = update(PRIOR, decide(2000, 0.0), "")
    assert one.spread[0][-1] > 2 * np.interp(0.45, one.evidence, one.spread[0])


def test_few_decisions_move_little() -> None:
    few, many = (update(PRIOR, decide(count, -2.0), "") for count in (20, 5000))
    moved = [log_odds(PRIOR, 0.45) - log_odds(one, 0.45) for one in (few, many)]
    assert 0 < moved[0] < moved[1]


@pytest.mark.parametrize("name", ["default", "fast"])
def test_few_decisions_move_the_threshold_that_ships_little(name: str) -> None:
    shipped = read_calibrations(load_checkpoint(name)).calibration
    evidence = np.linspace(0.2, 0.45, 20)
    found = update(shipped, Decisions(evidence, np.ones(20, np.bool_), np.full(20, 2000)), "")
    before, after = (one.min_evidence(0.99, 2000) for one in (shipped, found))
    assert before - 0.1 < after < before


def test_decisions_cannot_turn_evidence_round() -> None:
    random = np.random.default_rng(1)
    evidence = random.uniform(0.3, 0.6, 2000)
    found = update(PRIOR, Decisions(evidence, evidence < 0.45, np.full(2000, REFERENCES)), "")
    assert found.slope > 0
    assert np.all(np.diff(found.log_false_matches[0]) <= 0)


def test_correction_is_a_version_of_its_own() -> None:
    found = update(PRIOR, decide(100, 0.0), "100 decisions")
    assert (found.source, found.prior, found.hash_weight) == ("100 decisions", PRIOR.prior, PRIOR.hash_weight)
    assert found.version not in (PRIOR.version, update(PRIOR, decide(100, 1.0), "").version)


def test_too_few_decisions_are_refused() -> None:
    with pytest.raises(UsageError, match="19 decisions"):
        update(PRIOR, decide(19, 0.0), "")


def test_csv_is_read_with_references_where_it_has_them(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text("relation,evidence,references,who\nsame,0.5,,a\n Different,0.25,300,b\n", encoding="utf-8")
    read = read_decisions(path)
    assert (read.evidence.tolist(), read.same.tolist(), read.references.tolist()) == (
        [0.5, 0.25], [True, False], [2000, 300])  # fmt: skip


@pytest.mark.parametrize("row", ["same,much", "maybe,0.5", "same,nan", "same,", "same"])
def test_broken_row_is_named_by_its_line(tmp_path: Path, row: str) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text(f"relation,evidence\nsame,0.5\n{row}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="line 3"):
        read_decisions(path)


def test_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text("a,b\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="expected evidence, relation"):
        read_decisions(path)
