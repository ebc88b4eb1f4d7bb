"""The four losses at equal budget: as many steps, pictures, views and edits; only the loss differs.

    python -m benchmarks.ablation DATA --start WEIGHTS.pth --output FOLDER [--steps 120] [--size 96] [--seeds 3]

Every loss is trained once, the two best (micro-AP, normalised) with further seeds: eight runs, of some minutes each.
The budget is steps and not minutes, so that other work on the machine does not matter. DATA holds the pictures of
`split/train.sha1`; figures are on those of them that are held out, see `learn/train/heldout.py`. Killed, the
same command goes on; runs that are done are read from FOLDER, and --done prints them and trains nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from neardup.pipeline.embed.checkpoint import Architecture
from neardup.pipeline.files import write_whole
from neardup.pipeline.learn.train.heldout import Quality
from neardup.pipeline.learn.train.loop import train
from neardup.pipeline.learn.train.losses import LossName
from neardup.pipeline.learn.train.options import TrainSettings

SPLIT = Path(__file__).parent / "split"
LOSSES: tuple[LossName, ...] = ("contrastive", "triplet", "bce", "infonce")
HEAD = "| loss | seeds | micro-AP raw | micro-AP | recall at 90 % precision | recall@1 |"


@dataclass(frozen=True)
class Run:
    """A trained network's figures."""

    loss: str
    start: dict[str, float]
    quality: dict[str, float]


def run(settings: TrainSettings, loss: LossName, seed: int, folder: Path) -> Run:
    """Train, or read what was trained before."""
    output = folder / f"{loss}-{seed}.safetensors"
    told = output.with_suffix(".json")
    if not told.exists():
        print(f"training {output.stem}", file=sys.stderr, flush=True)
        own = replace(settings, loss=loss, seed=seed, output=output, state=output.with_suffix(".state"))
        write_whole(told, json.dumps(dict(train(own).checkpoint.training)).encode())
    return read(told)


def read(told: Path) -> Run:
    """Return what a record tells."""
    record = json.loads(told.read_text())
    return Run(record["loss"], record["start"], record["curve"][-1])


def row(name: str, points: list[dict[str, float]]) -> str:
    """Return a row of the table: mean and, of several, standard deviation."""
    cells = []
    for key in Quality.__slots__:
        values = [point[key] for point in points]
        cells.append(f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""))
    return f"| {name} | {len(points)} | " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--start", type=Path, required=True, help="state dict of the untrained trunk")
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints and records")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--size", type=int, default=96, help="of the tiles, in training and for the figures")
    parser.add_argument("--held-out", type=int, default=300)
    parser.add_argument("--done", action="store_true", help="print what there is, train nothing")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    settings = TrainSettings(
        pictures=(options.data,), output=Path(), state=Path(), init=options.start, steps=options.steps, patience=0,
        evaluate_minutes=1e9, only=SPLIT / "train.sha1", alike=SPLIT / "alike.csv", threads=options.threads,
        architecture=Architecture(size=options.size), early_size=options.size, held_out=options.held_out,
        background=400, save_minutes=0.5,
    )  # fmt: skip
    if options.done:
        runs = [read(told) for told in sorted(options.output.glob("*-*.json"))]
    else:
        runs = [run(settings, loss, 0, options.output) for loss in LOSSES]
        best = {one.loss for one in sorted(runs, key=lambda one: -one.quality["micro_ap"])[:2]}
        # One more seed of each, then the next: an end in between leaves as many of both.
        for seed in range(1, options.seeds):
            runs += [run(settings, loss, seed, options.output) for loss in LOSSES if loss in best]
    if not runs:
        raise SystemExit(f"nothing is done in {options.output}")
    steps = {int(one.quality["step"]) for one in runs}
    print(f"{', '.join(map(str, sorted(steps)))} steps of {settings.batch} pairs at {options.size} pixels\n")
    print(f"{HEAD}\n| --- |" + " ---: |" * 5)
    print(row("before training", [runs[0].start]))
    for loss in LOSSES:
        if points := [one.quality for one in runs if one.loss == loss]:
            print(row(loss, points))


if __name__ == "__main__":
    main()
