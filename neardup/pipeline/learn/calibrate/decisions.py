"""Correct a calibration by what reviewers decided: a Bayesian update, with the calibration as it was for the prior.

Reviewers see what was flagged, which is a choice by evidence; given the evidence, their decisions are a fair sample of
how often it is a copy. So the log-odds line is fitted again (logistic regression, maximum a posteriori with Laplace's
approximation; MacKay 1992, doi:10.1162/neco.1992.4.5.720), as intercept and slope around the middle of what was
decided. Its prior is the old line with the old spread, at most MOST_SPREAD: what a spread states beyond that allows
for a worst case and is no belief about these pictures. What the odds turn out higher or lower by, false matches are
taken to be fewer or more by; the spread shrinks by as much as the line has become surer, most where decisions lie and
not at all where none do.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ConfigError, UsageError
from neardup.pipeline.learn.calibrate.fit import versioned
from neardup.pipeline.match.decide.calibration import Calibration

REFERENCES = 2000
"""Among how many a decision was taken, where its row does not say so."""
RELATIONS = {"same": True, "different": False}
UNKNOWN_SPREAD = 1.0
"""Standard deviation of the log-odds for a calibration that states none."""
MOST_SPREAD = 1.0
"""The same at most, as a prior: with more, twenty decisions alone would move a threshold anywhere."""
REACH = 0.15
"""Evidence over which the slope may change the log-odds by as much as the intercept may."""
MIN_DECISIONS = 20


@dataclass(frozen=True, slots=True)
class Decisions:
    """n decisions: evidence of the match, whether it shows the same, and among how many references it was found."""

    evidence: npt.NDArray[np.float64]
    same: npt.NDArray[np.bool_]
    references: npt.NDArray[np.int64]


def read_decisions(path: Path) -> Decisions:
    """Read a CSV with the columns evidence, relation (same or different) and, if it is there, references.

    Rows where both are empty are passed over: identical contents say nothing of thresholds.

    Raises:
        ConfigError: other columns, or a row that cannot be understood, named by its line.
    """
    rows: list[tuple[float, bool, int]] = []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"evidence", "relation"} <= set(reader.fieldnames or ()):
            raise ConfigError(f"decisions {path} has the columns {reader.fieldnames}, expected evidence, relation")
        for row in reader:
            if row["evidence"] == row.get("references") == "":
                continue
            try:
                evidence, references = float(row["evidence"]), int(row.get("references") or REFERENCES)
                if not np.isfinite(evidence) or references < 1:
                    raise ValueError(f"evidence {evidence}, references {references}")
                rows.append((evidence, RELATIONS[row["relation"].strip().lower()], references))
            except (KeyError, ValueError, TypeError, AttributeError) as error:
                raise ConfigError(
                    f"decisions {path}, line {reader.line_num}: {error}; expected evidence as a number, relation same "
                    "or different, references from 1"
                ) from error
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return Decisions(np.array(columns[0], float), np.array(columns[1], bool), np.array(columns[2], np.int64))


def update(calibration: Calibration, decisions: Decisions, source: str) -> Calibration:
    """Return the calibration as the decisions correct it.

    Raises:
        UsageError: fewer than MIN_DECISIONS.
    """
    count = len(decisions.evidence)
    if count < MIN_DECISIONS:
        raise UsageError(f"{count} decisions are too few to correct a calibration; wanted {MIN_DECISIONS} at least")
    middle = float(decisions.evidence.mean())
    assumed = _spread_around(calibration, middle)
    prior_sd = min(assumed, MOST_SPREAD)
    offset, turn, covariance = _fit(calibration, decisions, middle, prior_sd)
    knots = np.asarray(calibration.evidence)
    away = knots - middle
    correction = offset + turn * away
    told = covariance[0, 0] + 2 * covariance[0, 1] * away + covariance[1, 1] * away**2
    tables = np.asarray(calibration.log_false_matches) - correction
    tables = np.minimum.accumulate(tables, axis=1)  # false matches fall with evidence, whatever the correction
    before = np.asarray(calibration.spread) if calibration.spread else np.full_like(tables, UNKNOWN_SPREAD)
    # Where the line says less than was known before, what was known before holds.
    spread = np.minimum(before, assumed / prior_sd * np.sqrt(told))
    fields = {
        **msgspec.to_builtins(calibration),
        "source": source,
        "log_false_matches": tuple(tuple(np.round(row, 5).tolist()) for row in tables),
        "spread": tuple(tuple(np.round(row, 5).tolist()) for row in spread),
        "slope": round(calibration.slope + turn, 6),
        "intercept": round(calibration.intercept + offset - turn * middle, 6),
    }
    return versioned(fields)


def _spread_around(calibration: Calibration, evidence: float) -> float:
    if not calibration.spread:
        return UNKNOWN_SPREAD
    level = max(int(np.searchsorted(calibration.levels, REFERENCES, side="right")) - 1, 0)
    return max(float(np.interp(evidence, calibration.evidence, calibration.spread[level])), 0.1)


def _fit(
    calibration: Calibration, decisions: Decisions, middle: float, prior_sd: float
) -> tuple[float, float, npt.NDArray[np.float64]]:
    """Return what is added to the log-odds at the middle and to the slope, and the covariance of the two."""
    away = decisions.evidence - middle
    shifts = np.array([calibration.shift(int(m)) for m in decisions.references])
    before = calibration.intercept + calibration.slope * decisions.evidence - shifts
    design = np.stack([np.ones_like(away), away], axis=1)
    precision = np.diag([prior_sd**-2, (prior_sd / REACH) ** -2])
    least_turn = 0.1 * calibration.slope - calibration.slope  # evidence never speaks against a copy
    beta = np.zeros(2)
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-np.clip(before + design @ beta, -50, 50)))
        hessian = (design * (p * (1 - p))[:, None]).T @ design + precision
        step = np.clip(np.linalg.solve(hessian, design.T @ (decisions.same - p) - precision @ beta), -2, 2)
        beta = beta + step
        if np.abs(step).max() < 1e-9:
            break
    return float(beta[0]), max(float(beta[1]), least_turn), np.asarray(np.linalg.inv(hessian))
