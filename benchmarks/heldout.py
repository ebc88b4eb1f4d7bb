"""Quality of checkpoints on the held-out pictures of the training part, beside the untrained trunk and a hash.

    python -m benchmarks.heldout DATA [--start WEIGHTS.pth] [--model default …]
    python -m benchmarks.heldout DATA --list FILE     # only write their sha1, for `neardup evaluate --only FILE`

DATA holds the pictures whose sha1 are listed in `split/train.sha1`. The held-out set is the one that `neardup train`
measures with (`learn/train/heldout.py`): never trained on, but edited by the family of edits that trains,
and searched among few references. The figures steer; they are not comparable with published ones.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch

from neardup.pipeline.embed.checkpoint import Architecture, load_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.embed.hash import dct_hash
from neardup.pipeline.embed.network import read_trunk
from neardup.pipeline.learn.shared.pairs import find_relations
from neardup.pipeline.learn.shared.pictures import load_pictures, split_held_out
from neardup.pipeline.learn.shared.ranking import recall_at_precision
from neardup.pipeline.learn.train.heldout import HeldOut, build_held_out, measure, score
from neardup.pipeline.learn.train.start import whitening
from neardup.pipeline.types import Descriptors, Pixels

SPLIT = Path(__file__).parent / "split"
HELD_OUT, BACKGROUND = 400, 1000
Embed = Callable[[Pixels], Descriptors]


def unit(rows: Descriptors) -> Descriptors:
    """Return the rows at unit length."""
    normed: Descriptors = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-9)
    return normed


def untrained(start: Path, whiten_on: Pixels) -> dict[str, Embed]:
    """Return the start weights with GeM pooling, as they are and whitened to 256 dimensions."""
    architecture = Architecture()
    network = read_trunk(start, architecture)

    def features(tiles: Pixels) -> Descriptors:
        with torch.inference_mode():
            parts = [network.features(torch.from_numpy(tiles[i : i + 32])).numpy() for i in range(0, len(tiles), 32)]
        return np.concatenate(parts)

    weight, bias = whitening(features(whiten_on), architecture.dimension)
    return {
        "untrained trunk, 1280-d": lambda tiles: unit(features(tiles)),
        "untrained trunk, whitened to 256-d": lambda tiles: unit(features(tiles) @ weight.T + bias),
    }


def hashed(tiles: Pixels) -> Descriptors:
    """Return the bits of the DCT hash as unit rows, whose products fall with the bits that differ."""
    return unit(np.unpackbits(dct_hash(tiles)[0], axis=1).astype(np.float32) * 2 - 1)


def recall_by_edit(held_out: HeldOut, embed: Embed) -> list[tuple[str, float, int]]:
    """Return for each edit its recall at 90 % precision over all, and the number of its copies; the worst first."""
    _, scores = score(held_out, embed)
    _, threshold = recall_at_precision(scores[held_out.counted], held_out.correct[held_out.counted])
    found: dict[str, list[bool]] = defaultdict(list)
    for query in np.flatnonzero(held_out.correct.any(axis=1)):
        name = held_out.edits[query] or "none"
        hits = scores[query][held_out.correct[query]] >= threshold
        found["chain" if "+" in name else name].append(bool(hits.all()))
    return sorted(((name, float(np.mean(hits)), len(hits)) for name, hits in found.items()), key=lambda row: row[1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--start", type=Path, help="state dict of the untrained trunk")
    parser.add_argument("--model", nargs="*", default=["default"], help="checkpoints, by name or path")
    parser.add_argument("--list", type=Path, help="write the sha1 of the held-out pictures and end")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pictures = load_pictures([options.data], 200, SPLIT / "train.sha1", SPLIT / "alike.csv")
    relations, pictures = find_relations(pictures, [options.data])
    train, held = split_held_out(pictures, HELD_OUT)
    if options.list:
        options.list.write_text("".join(f"{pictures.sha1[index]}\n" for index in held), encoding="ascii")
        return
    at = cache(lambda size: build_held_out(pictures, relations, train, held, train[:BACKGROUND], size))
    held_out = at(Architecture().size)
    systems: dict[str, tuple[Embed, HeldOut]] = {"DCT hash": (hashed, held_out)}
    if options.start:
        systems |= {name: (embed, held_out) for name, embed in untrained(options.start, held_out.background).items()}
    for name in options.model:
        embedder = make_embedder(load_checkpoint(name), threads=1)
        described = lambda tiles, embedder=embedder: embedder.embed(tiles).vectors  # noqa: E731
        systems[f"{name}, {embedder.engine}"] = described, at(embedder.size)
    copies = held_out.correct.any(axis=1)
    print(f"{copies.sum()} copies and {(~copies).sum()} strangers, "
          f"{len(held_out.references)} references")  # fmt: skip
    print("| system | micro-AP raw | micro-AP SN | recall at P90 | recall@1 |\n| --- | --- | --- | --- | --- |")
    for name, (embed, tiles) in systems.items():
        quality = measure(tiles, embed)
        print(f"| {name} | {quality.micro_ap_raw:.3f} | {quality.micro_ap:.3f} | {quality.recall_at_p90:.3f} "
              f"| {quality.recall_at_1:.3f} |", flush=True)  # fmt: skip
    for name, recall, count in recall_by_edit(tiles, embed):
        print(f"{name} {recall:.2f} ({count})", end="; ")
    print()


if __name__ == "__main__":
    main()
