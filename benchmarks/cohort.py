"""What the cohort and the hash are worth: recall of copies at a precision, among references drawn in several numbers.

    python -m benchmarks.cohort DATA [--model default] [--cuts 20000 --cache FOLDER]

Queries and references are those of a calibration: edited copies of held-out pictures of the training part of the split,
the whole pictures of that part, and cuts of them. Printed is the recall, in percent, from the evidence on where the
precision is as named, with one copy among ten queries. Rows: weights of cohort and hash; 0 and 0 is similarity alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.heldout import HELD_OUT
from benchmarks.precision import SKIP, load
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.learn.calibrate.calibrate import PRIOR, collect, grid_of
from neardup.pipeline.learn.calibrate.fit import resample
from neardup.pipeline.learn.calibrate.strangers import Sample, count_strangers
from neardup.pipeline.learn.shared.pictures import kinds_of, read_labels, source_of, split_held_out
from neardup.pipeline.match.decide.evidence import Evidence

LEVELS = (100, 2000, 10_000)
PRECISIONS = (0.9, 0.99)
COHORT_WEIGHTS = (0.0, 0.7, 1.0)
HASH_WEIGHTS = (0.0, 0.15, 0.3)


def recalls(sample: Sample, level: int) -> list[float]:
    """Return the recall at each of PRECISIONS among so many references."""
    curves = resample(sample, grid_of(sample), (level,), 0)
    odds = curves.log_odds[0, 0] - np.log(PRIOR)
    found = []
    for precision in PRECISIONS:
        enough = np.flatnonzero(odds <= np.log(1 / precision - 1))
        found.append(float(np.exp(curves.log_recall[0, 0, enough[0]])) if enough.size else 0.0)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--cuts", type=int, default=20_000)
    parser.add_argument("--cache", type=Path, help="folder that keeps what was described; a later run goes on from it")
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.model)
    as_split, pictures = load(options.data, "train", None)
    others, held = split_held_out(as_split, HELD_OUT)
    sources = source_of(pictures, [options.data])
    kinds = kinds_of(pictures, sources, read_labels(options.data / "manifest.csv"))
    embedder = make_embedder(checkpoint)
    material = collect(embedder, pictures, held, others[SKIP:], sources, kinds, options.cuts, options.cache)
    head = " | ".join(f"{level:,}, {100 * one:g} %" for level in LEVELS for one in PRECISIONS)
    print(f"| cohort weight | hash weight | {head} |\n| ---: | ---: |{' ---: |' * len(LEVELS) * len(PRECISIONS)}")
    for cohort_weight in COHORT_WEIGHTS:
        for hash_weight in HASH_WEIGHTS:
            rule = Evidence(checkpoint.background, hash_weight, cohort_weight)
            sample = count_strangers(rule, material.queries, material.pictures, material.cuts, material.own, LEVELS)
            row = [f"{100 * one:.1f}" for level in LEVELS for one in recalls(sample, level)]
            print(f"| {cohort_weight} | {hash_weight} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
