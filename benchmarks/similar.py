"""Similar items: precision@10 by class, of the copy descriptor and the similar head, beside the untrained trunk.

    python -m benchmarks.similar DATA --start WEIGHTS.pth [--model default …] [--clothing-labels images.csv] [--test]
    python -m benchmarks.similar DATA --cost [--model default …]

A picture's neighbours are right if they are of its class; the figure is the mean share of right ones among the ten
nearest. To choose by: a third of Caltech's classes, of the training part, among each other. With --test: those of the
test part, searched for among those of the training part, and clothing, whose labels are not in DATA: images.csv of
github.com/alexeygrigorev/clothing-dataset has them, with the columns image and label.

With --cost: what the similar head adds to the processor time of the network, on one thread, without decoding.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from neardup.pipeline.embed.checkpoint import Architecture, load_checkpoint
from neardup.pipeline.embed.embedder import Embedder, make_embedder
from neardup.pipeline.embed.network import read_trunk
from neardup.pipeline.learn.shared.pictures import squeeze
from neardup.pipeline.types import Descriptors, Pixels

SPLIT = Path(__file__).parent / "split"
NEAREST = 10
ENGINES, RUNS, RUN_TILES = 6, 20, 96
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


def load(data: Path, source: str, size: int, labels: dict[str, str] | None = None) -> Pictures:
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


@dataclass(frozen=True)
class System:
    """A network: the size of its tiles, and what its heads, by name, say of tiles, in unit rows."""

    size: int
    embed: Callable[[Pixels], dict[str, Descriptors]]


def systems(models: list[str], start: Path) -> Iterator[System]:
    """Yield each model, and the trunk that they come from, on tiles of as many pixels."""
    sizes = []
    for name in models:
        embedder = make_embedder(load_checkpoint(name), "cpu", threads=1)
        sizes.append(embedder.size)
        yield System(embedder.size, partial(_vectors, embedder, name))
    network = read_trunk(start, Architecture())

    def untrained(size: int, tiles: Pixels) -> dict[str, Descriptors]:
        with torch.inference_mode():
            parts = [network.features(torch.from_numpy(tiles[i : i + 16])) for i in range(0, len(tiles), 16)]
        return {f"untrained trunk, 1280-d, {size} px": torch.nn.functional.normalize(torch.cat(parts), dim=1).numpy()}

    for size in sorted(set(sizes), reverse=True):
        yield System(size, partial(untrained, size))


def _vectors(embedder: Embedder, name: str, tiles: Pixels) -> dict[str, Descriptors]:
    said = embedder.embed(tiles)
    found = {f"{name}, copy descriptor": said.vectors}
    return found if said.similar is None else {**found, f"{name}, similar head": said.similar}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--start", type=Path, help="state dict of the untrained trunk")
    parser.add_argument("--model", nargs="*", default=["default"], help="checkpoints, by name or path")
    parser.add_argument("--clothing-labels", type=Path, help="images.csv of the clothing dataset")
    parser.add_argument("--test", action="store_true", help="also measure on what nothing is chosen by")
    parser.add_argument("--cost", action="store_true", help="measure the time of the similar head, and no quality")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.cost:
        for name in options.model:
            print(f"{name}: {cost(name, options.data):+.1%} processor time with the similar head")
        return
    if options.start is None:
        parser.error("--start is needed")
    names = None
    if options.test and options.clothing_labels:
        with options.clothing_labels.open(newline="", encoding="utf-8") as file:
            names = {row["image"]: row["label"] for row in csv.DictReader(file)}
    begun = False
    for system in systems(options.model, options.start):
        caltech = load(options.data, "caltech101", system.size)
        clothing = None if names is None else load(options.data, "clothing", system.size, names)
        if not begun:
            head = columns(caltech, clothing, options.test)
            print(f"| precision@{NEAREST} | {' | '.join(head)} |\n| --- |" + " ---: |" * len(head))
            begun = True
        for name, figures in measure(system, caltech, clothing, options.test).items():
            print(f"| {name} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |", flush=True)


def cost(name: str, data: Path) -> float:
    """Return by which share the network takes longer with its similar head.

    The least of many runs in turn, each by several engines: one and the same network, made twice, differs by up to 5 %.
    """
    whole = load_checkpoint(name)
    bare = replace(whole, similar=None)
    engines = [make_embedder(one, "cpu", threads=1) for _ in range(ENGINES) for one in (bare, whole)]
    tiles = load(data, "caltech101", engines[0].size).tiles[:RUN_TILES]
    least = [float("inf"), float("inf")]
    for _ in range(RUNS):
        for number, engine in enumerate(engines):
            began = time.process_time()  # busy neighbours do not count
            engine.embed(tiles)
            least[number % 2] = min(least[number % 2], time.process_time() - began)
    return least[1] / least[0] - 1


def columns(caltech: Pictures, clothing: Pictures | None, test: bool) -> list[str]:
    """Return what each figure is of."""
    chosen = held_out(caltech.labels) & ~caltech.tested
    head = [f"Caltech, {len(set(caltech.labels[chosen]))} classes, {chosen.sum():,} pictures"]
    head += [f"test part, {caltech.tested.sum():,} pictures"] * test
    return head + ([f"clothing, {len(clothing.labels):,} pictures"] if clothing else [])


def measure(system: System, caltech: Pictures, clothing: Pictures | None, test: bool) -> dict[str, list[float]]:
    """Return the figures of each head."""
    chosen, part = held_out(caltech.labels) & ~caltech.tested, caltech.tested
    kept = np.ones(len(chosen), dtype=np.bool_) if test else chosen
    place = np.cumsum(kept) - 1
    figures: dict[str, list[float]] = {}
    for name, rows in system.embed(caltech.tiles[kept]).items():
        some, labels = rows[place[chosen]], caltech.labels[chosen]
        figures[name] = [precision_at(some, labels, some, labels, same=True)]
        if test:
            queries, others = (rows[place[part]], caltech.labels[part]), (rows[~part], caltech.labels[~part])
            figures[name].append(precision_at(*queries, *others, same=False))
    if clothing:
        for name, rows in system.embed(clothing.tiles).items():
            figures[name].append(precision_at(rows, clothing.labels, rows, clothing.labels, same=True))
    return figures


if __name__ == "__main__":
    main()
