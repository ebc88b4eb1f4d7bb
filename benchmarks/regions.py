"""What regions gain and cost: recall of pasted-in copies, and processor time, without them, with found and fixed ones.

    python -m benchmarks.regions DATA [--pictures 120]

DATA holds the pictures whose sha1 are listed in `split/train.sha1`. Queries are edits of pictures that training holds
out, three strengths in turn; references are those pictures and others. The edits are of the family that trains, cells
of collages are exact halves and quarters (which flatters fixed parts), and references are few.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path
from typing import get_args

import numpy as np

from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.learn.edits import EDITS, Draw
from neardup.pipeline.learn.evaluate.parts import best_evidence, describe_parts
from neardup.pipeline.learn.evaluate.systems import part_cost, rule_of
from neardup.pipeline.learn.shared.pictures import load_pictures, split_held_out
from neardup.pipeline.learn.shared.ranking import micro_average_precision, recall_at_precision
from neardup.pipeline.media.regions import Mode

SPLIT = Path(__file__).parent / "split"
AROUND = ("pasted", "collage", "screenshot", "meme", "letterbox", "pad")
OTHERS = ("blur", "colour", "crop", "jpeg", "mirror", "text")
STRENGTHS = (0.2, 0.5, 0.8)
ASIDE, REFERENCES = 64, 800


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", type=int, default=120, help="held-out pictures that are edited")
    parser.add_argument("--model", default="default")
    options = parser.parse_args()
    pictures = load_pictures([options.data], 200, SPLIT / "train.sha1", SPLIT / "alike.csv")
    train, held = split_held_out(pictures, 400)
    held, aside = held[: options.pictures], [pictures.pixels[i] for i in train[:ASIDE]]
    shown = [*held, *train[-REFERENCES:]]
    queries, made_of, edits = [], [], []
    for row, index in enumerate(held):
        pasted = [aside[(8 * row + step) % ASIDE] for step in range(8)]
        for name in (*AROUND, OTHERS[row % len(OTHERS)]):
            draw = Draw(np.random.default_rng((row, 7)), pasted)
            queries.append(EDITS[name](pictures.pixels[index], STRENGTHS[row % 3], draw))
            made_of.append(row)
            edits.append(name if name in AROUND else "others")
    group = np.unique([pictures.groups[i] for i in shown], return_inverse=True)[1]
    correct = np.array(made_of)[:, None] == np.arange(len(shown))
    counted = correct | (group[made_of][:, None] != group)
    checkpoint = load_checkpoint(options.model)
    rule = rule_of(checkpoint)
    embedder = make_embedder(checkpoint, "cpu", threads=1)
    describe_parts(queries[:64], embedder, "none")  # what is done once
    print(f"{len(queries)} queries, {len(shown)} references\n")
    print(f"| regions | descriptors a query | a reference | CPU-ms a reference | micro-AP | recall at P90 | "
          f"{' | '.join((*AROUND, 'others'))} |\n|{' --- |' * (13)}")  # fmt: skip
    for mode in get_args(Mode):
        q = describe_parts(queries, embedder, mode)
        started = time.process_time()
        r = describe_parts([pictures.pixels[i] for i in shown], embedder, mode)
        seconds = time.process_time() - started
        evidence = best_evidence(rule, q, r, part_cost(checkpoint, len(r.owner)))
        recall, threshold = recall_at_precision(evidence[counted], correct[counted])
        found: dict[str, list[bool]] = defaultdict(list)
        for name, own in zip(edits, evidence[correct], strict=True):
            found[name].append(bool(own >= threshold))
        micro_ap = micro_average_precision(evidence[counted], correct[counted])
        cells = [f"{len(q.owner) / len(queries):.2f}", f"{len(r.owner) / len(shown):.2f}",
                 f"{1000 * seconds / len(shown):.2f}", f"{micro_ap:.3f}", f"{recall:.3f}"]  # fmt: skip
        cells += [f"{np.mean(found[name]):.2f}" for name in (*AROUND, "others")]
        print(f"| {mode} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
