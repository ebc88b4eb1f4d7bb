"""From evidence to probability and to thresholds for a wanted precision.

Precision falls as the index grows: every reference is one more chance for a false match. So a calibration does not hold
a threshold but two curves measured on pictures outside training, and thresholds follow from them for the number of
references actually held:

    false matches per query above evidence e  =  m · F(e)          m references, F per (query, reference) pair
    precision above e                         =  π R(e) / (π R(e) + m F(e))

with R(e) the share of true copies whose evidence reaches e and π the prior, the share of queries that copy something.
F beyond what was measured is continued by its own last slope, an exponential tail; that is an assumption.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ConfigError

MIN_RECALL = 0.02
Curve = npt.NDArray[np.float64]


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """A versioned object beside the checkpoint; recalibrating does not change the space.

    Attributes:
        version: short hash of the numbers below.
        source: what it was measured on, for a person.
        prior: share of queries that copy something, 0 to 1.
        hash_weight: evidence = similarity − background + hash_weight · hash agreement; see `evidence.Evidence`.
        evidence: knots of the two curves, rising.
        log_false_matches: natural log of F at the knots, falling.
        recall: R at the knots, falling from 1 to 0.
        slope, intercept: log-odds of a match at evidence e among m references = intercept + slope · e − ln m.
        queries, references: how many the curves were measured with.
    """

    version: str
    source: str
    prior: float
    hash_weight: float
    evidence: tuple[float, ...]
    log_false_matches: tuple[float, ...]
    recall: tuple[float, ...]
    slope: float
    intercept: float
    queries: int
    references: int

    def __post_init__(self) -> None:
        curves = (self.evidence, self.log_false_matches, self.recall)
        if not (len(self.evidence) == len(self.log_false_matches) == len(self.recall) >= 2):
            raise ConfigError(f"calibration {self.version}: its curves have different lengths or fewer than 2 knots")
        if not all(map(math.isfinite, (*curves[0], *curves[1], *curves[2], self.intercept, self.hash_weight))):
            raise ConfigError(f"calibration {self.version}: a number is not finite")
        if not bool(np.all(np.diff(self.evidence) > 0)):
            raise ConfigError(f"calibration {self.version}: the evidence knots do not rise")
        if any(bool(np.any(np.diff(curve) > 0)) for curve in curves[1:]):
            raise ConfigError(f"calibration {self.version}: false matches or recall rise with evidence")
        if not (0.0 < self.prior < 1.0 and 0.0 < self.slope < math.inf):
            raise ConfigError(
                f"calibration {self.version}: prior {self.prior} and slope {self.slope}; "
                "wanted a prior between 0 and 1 and a slope above 0"
            )

    def log_false_match_rate(self, evidence: npt.ArrayLike) -> Curve:
        """Return ln F(e), per pair of a query and a reference that are not the same picture."""
        e = np.asarray(evidence, dtype=np.float64)
        knots = np.asarray(self.evidence)
        values = np.asarray(self.log_false_matches)
        tail = min((values[-1] - values[-2]) / (knots[-1] - knots[-2]), 0.0)
        beyond = np.maximum(e - knots[-1], 0.0)
        return np.asarray(np.interp(e, knots, values) + tail * beyond)

    def probability(self, evidence: npt.ArrayLike, references: int) -> Curve:
        """Return the probability, 0 to 1, that a best match with this evidence among m references is a copy."""
        e = np.asarray(evidence, dtype=np.float64)
        log_odds = self.intercept + self.slope * e - np.log(max(references, 1))
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(log_odds, -50.0, 50.0))))

    def one_probability(self, evidence: float, references: int) -> float:
        """Return the `probability` of a single piece of evidence, without the cost of an array."""
        log_odds = self.intercept + self.slope * evidence - math.log(max(references, 1))
        return 1.0 / (1.0 + math.exp(-min(max(log_odds, -50.0), 50.0)))

    def precision(self, evidence: npt.ArrayLike, references: int) -> Curve:
        """Return the expected precision of calling everything at or above this evidence a duplicate."""
        e = np.asarray(evidence, dtype=np.float64)
        true = self.prior * np.maximum(np.interp(e, self.evidence, self.recall), 1e-6)
        false = np.exp(self.log_false_match_rate(e) + np.log(max(references, 1)))
        return np.asarray(true / (true + false))

    def min_evidence(self, precision: float, references: int) -> float:
        """Return the least evidence from which all matches together have the wanted precision (0 to 1).

        Inf where no evidence that copies show has it: then nothing but identical content is a duplicate. Above the
        answer the ratio may fall again, where few copies reach: that takes nothing from the precision of them all.

        Raises:
            ConfigError: the precision is not between 0 and 1, both excluded.
        """
        if not 0.0 < precision < 1.0:
            raise ConfigError(f"precision is {precision}; it must lie between 0 and 1, for instance 0.99")
        grid = np.linspace(self.evidence[0], self.evidence[-1], 4001)
        # Where hardly any copy was measured the ratio says nothing.
        grid = grid[np.interp(grid, self.evidence, self.recall) >= MIN_RECALL]
        enough = np.flatnonzero(self.precision(grid, references) >= precision)
        return float(grid[enough[0]]) if enough.size else math.inf

    def thresholds(self, precision: float, references: int) -> Thresholds:
        """Return what decides at this precision with m references."""
        duplicate = self.min_evidence(precision, references)
        even_odds = (np.log(max(references, 1)) - self.intercept) / self.slope
        return Thresholds(min_duplicate=duplicate, min_unsure=min(float(even_odds), duplicate))


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Least evidence for each decision.

    Attributes:
        min_duplicate: from here up the wanted precision is expected.
        min_unsure: from here up a match is more likely than not.
    """

    min_duplicate: float
    min_unsure: float
