"""Verification: is this the same person, the same writer? Yes or no, by a threshold on a pair's score.

A threshold makes two kinds of mistakes. The false-accept rate (FAR) is the share of impostor pairs whose score reaches
it, the false-reject rate (FRR) the share of genuine pairs below it. The ROC is all thresholds; the equal error rate
(EER) is where the two rates meet. Pairs of one person are not independent, so intervals come from drawing *people*.

Source: the rates are those of ISO/IEC 19795-1; drawing people, as Poh and Bengio 2007 (doi:10.1109/TPAMI.2007.55).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import UsageError

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Scored pairs, higher is more alike.

    Attributes:
        score: float (p,). genuine: bool (p,), whether the two are of one person.
        a, b: int64 (p,), whose each of the two is; of a forgery, whom it imitates.
    """

    score: npt.NDArray[np.floating[Any]]
    genuine: npt.NDArray[np.bool_]
    a: Numbers
    b: Numbers


class Roc:
    """The two error rates at every threshold."""

    def __init__(self, pairs: Pairs, weight: Floats | None = None) -> None:
        """Sort.

        Args:
            weight: float (p,), how often each pair counts; once without it.
        Raises:
            UsageError: there are no genuine or no impostor pairs.
        """
        given = np.ones(len(pairs.score)) if weight is None else weight
        order = np.argsort(-pairs.score, kind="stable")
        score, genuine, given = pairs.score[order].astype(np.float64), pairs.genuine[order], given[order]
        accepted, passed = np.cumsum(given * genuine), np.cumsum(given * ~genuine)
        if not len(score) or accepted[-1] <= 0 or passed[-1] <= 0:
            raise UsageError("a rate of errors needs both genuine and impostor pairs")
        last = np.append(score[1:] < score[:-1], True)  # a threshold takes all pairs of its score
        self.threshold: Floats = np.concatenate(([np.inf], score[last]))
        self.false_accept: Floats = np.concatenate(([0.0], passed[last] / passed[-1]))
        self.false_reject: Floats = np.concatenate(([1.0], 1 - accepted[last] / accepted[-1]))

    @cached_property
    def _crossing(self) -> tuple[int, float]:
        """Return the first threshold at which FAR reaches FRR, and how far the rates cross on the way to it, 0 to 1."""
        gap = self.false_accept - self.false_reject
        place = int(np.argmax(gap >= 0))  # it begins at -1 and ends at 1
        return place, float(-gap[place - 1] / (gap[place] - gap[place - 1]))

    @property
    def equal_error_rate(self) -> float:
        """Where FAR and FRR meet, on the straight line between the two thresholds around that; 0 to 1."""
        place, share = self._crossing
        return float(self.false_accept[place - 1] * (1 - share) + self.false_accept[place] * share)

    @property
    def equal_error_threshold(self) -> float:
        """The least score that is accepted at the equal error rate."""
        return float(self.threshold[self._crossing[0]])

    def true_accept_at(self, false_accept: float) -> float:
        """Return the highest share of genuine pairs accepted by a threshold with at most this FAR."""
        return float(1 - self.false_reject[self._last(false_accept)])

    def threshold_at(self, false_accept: float) -> float:
        """Return the lowest threshold with at most this FAR; inf where only rejecting everything has it."""
        return float(self.threshold[self._last(false_accept)])

    def curve(self, points: int = 200) -> tuple[list[float], list[float]]:
        """Return FAR and the share of genuine pairs accepted, from the strictest threshold on."""
        chosen = np.unique(np.linspace(0, len(self.threshold) - 1, points).astype(int))
        return self.false_accept[chosen].tolist(), (1 - self.false_reject[chosen]).tolist()

    def _last(self, false_accept: float) -> int:
        return int(np.searchsorted(self.false_accept, false_accept + 1e-12, side="right")) - 1


def interval(pairs: Pairs, rounds: int = 1000, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the equal error rate over people.

    Each round draws as many people as there are, with replacement. A pair of one person counts as often as that one
    was drawn, a pair of two as often as the one times the other.
    """
    people, place = np.unique(np.concatenate((pairs.a, pairs.b)), return_inverse=True)
    a, b = place[: len(pairs.a)], place[len(pairs.a) :]
    rng = np.random.default_rng(seed)
    rates: list[float] = []
    while len(rates) < rounds:
        drawn = np.bincount(rng.integers(0, len(people), len(people)), minlength=len(people)).astype(np.float64)
        weight = np.where(a == b, drawn[a], drawn[a] * drawn[b])
        if (weight * pairs.genuine).any() and (weight * ~pairs.genuine).any():
            rates.append(Roc(pairs, weight).equal_error_rate)
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def all_pairs(
    scores: npt.NDArray[np.floating[Any]], people: Numbers, forged: npt.NDArray[np.bool_] | None = None
) -> Pairs:
    """Return all unordered pairs of n pictures.

    Args:
        scores: (n, n), of which the upper triangle is read. people: int64 (n,), who each shows.
        forged: bool (n,), imitations: against genuine ones of their person impostors; pairs of two are left out.
    """
    a, b = np.triu_indices(len(people), 1)
    false = np.zeros(len(people), dtype=np.bool_) if forged is None else forged
    kept = ~(false[a] & false[b])
    a, b = a[kept], b[kept]
    return Pairs(scores[a, b], (people[a] == people[b]) & ~false[a] & ~false[b], people[a], people[b])


def take(pairs: Pairs, which: npt.NDArray[np.bool_]) -> Pairs:
    """Return some of the pairs; `which` is bool (p,)."""
    return Pairs(pairs.score[which], pairs.genuine[which], pairs.a[which], pairs.b[which])
