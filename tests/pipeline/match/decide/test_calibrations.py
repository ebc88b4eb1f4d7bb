from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from neardup.pipeline.embed.checkpoint import Architecture, Checkpoint
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.match.decide.calibrations import Calibrations, OfBank, read_calibrations, write_calibrations
from neardup.pipeline.types import Decision
from tests.pipeline.match.build import a_calibration

ALL, STRICT = a_calibration(), a_calibration(evidence=(1.5, 2.0, 2.2))


@pytest.fixture
def checkpoint() -> Checkpoint:
    return Checkpoint(
        "mine", Architecture(dimension=2), {}, np.zeros((0, 2), np.float32), calibration=msgspec.to_builtins(ALL)
    )


def test_file_takes_the_place_of_what_the_checkpoint_carries(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    write_calibrations(Calibrations(calibration=STRICT, space=checkpoint.space), path)
    assert read_calibrations(checkpoint, str(path)).calibration == STRICT
    assert read_calibrations(checkpoint).calibration == ALL


def test_calibration_of_another_space_is_refused_with_both_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    write_calibrations(Calibrations(calibration=ALL, space="0123456789ab"), path)
    with pytest.raises(ConfigError, match=f"space 0123456789ab, model mine has space {checkpoint.space}"):
        read_calibrations(checkpoint, str(path))


def test_bank_is_judged_by_its_own_calibration_and_precision(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    banks = {"blocked": OfBank(calibration=STRICT), "licensed": OfBank(precision=0.5)}
    write_calibrations(Calibrations(calibration=ALL, space=checkpoint.space, banks=banks), path)
    read = read_calibrations(checkpoint, str(path))
    decided = {bank: read.judge(bank, 0.99).judge(0.9, 1).decision for bank in ("seen", "blocked")}
    assert decided == {"seen": Decision.DUPLICATE, "blocked": Decision.UNSURE}
    least = {bank: read.judge(bank, 0.99).thresholds(100).min_duplicate for bank in ("seen", "licensed")}
    assert least["licensed"] < least["seen"]


def test_bank_with_another_hash_weight_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"bank 'blocked' weighs hash and cohort by \(0\.2, 0\.0\)"):
        Calibrations(calibration=ALL, banks={"blocked": OfBank(calibration=a_calibration(hash_weight=0.2))})


@pytest.mark.parametrize("precision", [0.0, 1.0, 99.0])
def test_bank_with_an_impossible_precision_is_refused(precision: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Calibrations(calibration=ALL, banks={"blocked": OfBank(precision=precision)})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "neardup-calibration-1"}', '{"format": 3}'])
def test_broken_file_is_refused_by_name(checkpoint: Checkpoint, tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text, encoding="ascii")
    with pytest.raises(ConfigError, match=r"broken\.json"):
        read_calibrations(checkpoint, str(path))


def test_missing_file_is_refused_by_name(checkpoint: Checkpoint) -> None:
    with pytest.raises(ConfigError, match="no/such"):
        read_calibrations(checkpoint, "no/such")


def test_checkpoint_without_a_calibration_says_what_to_do(checkpoint: Checkpoint) -> None:
    with pytest.raises(ConfigError, match="neardup calibrate"):
        read_calibrations(replace(checkpoint, calibration={}))
