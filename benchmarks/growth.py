"""How false matches grow with the number of references: what a calibration predicts from few, against what is counted.

    python -m benchmarks.growth DATA --cache FOLDER [--model default] [--cuts 60000]

Queries and references are those of `benchmarks/precision.py`: edited copies of held-out pictures of the training part
of the split, the whole pictures of that part, and cuts of them. References are drawn in several numbers up to all, m; a
calibration is fitted to the draws of at most m/4 or m/16 references, and predicts for how many queries some stranger
among m reaches a piece of evidence. Printed is that beside the share that was counted, where 3, 1, 0.3 and 0.1 % were.

Ways to predict: *calibration* is that of `learn/calibrate/fit.py`, its fitted tail included; *in proportion* takes the
share to grow as the number of references does; *power law* takes its exponent at each piece of evidence from the draws,
between 0 and 1. A ratio above 1 is too careful, below 1 too bold; its interval is a bootstrap by picture, 95 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.heldout import HELD_OUT
from benchmarks.precision import SKIP, load
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.errors import UsageError
from neardup.pipeline.learn.calibrate.calibrate import collect, grid_of, measure
from neardup.pipeline.learn.calibrate.fit import BOOTSTRAPS, SEED, resample
from neardup.pipeline.learn.calibrate.strangers import Curve, Sample
from neardup.pipeline.learn.shared.pictures import kinds_of, read_labels, source_of, split_held_out

LEAST = 100
"""References from which draws are fitted."""
STEP = 4.0
"""Each number of references is so many times the one before."""
SHARES = (4, 16)
RATES = (0.03, 0.01, 0.003, 0.001)
LEAST_RATE = 1e-6


def levels_up_to(everything: int) -> tuple[int, ...]:
    """Return numbers of references from LEAST on, those before `everything` in steps."""
    steps = int(np.log(everything / LEAST) / np.log(STEP))
    return tuple(round(everything / STEP**step) for step in range(steps, 0, -1))


def up_to(sample: Sample, references: int) -> Sample:
    """Return the sample without draws of more references."""
    kept = sum(level <= references for level in sample.levels)
    return replace(sample, levels=sample.levels[:kept], copies=sample.copies[:kept], strangers=sample.strangers[:kept])


def weights_of(sample: Sample, times: int = BOOTSTRAPS) -> npt.NDArray[np.float64]:
    """Return how much each query counts in the sample and in its bootstraps by picture, (1 + times, n), sums of 1.

    They are those of `fit.resample`, so that two curves of one row are of the same pictures.
    """
    of_picture = np.unique(sample.picture, return_inverse=True)[1]
    pictures = int(of_picture.max()) + 1
    drawn = np.random.default_rng(SEED).multinomial(pictures, np.full(pictures, 1 / pictures), times)
    weights = np.concatenate([np.ones((1, pictures)), drawn])[:, of_picture] * sample.weight
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def counted(sample: Sample, references: int, grid: Curve, weights: npt.NDArray[np.float64]) -> Curve:
    """Return which share of the queries finds a stranger at each grid point, (b, k), without any fit."""
    return np.asarray(weights @ sample.false_rates(references, grid))


def power_law(sample: Sample, references: int, grid: Curve, weights: npt.NDArray[np.float64]) -> Curve:
    """Return that share among more references than were drawn, by the exponent of growth at each grid point, (b, k).

    The exponent is fitted by least squares to the logarithms; where fewer draws than two found anything it is 1.
    """
    rates = np.stack([counted(sample, level, grid, weights) for level in sample.levels])  # (levels, b, k)
    seen = rates > LEAST_RATE
    x = np.log(np.asarray(sample.levels, dtype=np.float64))[:, None, None]
    y = np.log(np.maximum(rates, LEAST_RATE))
    count = np.maximum(seen.sum(axis=0), 1)
    centre_x, centre_y = (x * seen).sum(axis=0) / count, (y * seen).sum(axis=0) / count
    spread = (seen * (x - centre_x) ** 2).sum(axis=0)
    together = (seen * (x - centre_x) * (y - centre_y)).sum(axis=0)
    exponent = np.where(seen.sum(axis=0) > 1, np.clip(together / np.maximum(spread, 1e-9), 0.0, 1.0), 1.0)
    return np.asarray(rates[-1] * (references / sample.levels[-1]) ** exponent)


def predictions(sample: Sample, references: int, grid: Curve) -> Iterator[tuple[str, Curve]]:
    """Yield the ways of predicting, and the shares that they predict, (b, k)."""
    weights = weights_of(sample)
    yield "calibration", np.exp(resample(sample, grid, (references,)).log_false[0])
    yield "in proportion", counted(sample, references, grid, weights)
    yield "power law", power_law(sample, references, grid, weights)


def table(sample: Sample, grid: Curve) -> Iterator[str]:
    """Yield the lines of the table."""
    everything = sample.levels[-1]
    observed = counted(sample, everything, grid, weights_of(sample))
    yield "| fitted up to | predicted by | evidence | counted, % of queries | predicted, % | ratio (95 %) |"
    yield "| ---: | --- | ---: | ---: | ---: | ---: |"
    for share in SHARES:
        fitted = up_to(sample, everything // share)
        for name, predicted in predictions(fitted, everything, grid):
            for rate in RATES:
                at = int(np.argmax(observed[0] <= rate))
                ratio = predicted[:, at] / np.maximum(observed[:, at], LEAST_RATE)
                low, high = np.quantile(ratio[1:], (0.025, 0.975))
                yield (
                    f"| {fitted.levels[-1]:,} (m/{share}) | {name} | {grid[at]:.3f} | {100 * observed[0, at]:.2f} | "
                    f"{100 * predicted[0, at]:.2f} | {ratio[0]:.2f} ({low:.2f} to {high:.2f}) |"
                )


def growth(sample: Sample, grid: Curve) -> Iterator[str]:
    """Yield the lines of a table of what was counted among each number of references."""
    weights = weights_of(sample, 0)
    rates = {level: counted(sample, level, grid, weights)[0] for level in sample.levels}
    places = [int(np.argmax(rates[sample.levels[-1]] <= rate)) for rate in RATES]
    yield "| references | " + " | ".join(f"from {grid[at]:.3f}, %" for at in places) + " |"
    yield "| ---: |" + " ---: |" * len(places)
    for level in sample.levels:
        yield f"| {level:,} | " + " | ".join(f"{100 * rates[level][at]:.2f}" for at in places) + " |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--cuts", type=int, default=60_000)
    parser.add_argument("--cache", type=Path, help="folder that keeps what was described; a later run goes on from it")
    options = parser.parse_args(arguments)
    checkpoint = load_checkpoint(options.model)
    as_split, pictures = load(options.data, "train", None)
    others, held = split_held_out(as_split, HELD_OUT)
    sources = source_of(pictures, [options.data])
    kinds = kinds_of(pictures, sources, read_labels(options.data / "manifest.csv"))
    embedder = make_embedder(checkpoint, threads=2)
    material = collect(embedder, pictures, held, others[SKIP:], sources, kinds, options.cuts, options.cache)
    everything = int(material.pictures.speaks.sum() + material.cuts.speaks.sum())
    if everything < LEAST * STEP ** len(SHARES):
        raise UsageError(f"{everything} references are too few; wanted {LEAST * STEP ** len(SHARES):,.0f} at least")
    weight = float(checkpoint.calibration["hash_weight"])
    sample = measure(material, checkpoint.background, weight, levels_up_to(everything))
    grid = grid_of(sample)
    print(f"{checkpoint.name}: {len(sample.picture):,} queries of {len(np.unique(sample.picture)):,} pictures, "
          f"{everything:,} references; share of the queries that find a stranger")  # fmt: skip
    for lines in (growth(sample, grid), table(sample, grid)):
        print("\n".join(lines), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
