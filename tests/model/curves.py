"""From evidence to decisions in the world of the model, by the formulas of docs/quality.md in plain arithmetic.

    precision above e among m references  =  π R(e) / (π R(e) + G(e, m)),   G(e, m) = m G(e, 1)
    log-odds of a match                   =  intercept + slope · e − ln m + ln(what the proof found)

The product takes thresholds from a grid, so evidence that is near one is no case: `Unclear`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import msgspec

from neardup.pipeline.match.decide.calibration import Calibration, ProofRates
from neardup.pipeline.prove.finding import Ground
from neardup.pipeline.types import Decision
from tests.pipeline.match.build import a_calibration

REFERENCES = 2048
"""What a young index counts as: 2,000, rounded up."""
PRIOR, SLOPE, BEND, FALL = 0.1, 60.0, 0.827, 300.0
"""Of the hand-made curves: false matches fall by e^-300 for each unit of evidence above the bend."""
COPIES = {Ground.AGREES: 960, Ground.NO_TRANSFORM: 40}
STRANGERS = {Ground.AGREES: 3, Ground.NO_TRANSFORM: 997}
NEAR = 0.0012
PRECISIONS = (0.5, 0.99, 0.99999)
UNSURE_FROM = (0.80, 0.875)
"""Even odds of the two calibrations."""


class Unclear(Exception):
    """The world does not say: a value is too near to a threshold, or two values to each other."""


def reaches(value: float, least: float) -> bool:
    """Whether a value is at least so much; unclear if it is near."""
    if abs(value - least) < NEAR:
        raise Unclear(f"{value} is near {least}")
    return value >= least


def found_by_proof(ground: Ground | None) -> float:
    """What a finding adds to the log-odds: how much more often copies are so proved than strangers, half a pair added.

    What is no proved copy adds nothing.
    """
    if ground is None:
        return 0.0
    copies, strangers = (
        (counts.get(ground, 0) + 0.5) / (sum(counts.values()) + 0.5 * len(Ground)) for counts in (COPIES, STRANGERS)
    )
    ratio = math.log(copies / strangers)
    return ratio if ground is Ground.AGREES else min(ratio, 0.0)


class Curves:
    """One calibration at one precision; `chances` are the references that an item was compared with, rounded up."""

    def __init__(self, unsure_from: float, precision: float) -> None:
        self._intercept = math.log(REFERENCES) - SLOPE * unsure_from
        self._precision = precision
        self._duplicate_from = lru_cache(None)(self._find_duplicate_from)

    def log_odds(self, evidence: float, ground: Ground | None = None, chances: int = REFERENCES) -> float:
        """See above."""
        return self._intercept + SLOPE * evidence - math.log(rounded(chances)) + found_by_proof(ground)

    def probability(self, evidence: float, ground: Ground | None = None, chances: int = REFERENCES) -> float:
        """Probability is evidence and proof after calibration."""
        return 1 / (1 + math.exp(-self.log_odds(evidence, ground, chances)))

    def decide(self, evidence: float, ground: Ground | None = None, chances: int = REFERENCES) -> Decision:
        """A duplicate where the wanted precision is reached, of proved ones by a copy only; unsure from even odds."""
        chances = rounded(chances)
        if ground in (None, Ground.AGREES) and reaches(evidence, self._duplicate_from(ground, chances)):
            return Decision.DUPLICATE
        return Decision.UNSURE if reaches(evidence, self._even(ground, chances)) else Decision.DISTINCT

    def proposes(self, evidence: float, chances: int = REFERENCES) -> bool:
        """What is unsure, or would be a duplicate if proved a copy, unless three strangers in ten are."""
        chances = rounded(chances)
        strangers = least(lambda e: _log_false(e, chances) <= math.log(0.3))
        proposed = max(self._duplicate_from(Ground.AGREES, chances), strangers)
        return reaches(evidence, min(self._even(None, chances), self._duplicate_from(None, chances), proposed))

    def alike(self, evidence: float, chances: int = 1) -> bool:
        """Whether it is more than distinct; two frames that were not picked out of many vote for each other then."""
        return self.decide(evidence, None, chances) is not Decision.DISTINCT

    def chance(self, evidence: float) -> float:
        """How likely a stranger reaches so much with a given picture."""
        return math.exp(_log_false(evidence, 1))

    def _even(self, ground: Ground | None, chances: int) -> float:
        return (math.log(chances) - self._intercept - found_by_proof(ground)) / SLOPE

    def _find_duplicate_from(self, ground: Ground | None, chances: int) -> float:
        wanted = math.log(self._precision / (1 - self._precision)) - found_by_proof(ground)
        return least(lambda e: math.log(PRIOR * _recall(e)) - _log_false(e, chances) >= wanted)


def rounded(chances: int) -> int:
    """Return the next quarter power of two: thresholds are made for these."""
    return next(math.ceil(2 ** (n / 4)) for n in range(200) if 2 ** (n / 4) >= chances)


def least(enough: Callable[[float], bool]) -> float:
    """Return the least evidence from which something holds, by halving."""
    low, high = 0.5, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _log_false(evidence: float, chances: int) -> float:
    return math.log(chances) - FALL * max(evidence - BEND, 0.0)


def _recall(evidence: float) -> float:
    if evidence <= BEND:
        return 1.0 - 0.2 * (evidence - 0.5) / (BEND - 0.5)
    return 0.8 - 0.3 * (evidence - BEND) / (1 - BEND)


def calibration(unsure_from: float) -> Calibration:
    """Return the same curves as the product knows them."""
    made = a_calibration(slope=SLOPE, intercept=math.log(REFERENCES) - SLOPE * unsure_from)
    return msgspec.structs.replace(made, proofs=ProofRates(copies=COPIES, strangers=STRANGERS))


ENCODED = {unsure_from: msgspec.msgpack.encode(calibration(unsure_from)) for unsure_from in UNSURE_FROM}
CALIBRATIONS = {
    (encoded, precision): Curves(unsure_from, precision)
    for unsure_from in UNSURE_FROM
    for encoded in (ENCODED[unsure_from], *([b""] if unsure_from == UNSURE_FROM[0] else []))
    for precision in PRECISIONS
}
"""By what a `Calibrated` holds, b"" for the first, and by precision."""
