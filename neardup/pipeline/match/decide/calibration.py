"""From evidence to probability, and to thresholds for a wanted precision.

Precision falls as the index grows: every reference is one more chance for a false match. So a calibration does not hold
a threshold but curves measured on pictures outside training, and thresholds follow from them for the number of
references actually held:

    precision above e among m references  =  π R(e, m) / (π R(e, m) + G(e, m))

with R(e, m) the share of true copies whose evidence reaches e, G(e, m) the share of queries that some reference other
than their original reaches e with, and π the prior, the share of queries that copy something. G counts queries, not
pairs: what resembles one reference resembles several. Both are given at several m, as cohorts depend on what there is:
measured, and beyond that as `learn/calibrate/fit.py` fits their growth. Beyond the largest m, R stays and G grows as m
does, which it cannot exceed (the union bound).

The precision comes with an interval, for kinds of pictures that were not measured, too (`spread`). A threshold is where
the wanted precision is expected *and* no more than twice the false matches that it allows are to be feared.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.prove.finding import Ground

MIN_RECALL = 0.02
CONFIDENCE = 0.9
SDS = 1.645
"""Standard deviations to either side that hold CONFIDENCE of a normal distribution."""
Curve = npt.NDArray[np.float64]
N = TypeVar("N", float, Curve)


class ProofRates(msgspec.Struct, frozen=True):
    """How pairs that decisions propose were proved.

    Attributes:
        copies: number of edited copies, each with what it copies, by the ground of the finding.
        strangers: the same of pictures, each with what resembles it most.
    """

    copies: dict[Ground, int]
    strangers: dict[Ground, int]

    def log_ratio(self, ground: Ground) -> float:
        """Return what a finding on this ground adds to the log-odds of a match; half a pair more of each is assumed.

        What is no proved copy adds nothing: strangers hardly get so far, but look-alikes do, and are not counted here.
        """
        copies, strangers = (
            math.log((counts.get(ground, 0) + 0.5) / (sum(counts.values()) + 0.5 * len(Ground)))
            for counts in (self.copies, self.strangers)
        )
        return copies - strangers if ground is Ground.AGREES else min(copies - strangers, 0.0)


PROVED = ProofRates(
    copies={
        Ground.AGREES: 1268, Ground.CHANGED_SCENE: 85, Ground.NO_TRANSFORM: 58, Ground.ILLEGIBLE: 53,
        Ground.LITTLE_AGREES: 42, Ground.WRITTEN_IN: 39, Ground.MOTION: 18, Ground.OTHER_WRITING: 14,
        Ground.FEW_POINTS: 12, Ground.REPETITIVE: 11,
    },
    strangers={
        Ground.NO_TRANSFORM: 3841, Ground.LITTLE_AGREES: 132, Ground.FEW_POINTS: 11, Ground.MOTION: 6,
        Ground.OTHER_WRITING: 5, Ground.CHANGED_SCENE: 2, Ground.AGREES: 2, Ground.TEMPLATE: 1,
    },
)  # fmt: skip
"""What `benchmarks/prove.py` counts; a proof depends on no network. Other portraits of one person are no strangers, as
in a calibration; two edits of one crop are, whose picture has another crop among the references."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """A versioned object of its own; recalibrating does not change the space.

    Attributes:
        version: short hash of the numbers below.
        source: what it was measured on, for a person.
        space: of the vectors that it was measured on; "" if that was not written down.
        prior: share of queries that copy something, 0 to 1.
        hash_weight, cohort_weight: evidence = similarity − cohort_weight · cohort + hash_weight · agreement of hashes;
            see `evidence`.
        evidence: k knots of the curves, rising.
        levels: numbers of references m that G and R were measured at; the first is 1.
        log_false_matches: natural log of G at the levels and knots, falling along the knots.
        recall: R at the levels and knots, falling along the knots.
        spread: standard deviation of ln(G / R) at the levels and knots; () if it was not measured.
        slope, intercept, shifts: log-odds of a match at evidence e among m references = intercept + slope · e − shift,
            with shifts at the levels.
        allowance: share of the allowed false matches that may be made by strangers, where nothing is proved. The rest
            is left to look-alikes, another receipt of one shop or the next shot: no sample of strangers shows how many
            there are.
        proofs: how copies and strangers were proved.
        queries, references: copies that were measured, and strangers that each was compared with.
    """

    version: str
    source: str
    space: str = ""
    prior: float
    hash_weight: float
    cohort_weight: float
    evidence: tuple[float, ...]
    levels: tuple[int, ...] = (1,)
    log_false_matches: tuple[tuple[float, ...], ...]
    recall: tuple[tuple[float, ...], ...]
    spread: tuple[tuple[float, ...], ...] = ()
    slope: float
    intercept: float
    shifts: tuple[float, ...] = (0.0,)
    allowance: float = 1.0
    proofs: ProofRates = PROVED
    queries: int
    references: int

    @property
    def weights(self) -> tuple[float, float]:
        """Of hash and cohort: what evidence is made with, and so the same for all calibrations of a state."""
        return self.hash_weight, self.cohort_weight

    def __post_init__(self) -> None:
        fault = _fault(self)
        if fault:
            raise ConfigError(f"calibration {self.version}: {fault}")

    def log_false_match_rate(self, evidence: npt.ArrayLike, references: int = 1) -> Curve:
        """Return ln G(e, m); beyond the last knot it falls on as before it."""
        lower, upper, share, beyond = self._between(references)
        curves = [self._at(np.asarray(evidence, dtype=np.float64), level) for level in (lower, upper)]
        return np.asarray((1 - share) * curves[0] + share * curves[1] + beyond)

    def probability(self, evidence: npt.ArrayLike, references: int) -> Curve:
        """Return the probability, 0 to 1, that a best match with this evidence among m references is a copy."""
        log_odds = self.intercept + self.slope * np.asarray(evidence, dtype=np.float64) - self.shift(references)
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(log_odds, -50.0, 50.0))))

    def one_probability(self, evidence: float, references: int, ground: Ground | None = None) -> float:
        """Return the `probability` of a single piece of evidence, and of what a proof found if there is one."""
        return logistic(self.log_odds(evidence, references, ground))

    def log_odds(self, evidence: float, references: int, ground: Ground | None = None) -> float:
        """Return the log-odds of a match with this evidence, and with a proof's finding if there is one."""
        return self.log_odds_after(evidence, self.shift(references), self._log_ratio(ground))

    def log_odds_after(self, evidence: N, shift: float, log_ratio: float) -> N:
        """Return the `log_odds`, given the `shift` of all references and what a finding adds."""
        return self.intercept + self.slope * evidence - shift + log_ratio

    def shift(self, references: int) -> float:
        """Return what m references take from the log-odds of a match."""
        lower, upper, share, beyond = self._between(references)
        return (1 - share) * self.shifts[lower] + share * self.shifts[upper] + beyond

    def precision(self, evidence: npt.ArrayLike, references: int, ground: Ground | None = None) -> Curve:
        """Return the expected precision of calling everything at or above this evidence a duplicate."""
        log_odds = self._log_odds_of_precision(evidence, references) + self._log_ratio(ground)
        return np.asarray(1.0 / (1.0 + np.exp(-log_odds)))

    def precision_interval(
        self, evidence: npt.ArrayLike, references: int, ground: Ground | None = None
    ) -> tuple[Curve, Curve]:
        """Return the bounds between which the precision lies with CONFIDENCE, for kinds that were not measured, too.

        Without a measured spread both are the expected precision.
        """
        log_odds = self._log_odds_of_precision(evidence, references) + self._log_ratio(ground)
        reach = SDS * self._spread_at(evidence, references)
        low, high = (1.0 / (1.0 + np.exp(-(log_odds + side * reach))) for side in (-1, 1))
        return low, high

    def min_evidence(self, precision: float, references: int, ground: Ground | None = None) -> float:
        """Return the least evidence from which all matches together have the wanted precision p (0 to 1).

        With the ground of a finding, all matches of which a proof found this.

        Where an interval is known, its lower end is 1 − 2 (1 − p) at least: 0.98 for a precision of 0.99.
        Inf where no evidence that copies show has it: then nothing but identical content is a duplicate. Above the
        answer the ratio may fall again, where few copies reach: that takes nothing from the precision of them all.

        Raises:
            ConfigError: the precision is not between 0 and 1, both excluded.
        """
        if not 0.0 < precision < 1.0:
            raise ConfigError(f"precision is {precision}; it must lie between 0 and 1, for instance 0.99")
        grid = np.linspace(self.evidence[0], self.evidence[-1], 4001)
        # Where hardly any copy was measured the ratio says nothing.
        grid = grid[self.recall_at(grid, references) >= MIN_RECALL]
        least = self.precision_interval(grid, references, ground)[0]
        enough = (self.precision(grid, references, ground) >= precision) & (least >= 2 * precision - 1)
        places = np.flatnonzero(enough)
        return float(grid[places[0]]) if places.size else math.inf

    def thresholds(
        self, precision: float, references: int, moments: bool = False, ground: Ground | None = None
    ) -> Thresholds:
        """Return what decides at this precision with m references, `allowance` taken into account.

        Args:
            moments: it is several moments that agree, as those of look-alikes do not: then no allowance is needed.
            ground: of what a proof found; nothing but a copy is a duplicate then.
        """
        allowance = 1.0 if moments or ground is not None else self.allowance
        even_odds = (self.shift(references) - self.intercept - self._log_ratio(ground)) / self.slope
        if ground not in (None, Ground.AGREES):
            return Thresholds(min_duplicate=math.inf, min_unsure=even_odds)
        duplicate = self.min_evidence(1.0 - (1.0 - precision) * allowance, references, ground)
        return Thresholds(min_duplicate=duplicate, min_unsure=min(even_odds, duplicate))

    def evidence_of_strangers(self, share: float, references: int) -> float:
        """Return the evidence that this share of queries, 0 to 1, finds with a stranger among m references."""
        grid = np.linspace(self.evidence[0], self.evidence[-1], 1001)
        reached = self.log_false_match_rate(grid, references) <= math.log(share)
        return float(grid[int(reached.argmax())]) if reached.any() else math.inf

    def recall_at(self, evidence: npt.ArrayLike, references: int) -> Curve:
        """Return R(e, m)."""
        return self._mixed(evidence, self.recall, references)

    def _log_ratio(self, ground: Ground | None) -> float:
        return 0.0 if ground is None else self.proofs.log_ratio(ground)

    def _log_odds_of_precision(self, evidence: npt.ArrayLike, references: int) -> Curve:
        true = np.log(self.prior * np.maximum(self.recall_at(evidence, references), 1e-6))
        return np.asarray(true - self.log_false_match_rate(evidence, references))

    def _spread_at(self, evidence: npt.ArrayLike, references: int) -> Curve:
        if not self.spread:
            return np.zeros_like(np.asarray(evidence, dtype=np.float64))
        return self._mixed(evidence, self.spread, references)

    def _mixed(self, evidence: npt.ArrayLike, curves: Sequence[Sequence[float]], references: int) -> Curve:
        """Return a curve that is given at the levels, between those around m."""
        lower, upper, share, _ = self._between(references)
        ends = [np.interp(np.asarray(evidence, np.float64), self.evidence, curves[level]) for level in (lower, upper)]
        return np.asarray((1 - share) * ends[0] + share * ends[1])

    def _at(self, evidence: Curve, level: int) -> Curve:
        knots, values = np.asarray(self.evidence), np.asarray(self.log_false_matches[level])
        tail = min((values[-1] - values[-2]) / (knots[-1] - knots[-2]), 0.0)
        return np.asarray(np.interp(evidence, knots, values) + tail * np.maximum(evidence - knots[-1], 0.0))

    def _between(self, references: int) -> tuple[int, int, float, float]:
        """Return the levels around m, how far it is from the first to the second, and ln(m / the last) beyond it."""
        m = max(references, 1)
        place = bisect_right(self.levels, m) - 1
        if place == len(self.levels) - 1:
            return place, place, 0.0, math.log(m / self.levels[-1])
        low, high = self.levels[place], self.levels[place + 1]
        return place, place + 1, math.log(m / low) / math.log(high / low), 0.0


