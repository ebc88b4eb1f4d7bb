"""Faces and signatures of people that training never saw: equal error rate with an interval, and the ROC.

    python -m benchmarks.verification DATA --output FOLDER [--start WEIGHTS.pth] [--steps 60]

Trains a network for each (`neardup train --classes`, from the default checkpoint) unless FOLDER holds it, and compares
it on the test people with what it started from. `identities.py` says who is for testing. Killed, the same command goes
on. Writes FOLDER/faces.safetensors, FOLDER/signatures.safetensors and FOLDER/roc.svg.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.identities import SOURCES, lay_out
from neardup.pipeline.embed.checkpoint import Architecture, load_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.embed.network import read_trunk
from neardup.pipeline.learn.shared.chart import Chart, Line
from neardup.pipeline.learn.shared.pairs import Relations, find_relations
from neardup.pipeline.learn.shared.pictures import load_pictures, squeeze
from neardup.pipeline.learn.shared.verification import Pairs, Roc, all_pairs, interval, take
from neardup.pipeline.learn.train.loop import Progress, train
from neardup.pipeline.learn.train.options import TrainSettings
from neardup.pipeline.match.query.verify import pair_scores, read_verifier
from neardup.pipeline.types import Descriptors, Pixels

HEAD = "| | equal error rate | 95 % interval | accepted at FAR 10 % | at 1 % | at 0.1 % |\n| --- |" + " ---: |" * 5
FALSE_ACCEPT = (0.1, 0.01, 0.001)
STYLE = (
    "<style>svg{background:#fff;font:13px sans-serif}.grid{stroke:#ddd}.line{fill:none;stroke-width:2}"
    ".c0{stroke:#0969da}.c1{stroke:#cf222e}.c2{stroke:#1a7f37}.c3{stroke:#8250df}.c4{stroke:#bc4c00}.c5{stroke:#57606a}"
    ".dot{fill:none}.tick,.axis{fill:#444}</style>"
)


@dataclass(frozen=True)
class Tested:
    """Pictures of test people, as tiles, and who each shows."""

    tiles: Pixels
    relations: Relations

    def pairs(self, vectors: Descriptors, background: Descriptors) -> Pairs:
        """Return all pairs, scored."""
        scores = pair_scores(vectors, vectors, background)
        return all_pairs(scores, self.relations.labels, self.relations.forged)


def load_tested(folder: Path, size: int) -> Tested:
    """Read a folder of people."""
    pictures = load_pictures([folder], 200)
    relations, pictures = find_relations(pictures, [folder], classes=True)
    return Tested(np.stack([squeeze(pixels, size) for pixels in pictures.pixels]), relations)


def train_on(folder: Path, output: Path, steps: int, threads: int) -> None:
    """Train, unless that was done."""
    if output.exists() and not output.with_suffix(".state").exists():
        return
    settings = TrainSettings(
        pictures=(folder,), output=output, state=output.with_suffix(".state"), classes=True, loss="infonce",
        steps=steps, held_out=60, patience=0, evaluate_minutes=1.0, save_minutes=0.5, threads=threads,
    )  # fmt: skip

    def tell(progress: Progress) -> None:
        print(f"{output.stem} step {progress.step} {progress.loss:.3f} {progress.quality or ''}", flush=True)

    train(settings, tell)


def untrained(weights: Path, tiles: Pixels) -> Descriptors:
    """Return what the trunk says of tiles as it was before any training here, GeM-pooled."""
    network = read_trunk(weights, Architecture())
    with torch.inference_mode():
        rows = torch.cat([network.features(torch.from_numpy(tiles[i : i + 16])) for i in range(0, len(tiles), 16)])
    return torch.nn.functional.normalize(rows, dim=1).numpy()


def systems(tested: Tested, start: Path | None, model: Path) -> dict[str, Pairs]:
    """Return the scored pairs of each system."""
    found = {}
    if start:
        rows = untrained(start, tested.tiles)
        found["untrained trunk"] = tested.pairs(rows, np.zeros((0, rows.shape[1]), np.float32))
    for name in ("default", str(model)):
        checkpoint = load_checkpoint(name)
        vectors = make_embedder(checkpoint, "cpu", threads=1).embed(tested.tiles).vectors
        found[Path(name).stem] = tested.pairs(vectors, checkpoint.background)
    return found


def row(name: str, pairs: Pairs) -> str:
    """Return a row of the table."""
    roc, (low, high) = Roc(pairs), interval(pairs, rounds=400)
    accepted = " | ".join(f"{roc.true_accept_at(rate):.3f}" for rate in FALSE_ACCEPT)
    return f"| {name} | {roc.equal_error_rate:.3f} | {low:.3f} to {high:.3f} | {accepted} |"


def told(pairs: Pairs) -> str:
    """Return what was counted."""
    people = len(np.unique(np.concatenate((pairs.a, pairs.b))))
    return f"{people} people, {pairs.genuine.sum():,} genuine and {(~pairs.genuine).sum():,} impostor pairs"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints and links to pictures")
    parser.add_argument("--start", type=Path, help="state dict of the untrained trunk")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = options.output
    lay_out(options.data, folder / "people")
    lines = []
    for name in SOURCES:
        model = folder / f"{name}.safetensors"
        train_on(folder / "people" / name / "train", model, options.steps, options.threads)
        tested = load_tested(folder / "people" / name / "test", Architecture().size)
        found = systems(tested, options.start, model)
        for words, which in _kinds(found, bool(tested.relations.forged.any())).items():
            print(f"\n{name}{words}: {told(which[name])}\n\n{HEAD}")
            for system, pairs in which.items():
                print(row(system, pairs), flush=True)
            lines += [Line(f"{name}{words}, {one}", *Roc(which[one]).curve()) for one in ("default", name)]
        if verifier := read_verifier(load_checkpoint(model)):
            pairs = found[name]
            yes = pairs.score >= verifier.threshold
            print(
                f"\nAt the checkpoint's threshold, set on {verifier.classes} held-out people of the training part: "
                f"{yes[~pairs.genuine].mean():.3f} of all impostor pairs accepted, "
                f"{1 - yes[pairs.genuine].mean():.3f} of the genuine ones rejected."
            )
    chart = Chart("Genuine pairs accepted over impostor pairs accepted", "impostor pairs accepted", lines, 0.0, 1.0)
    drawn = str(chart.svg()).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    (folder / "roc.svg").write_text(drawn.replace(">", f">{STYLE}", 1), encoding="utf-8")
    for number, name in chart.legend:
        print(f"colour {number}: {name}")


def _kinds(found: dict[str, Pairs], forged: bool) -> dict[str, dict[str, Pairs]]:
    """Return the pairs of each system, where there are forgeries once for each kind of impostor."""
    if not forged:
        return {"": found}
    return {
        " against forgeries": {name: take(pairs, pairs.a == pairs.b) for name, pairs in found.items()},
        " against others": {name: take(pairs, pairs.genuine | (pairs.a != pairs.b)) for name, pairs in found.items()},
    }


if __name__ == "__main__":
    main()
