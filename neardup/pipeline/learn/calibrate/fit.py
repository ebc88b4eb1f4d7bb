"""From counts to a calibration: curves with a fitted tail, and how far they can be trusted.

Beyond the evidence that hardly any query finds a stranger with, false matches are few and the curve is continued as an
exponential whose rate is fitted to what exceeds it (peaks over a threshold; Pickands 1975, doi:10.1214/aos/1176343003,
with shape 0: evidence is bounded, so the true tail ends sooner). Peaks are those of a query's strongest stranger, since
the strangers of one query come together. They are taken among all references, where there are most of them; among fewer
references the tail falls at the same rate.

Beyond the largest number of references m that was drawn, false matches grow as a power of m, whose exponent is fitted
to the draws: a union bound would have them grow as m does, but more references are more neighbours, too, that a query
is measured against. The exponent is trusted as far beyond the draws as they reach; from there on it is 1.

Three things make the spread: which pictures happened to be measured (bootstrap by picture, not by query); that other
sources differ from those measured by more than that (variance between sources, the excess over the bootstrap's); and
that another source may be all of one kind. Look-alikes are of the query's own kind, so a catalogue of one kind has many
times those of a mixed collection: how many times is bounded by what each kind here shows, and is where the interval
ends (SDS standard deviations), which is then no statement about chance alone but allows for that worst case.
Few sources say little about how sources differ; `ASSUMED_SPREAD` stands for what is not known yet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import UsageError
from neardup.pipeline.learn.calibrate.strangers import MIN_KIND, OF_ONE_KIND, Curve, Sample
from neardup.pipeline.match.decide.calibration import SDS, Calibration

KNOTS = 48
ALLOWANCE = 0.05
"""See `Calibration.allowance`: with more, more look-alikes were called `duplicate` than before there were cohorts."""
LEVELS = (1, 10, 100, 1000, OF_ONE_KIND, 10_000, 100_000, 1_000_000, 10_000_000)
GROWING = 100
"""References from which on growth is fitted: among fewer, evidence is measured against the background."""
LEAST_REACH = 10.0
"""How many times as many references the largest draw must have as the first, for growth to be fitted."""
GROWTH_RATES = (1e-3, 3e-2)
"""Share of queries with a false match, between which growth is fitted."""
TAIL_SHARE = 0.05
"""Of the queries, those whose strongest stranger lies in the fitted tail, ..."""
MIN_PEAKS = 30
"""... and how many there must be at least."""
BOOTSTRAPS = 200
LEAST_RECALL = 1e-3
MIN_SOURCE = 30
"""Pictures from which a source counts as one."""
ASSUMED_SPREAD, ASSUMED_WEIGHT = 0.8, 3.0
"""Standard deviation of ln(false / true) between sources before any was seen, worth so many degrees of freedom."""
DECIDING = (1e-4, 3e-2)
"""Share of queries with a false match, between which sources are compared: where thresholds lie."""
SEED = 20261125


@dataclass(frozen=True, slots=True)
class Curves:
    """G and R of one set of pictures; b resamplings of them, the first as they are.

    Attributes:
        log_false, log_recall: ln G and ln R, (levels, b, k).
        tail: the grid point from which G is an exponential.
    """

    log_false: Curve
    log_recall: Curve
    tail: int

    @property
    def log_odds(self) -> Curve:
        """ln(G / R), (levels, b, k)."""
        return self.log_false - self.log_recall


def fit(
    sample: Sample, grid: Curve, prior: float, weights: tuple[float, float], source: str, space: str = ""
) -> Calibration:
    """Return the calibration of what was counted, on a rising grid of evidence, (k,).

    Raises:
        UsageError: hardly any query found a stranger.
    """
    resampled = resample(sample, grid, LEVELS)
    log_false, recall = resampled.log_false[:, 0], np.exp(resampled.log_recall[:, 0])
    recall[recall < 1.1 * LEAST_RECALL] = 0.0
    chance, sources = resampled.log_odds[:, 1:].std(axis=1), between_sources(sample, grid, LEVELS, log_false)
    denser = log_denser(sample, grid, resampled, LEVELS) / SDS
    spread = np.sqrt(chance**2 + sources**2 + denser**2)
    spread = _no_worse_with_fewer(log_false, spread)
    slope, intercept, shifts = fit_log_odds(grid, log_false, recall, prior)
    keep = np.unique(np.linspace(0, len(grid) - 1, KNOTS).round().astype(int))
    numbers = {
        "space": space,
        "prior": prior,
        "hash_weight": weights[0],
        "cohort_weight": weights[1],
        "evidence": _rounded(grid[keep]),
        "levels": LEVELS,
        "log_false_matches": tuple(map(_rounded, log_false[:, keep])),
        "recall": tuple(map(_rounded, recall[:, keep])),
        "spread": tuple(map(_rounded, spread[:, keep])),
        "slope": round(slope, 6),
        "intercept": round(intercept, 6),
        "shifts": _rounded(shifts),
        "allowance": ALLOWANCE,
        "queries": int(sample.copying.sum()),
        "references": sample.levels[-1],
    }
    return versioned({"source": source, **numbers})


def _no_worse_with_fewer(log_false: Curve, spread: Curve) -> Curve:
    """Return the spread, less where the bound of more references is better: fewer have no more false matches."""
    fear = log_false + SDS * spread
    fear = np.minimum.accumulate(fear[::-1], axis=0)[::-1]
    return np.asarray((fear - log_false) / SDS)


def versioned(fields: dict[str, object]) -> Calibration:
    """Return a calibration of these fields, its version the hash of all but the source."""
    numbers = {name: value for name, value in fields.items() if name not in ("source", "version")}
    version = hashlib.sha256(msgspec.json.encode(numbers, order="sorted")).hexdigest()[:8]
    return msgspec.convert({**fields, "version": version}, Calibration)


def recall_at(sample: Sample, grid: Curve, precision: float, prior: float) -> float:
    """Return the recall where the expected precision begins to be as wanted, among all references counted."""
    curves = resample(sample, grid, sample.levels[-1:], 0)
    odds = curves.log_odds[0, 0] - np.log(prior)
    enough = np.flatnonzero(odds <= np.log(1 / precision - 1))
    return float(np.exp(curves.log_recall[0, 0, enough[0]])) if enough.size else 0.0


def log_denser(sample: Sample, grid: Curve, curves: Curves, levels: tuple[int, ...]) -> Curve:
    """Return a bound of ln of how often as many false matches there are among references of one kind, (levels, k).

    It is 0 at least, and where no kind has MIN_KIND pictures. How often is measured as far as enough queries find a
    stranger, and taken to be the same in the tail; kinds are small, so the number is that of what was counted times as
    many. Beyond OF_ONE_KIND references the further ones are mixed: the larger of the two parts is taken, which leaves
    out a factor of two at most.
    """
    log_false = curves.log_false[:, 0]
    told = sample.take(sample.kindred_of >= MIN_KIND)
    if not len(told.kindred):
        return np.zeros_like(log_false)
    last = max(i for i, level in enumerate(levels) if level <= OF_ONE_KIND)
    rates = [np.average(told.false_rates_of_one_kind(m, grid), axis=0, weights=told.weight) for m in levels[: last + 1]]
    of_one_kind = np.log(np.clip(rates, 1e-12, 1.0))
    more = of_one_kind[:, curves.tail] - log_false[: last + 1, curves.tail]
    of_one_kind[:, curves.tail :] = more[:, None] + log_false[: last + 1, curves.tail :]
    among = np.minimum(np.arange(len(levels)), last)
    return np.asarray(np.maximum(of_one_kind[among] - log_false, 0.0))


def resample(sample: Sample, grid: Curve, levels: tuple[int, ...], times: int = BOOTSTRAPS) -> Curves:
    """Return the curves of the sample, and of as many samples drawn from its pictures with replacement."""
    of_picture = np.unique(sample.picture, return_inverse=True)[1]
    pictures = int(of_picture.max()) + 1
    resampled = np.random.default_rng(SEED).multinomial(pictures, np.full(pictures, 1 / pictures), times)
    weights = np.concatenate([np.ones((1, pictures)), resampled])  # (b, pictures)

    def mean(values: Curve, counted: npt.NDArray[np.bool_]) -> Curve:
        """Return the mean over queries of (n, k), each picture with its weight: (b, k)."""
        sums, sizes = np.zeros((pictures, values.shape[1])), np.zeros(pictures)
        np.add.at(sums, of_picture[counted], (sample.weight[:, None] * values)[counted])
        np.add.at(sizes, of_picture[counted], sample.weight[counted])
        return np.asarray(weights @ sums / np.maximum(weights @ sizes, 1e-9)[:, None])

    everyone = np.ones(len(sample.kindred), dtype=np.bool_)
    recall = [mean(sample.recalls(level, grid), sample.copying) for level in levels]
    drawn = {level: mean(sample.false_rates(level, grid), everyone) for level in sample.levels}
    among_all = drawn[sample.levels[-1]]
    grown = growth(drawn)
    false = []
    for level in levels:
        nearest = sample.levels[sample.level(level)]
        more = grown(level) if nearest == sample.levels[-1] else np.full(len(weights), level / nearest)
        false.append(np.minimum(drawn[nearest] * more[:, None], 1.0))
    start = _tail_start(among_all[0], len(sample.kindred))
    excess = _mean_excess(among_all, grid, start)
    tailed = np.stack([_with_tail(one, grid, start, excess) for one in false])
    log_false = np.maximum.accumulate(tailed, axis=0)  # more references, more false matches
    return Curves(log_false, np.log(np.maximum(recall, LEAST_RECALL)), start)


def growth(drawn: Mapping[int, Curve]) -> Callable[[int], Curve]:
    """Return how many times as many false matches there are among references than in the largest draw, (b,).

    Among more references than were drawn, they grow as fitted; among fewer, in proportion.

    Args:
        drawn: for each number of references, rising, which share of the queries finds a stranger, (b, k).
    """
    levels = [level for level in drawn if level >= GROWING]
    most = max(drawn)
    reach = most / levels[0] if levels else 1.0
    exponent = _exponent(np.stack([drawn[level] for level in levels]), levels) if reach >= LEAST_REACH else 1.0

    def times_as_many(references: int) -> Curve:
        more = references / most
        if more <= 1.0:
            return np.full(len(drawn[most]), more)
        trusted = min(more, reach)
        return np.asarray(trusted**exponent * (more / trusted) * np.ones(len(drawn[most])))

    return times_as_many


def _exponent(rates: Curve, levels: Sequence[int]) -> Curve:
    """Return the power of the number of references by which shares (levels, b, k) grow, 0 to 1, (b,).

    It is the slope of a line through logarithms, of shares relative to those of the last level, where a stranger is
    found by few queries, as where thresholds lie, but not by hardly any. Where nothing is found it is 1.
    """
    few = (rates[-1, 0] >= GROWTH_RATES[0]) & (rates[-1, 0] <= GROWTH_RATES[1])
    if not few.any():
        return np.ones(rates.shape[1])
    relative = (rates[:, :, few] / rates[-1, 0, few]).mean(axis=2)  # (levels, b)
    x = np.log(np.asarray(levels, dtype=np.float64))
    x -= x.mean()
    slope = x @ np.log(np.maximum(relative, 1e-6)) / (x @ x)
    return np.asarray(np.clip(slope, 0.0, 1.0))


def _tail_start(false: Curve, queries: int) -> int:
    """Return the grid point from which the tail is fitted."""
    share = max(TAIL_SHARE, MIN_PEAKS / queries)
    inside = np.flatnonzero((false <= share) & (false > 0))
    if not inside.size:
        raise UsageError(f"of {queries} queries hardly any found a stranger that it resembles; wanted more pictures")
    return int(inside[0])


def _mean_excess(false: Curve, grid: Curve, start: int) -> Curve:
    """Return how far peaks beyond the start reach on average, by the curves (b, k): (b,).

    It is the area under a curve beyond the start; half a step as peaks lie within a cell.
    """
    step = grid[1] - grid[0]
    at = np.maximum(false[:, start], 1e-12)
    return np.asarray(np.maximum((false[:, start:].sum(axis=1) - false[:, start] / 2) * step / at, step))


def _with_tail(false: Curve, grid: Curve, start: int, excess: Curve) -> Curve:
    """Return ln of curves (b, k), from the start on an exponential with this mean excess (b,)."""
    at = np.maximum(false[:, start], 1e-12)
    tail = np.log(at)[:, None] - (grid[start:] - grid[start]) / excess[:, None]
    body = np.log(np.maximum(false[:, :start], at[:, None]))
    return np.concatenate([body, tail], axis=1)


def between_sources(sample: Sample, grid: Curve, levels: tuple[int, ...], log_false: Curve) -> float:
    """Return the standard deviation of ln(G / R) that another source has around the curve of those measured."""
    deviations, within = [], []
    pooled = resample(sample, grid, levels, 0).log_odds[:, 0]
    deciding = (log_false > np.log(DECIDING[0])) & (log_false < np.log(DECIDING[1]))
    deciding &= np.asarray(levels)[:, None] >= min(1000, levels[-1])
    for source in np.unique(sample.source):
        mine = sample.take(sample.source == source)
        if len(np.unique(mine.picture)) < MIN_SOURCE or not deciding.any():
            continue
        try:
            curves = resample(mine, grid, levels).log_odds
        except UsageError:  # its queries found nothing: it is at least no worse than the others
            continue
        deviations.append(((curves[:, 0] - pooled)[deciding]).mean())
        within.append(curves[:, 1:].mean(axis=(0, 2)).var())
    freedom = max(len(deviations) - 1, 0)
    excess = 0.0
    if freedom:
        excess = max(float(np.var(deviations, ddof=1)) - float(np.mean(within)), 0.0)
    variance = (ASSUMED_WEIGHT * ASSUMED_SPREAD**2 + freedom * excess) / (ASSUMED_WEIGHT + freedom)
    return float(np.sqrt(variance * (1 + 1 / max(len(deviations), 1))))


def fit_log_odds(grid: Curve, log_false: Curve, recall: Curve, prior: float) -> tuple[float, float, Curve]:
    """Return slope, intercept and shifts by logistic regression: one slope, and one line for each level.

    With more references no match is likelier, whatever chance makes of the draws.

    Each cell of the grid holds copies and false matches as the curves say. Only cells count where few queries find a
    stranger: elsewhere the answer is not in doubt, and a straight line fitted there would be wrong where it is.
    """
    false = np.exp(log_false)
    x = np.tile((grid[1:] + grid[:-1]) / 2, len(false))
    level = np.repeat(np.arange(len(false)), len(grid) - 1)
    copies = (-prior * np.diff(recall, axis=1)).ravel()
    strangers = -np.diff(false, axis=1).ravel()
    counted = (false[:, :-1] <= np.maximum(0.1 * false[:, :1], 0.1)).ravel() & (copies + strangers > 0)
    x, level, copies, strangers = x[counted], level[counted], copies[counted], strangers[counted]
    mass = copies + strangers
    weight, share = mass / np.bincount(level, mass, len(false))[level], copies / mass
    centre = x.mean()
    design = np.column_stack([x - centre, np.eye(len(false))[level]])
    beta = np.zeros(design.shape[1])
    ridge = 1e-6 * np.eye(len(beta))
    for _ in range(200):
        p = 1.0 / (1.0 + np.exp(-design @ beta))
        gradient = design.T @ (weight * (share - p)) - ridge @ beta
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + ridge
        step = np.clip(np.linalg.solve(hessian, gradient), -5.0, 5.0)
        beta += step
        if np.abs(step).max() < 1e-8:
            break
    lines = beta[1:] - beta[0] * centre
    return float(beta[0]), float(lines[0]), np.maximum.accumulate(lines[0] - lines)


def _rounded(values: Curve) -> tuple[float, ...]:
    return tuple(np.round(values, 5).tolist())