def logistics(log_odds: Curve) -> list[float]:
    """Return what `logistic` does of many, to the last bit: numpy has another exponential function."""
    return [1.0 / (1.0 + math.exp(-one)) for one in log_odds.clip(-50.0, 50.0).tolist()]


def logistic(log_odds: float) -> float:
    """Return the probability, 0 to 1, that log-odds stand for."""
    return 1.0 / (1.0 + math.exp(-min(max(log_odds, -50.0), 50.0)))


def _fault(one: Calibration) -> str:
    """Return what is wrong with a calibration; "" if nothing is."""
    k, tables = len(one.evidence), (*one.log_false_matches, *one.spread, *one.recall)
    if k < 2 or any(len(curve) != k for curve in tables):
        return "its curves have different lengths or fewer than 2 knots"
    tables_of = (one.log_false_matches, one.recall, one.shifts, one.spread or one.levels)
    counts = {len(one.levels), *map(len, tables_of)}
    if counts != {len(one.levels)} or one.levels[:1] != (1,):
        return f"levels {one.levels} do not begin with 1, or curves are given for other levels"
    numbers = (*one.evidence, *one.shifts, *(n for curve in tables for n in curve))
    if not all(map(math.isfinite, (*numbers, one.intercept, one.hash_weight, one.cohort_weight))):
        return "a number is not finite"
    if not (np.all(np.diff(one.evidence) > 0) and np.all(np.diff(one.levels) > 0)):
        return "the evidence knots or the levels do not rise"
    if any(bool(np.any(np.diff(curve) > 0)) for curve in (*one.log_false_matches, *one.recall)):
        return "false matches or recall rise with evidence"
    if any(n < 0 for curve in one.spread for n in curve):
        return "a spread is negative"
    if not 0.0 < one.allowance <= 1.0:
        return f"allowance {one.allowance}; wanted above 0 and at most 1"
    if not (0.0 < one.prior < 1.0 and 0.0 < one.slope < math.inf):
        return f"prior {one.prior} and slope {one.slope}; wanted a prior between 0 and 1 and a slope above 0"
    return ""


def parse_calibration(fields: Mapping[str, Any]) -> Calibration:
    """Return the calibration that JSON holds.

    Raises:
        ConfigError: it was measured for evidence without cohorts. msgspec.ValidationError: it is none.
    """
    if "cohort_weight" not in fields:
        version = fields.get("version", "")
        raise ConfigError(f"calibration {version} was measured for evidence without cohorts; run `neardup calibrate`")
    return msgspec.convert(fields, Calibration)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Least evidence for each decision.

    Attributes:
        min_duplicate: from here up the wanted precision is expected.
        min_unsure: from here up a match is more likely than not.
    """

    min_duplicate: float
    min_unsure: float
