"""How much of the background to take off, and of the hash to add, where the background lacks a kind of picture.

    python -m benchmarks.background DATA [--model default]

Each source (folder) of the training part in turn is what is searched: edited copies of its held-out pictures, among
all of its pictures. The background is made of all other sources ("other"), as if nobody had known of this kind, or
of all ("all"). Columns are background weights: micro-AP / recall at 90 % precision of the evidence.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from benchmarks.heldout import HELD_OUT, SPLIT
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.learn.shared.pairs import find_relations
from neardup.pipeline.learn.shared.pictures import load_pictures, source_of, split_held_out, squeeze
from neardup.pipeline.learn.shared.ranking import micro_average_precision, recall_at_precision
from neardup.pipeline.learn.train.heldout import HeldOut, build_held_out
from neardup.pipeline.match.decide.evidence import Evidence, differing_bits
from neardup.pipeline.types import Descriptors, Embedded

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
HASH_WEIGHTS = (0.0, 0.1, 0.3)
BACKGROUND = 1000
LEAST = 30
"""Held-out pictures of a source: fewer say little."""


def figures(held_out: HeldOut, queries: Embedded, references: Embedded, rule: Evidence) -> str:
    """Return micro-AP / recall at 90 % precision."""
    bits = np.stack([differing_bits(one[None], references.hashes) for one in queries.hashes])
    background = rule.background(queries.vectors)[:, None]
    evidence = rule.of(2 - 2 * queries.vectors @ references.vectors.T, bits, background)[held_out.counted]
    correct = held_out.correct[held_out.counted]
    return f"{micro_average_precision(evidence, correct):.3f} / {recall_at_precision(evidence, correct)[0]:.3f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="default")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pictures = load_pictures([options.data], 200, SPLIT / "train.sha1", SPLIT / "alike.csv")
    relations, pictures = find_relations(pictures, [options.data])
    train, held = split_held_out(pictures, HELD_OUT)
    source = np.array(source_of(pictures, [options.data]))
    checkpoint = load_checkpoint(options.model)
    embedder = make_embedder(checkpoint, threads=1)
    shown = np.random.default_rng(0).permutation(train)[: 3 * BACKGROUND]
    known = embedder.embed(np.stack([squeeze(pictures.pixels[i], embedder.size) for i in shown])).vectors
    print(f"| source | queries | background | hash weight | {' | '.join(map(str, WEIGHTS))} |\n|{' --- |' * 9}")
    for name in sorted(set(source)):
        mine = [i for i in held if source[i] == name]
        if len(mine) < LEAST:
            continue
        others = [i for i in train if source[i] != name]
        among = [i for i in train if source[i] == name] + others[:300]
        held_out = build_held_out(pictures, relations, among, mine, others[-64:], embedder.size)
        queries, references = embedder.embed(held_out.queries), embedder.embed(held_out.references)
        backgrounds: dict[str, Descriptors] = {
            "other": known[source[shown] != name][:BACKGROUND],
            "all": known[:BACKGROUND],
        }
        for told, background in backgrounds.items():
            for hash_weight in HASH_WEIGHTS:
                rules = [Evidence(background, hash_weight, weight) for weight in WEIGHTS]
                row = " | ".join(figures(held_out, queries, references, rule) for rule in rules)
                print(f"| {Path(name).name} | {len(queries.vectors)} | {told} | {hash_weight} | {row} |", flush=True)


if __name__ == "__main__":
    main()
