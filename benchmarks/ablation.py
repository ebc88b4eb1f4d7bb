"""The four losses at equal budget: as many steps, pictures, views and edits; only the loss differs.

    python -m benchmarks.ablation DATA --start WEIGHTS.pth --output FOLDER [--steps 400] [--seeds 3]

Every loss is trained once, the two best (micro-AP, normalised) with further seeds. DATA holds the pictures of
`split/train.sha1`; figures are on those of them that are held out, see `neardup/pipeline/train/heldout.py`. It takes
hours: killed, the same command goes on, and runs that are done are read from FOLDER.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from neardup.pipeline.train.heldout import Quality
from neardup.pipeline.train.loop import train
from neardup.pipeline.train.losses import LossName
from neardup.pipeline.train.options import TrainSettings

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
        own = replace(settings, loss=loss, seed=seed, output=output, state=output.with_suffix(".state"))
        told.write_text(json.dumps(dict(train(own).checkpoint.training)))
    record = json.loads(told.read_text())
    return Run(loss, record["start"], record["curve"][-1])


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
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    settings = TrainSettings(
        pictures=(options.data,), output=Path(), state=Path(), init=options.start, steps=options.steps, patience=0,
        evaluate_minutes=1e9, only=SPLIT / "train.sha1", alike=SPLIT / "alike.csv", threads=options.threads,
    )  # fmt: skip
    runs = [run(settings, loss, 0, options.output) for loss in LOSSES]
    best = sorted(runs, key=lambda one: -one.quality["micro_ap"])[:2]
    for loss in LOSSES:
        if loss in {one.loss for one in best}:
            runs += [run(settings, loss, seed, options.output) for seed in range(1, options.seeds)]
    print(f"{options.steps} steps of {settings.batch} pairs\n\n{HEAD}\n| --- |" + " ---: |" * 5)
    print(row("before training", [runs[0].start]))
    for loss in LOSSES:
        print(row(loss, [one.quality for one in runs if one.loss == loss]))


if __name__ == "__main__":
    main()
