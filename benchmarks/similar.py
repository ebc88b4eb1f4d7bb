"""Similar items: precision@10 by class, of the copy descriptor beside the trunk as it was before training.

    python -m benchmarks.similar DATA --start WEIGHTS.pth [--model default …] [--clothing-labels images.csv] [--test]

A picture's neighbours are right if they are of its class; the figure is the mean share of right ones among the ten
nearest. To choose by: a third of Caltech's classes, of the training part, among each other. With --test: those of the
test part, searched for among those of the training part, and clothing, whose labels are not in DATA: images.csv of
github.com/alexeygrigorev/clothing-dataset has them, with the columns image and label.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from neardup.pipeline.embed.checkpoint import Architecture, load_checkpoint
from neardup.pipeline.embed.embedder import Embedder, make_embedder
from neardup.pipeline.embed.network import Siamese, build_trunk, fold_batch_norms
from neardup.pipeline.train.views import squeeze
from neardup.pipeline.types import Descriptors, Pixels

SPLIT = Path(__file__).parent / "split"
NEAREST = 10
NO_CLASS = {"", "BACKGROUND_Google", "Not sure", "Skip", "Other"}
SAME = {"Faces_easy": "Faces"}
"""Classes of Caltech that show the same pictures."""
Labels = npt.NDArray[np.str_]


@dataclass(frozen=True)
class Pictures:
    """Tiles (n, s, s, 3) with their classes, and whether each is of the test part."""

    tiles: Pixels
    labels: Labels
    tested: npt.NDArray[np.bool_]


def load(data: Path, source: str, labels: dict[str, str] | None = None, size: int = 160) -> Pictures:
    """Read the labelled pictures of a source; `labels` by the name of the original file, instead of the manifest's."""
    testing = set((SPLIT / "test.sha1").read_text(encoding="ascii").split())
    tiles, names, tested = [], [], []
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            label = row["label"] if labels is None else labels.get(Path(row["origin"]).stem, "")
            if row["source"] != source or label in NO_CLASS:
                continue
            with Image.open(data / row["path"]) as opened:
                tiles.append(squeeze(np.asarray(opened.convert("RGB")), size))
            names.append(SAME.get(label, label))
            tested.append(row["sha1"] in testing)
    return Pictures(np.stack(tiles), np.array(names), np.array(tested))


def held_out(labels: Labels) -> npt.NDArray[np.bool_]:
    """Mark the pictures of a third of the classes, chosen by a hash of their names."""
    names = sorted(set(labels.tolist()), key=lambda name: hashlib.sha256(f"similar {name}".encode()).digest())
    return np.isin(labels, names[: len(names) // 3])


def precision_at(queries: Descriptors, labels: Labels, references: Descriptors, others: Labels, same: bool) -> float:
    """Return the mean share of a query's class among its nearest references; with `same` they are the same pictures."""
    similarity = queries @ references.T
    if same:
        np.fill_diagonal(similarity, -np.inf)
    nearest = np.argpartition(-similarity, NEAREST - 1, axis=1)[:, :NEAREST]
    return float((others[nearest] == labels[:, None]).mean())


def systems(models: list[str], start: Path) -> Iterator[tuple[str, Callable[[Pixels], Descriptors]]]:
    """Yield names and functions from tiles to unit rows."""
    for name in models:
        embedder = make_embedder(load_checkpoint(name), "cpu", threads=1)
        yield f"{name}, copy descriptor", partial(_vectors, embedder)
    architecture = Architecture()
    network = Siamese(architecture).eval()
    state = torch.load(start, weights_only=True)
    network.trunk = fold_batch_norms(build_trunk(architecture.trunk, architecture.padding, state))

    def untrained(tiles: Pixels) -> Descriptors:
        with torch.inference_mode():
            parts = [network.features(torch.from_numpy(tiles[i : i + 16])) for i in range(0, len(tiles), 16)]
        return torch.nn.functional.normalize(torch.cat(parts), dim=1).numpy()

    yield "untrained trunk, 1280-d", untrained


def _vectors(embedder: Embedder, tiles: Pixels) -> Descriptors:
    return embedder.embed(tiles).vectors


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--start", type=Path, required=True, help="state dict of the untrained trunk")
    parser.add_argument("--model", nargs="*", default=["default"], help="checkpoints, by name or path")
    parser.add_argument("--clothing-labels", type=Path, help="images.csv of the clothing dataset")
    parser.add_argument("--test", action="store_true", help="also measure on what nothing is chosen by")
    options = parser.parse_args()
    torch.set_num_threads(1)
    caltech = load(options.data, "caltech101")
    chosen = held_out(caltech.labels) & ~caltech.tested
    kept = np.ones(len(chosen), dtype=np.bool_) if options.test else chosen
    clothing = None
    if options.test and options.clothing_labels:
        with options.clothing_labels.open(newline="", encoding="utf-8") as file:
            labels = {row["image"]: row["label"] for row in csv.DictReader(file)}
        clothing = load(options.data, "clothing", labels)
    head = [f"Caltech, {len(set(caltech.labels[chosen]))} classes, {chosen.sum():,} pictures"]
    head += [f"test part, {caltech.tested.sum():,} pictures"] * options.test
    head += [f"clothing, {len(clothing.labels):,} pictures"] if clothing else []
    print(f"| precision@{NEAREST} | {' | '.join(head)} |\n| --- |" + " ---: |" * len(head))
    for name, embed in systems(options.model, options.start):
        found = embed(caltech.tiles[kept])
        vectors = np.zeros((len(kept), found.shape[1]), np.float32)
        vectors[kept] = found
        rows, names = vectors[chosen], caltech.labels[chosen]
        figures = [precision_at(rows, names, rows, names, same=True)]
        if options.test:
            part, whole = caltech.tested, ~caltech.tested
            figures.append(
                precision_at(vectors[part], caltech.labels[part], vectors[whole], caltech.labels[whole], same=False)
            )
        if clothing:
            rows = embed(clothing.tiles)
            figures.append(precision_at(rows, clothing.labels, rows, clothing.labels, same=True))
        print(f"| {name} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |", flush=True)


if __name__ == "__main__":
    main()
