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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import Embedder, make_embedder
from neardup.pipeline.evaluate.ranking import micro_average_precision, recall_at_precision
from neardup.pipeline.evaluate.systems import differing
from neardup.pipeline.match.decide import WHOLE_AREA
from neardup.pipeline.match.evidence import Evidence
from neardup.pipeline.match.state import MIN_DETAIL
from neardup.pipeline.media.regions import Mode, cut_regions
from neardup.pipeline.media.tile import squeeze
from neardup.pipeline.train.edits import EDITS, Draw
from neardup.pipeline.train.pictures import load_pictures, split_held_out
from neardup.pipeline.types import Embedded, Frame, Pixels

SPLIT = Path(__file__).parent / "split"
AROUND = ("pasted", "collage", "screenshot", "meme", "letterbox", "pad")
OTHERS = ("blur", "colour", "crop", "jpeg", "mirror", "text")
STRENGTHS = (0.2, 0.5, 0.8)
ASIDE, REFERENCES, BATCH = 64, 800, 256


@dataclass(frozen=True)
class Described:
    """Descriptors of pictures: of each the picture that it is of, and its share of that; seconds of processor time."""

    embedded: Embedded
    owner: npt.NDArray[np.int64]
    area: npt.NDArray[np.float64]
    seconds: float


def describe(pictures: Sequence[Pixels], embedder: Embedder, mode: Mode) -> Described:
    """Describe pictures and their regions, as the decoders and the network would."""
    started = time.process_time()
    frames: list[Frame] = []
    owner: list[int] = []
    for number, picture in enumerate(pictures):
        rgb = np.array(picture)
        tile = squeeze(rgb, embedder.size)
        own = [Frame(0.0, tile), *cut_regions(tile, rgb, mode)]
        frames += own
        owner += [number] * len(own)
    tiles = np.stack([frame.tile for frame in frames])
    parts = [embedder.embed(tiles[i : i + BATCH]) for i in range(0, len(tiles), BATCH)]
    embedded = Embedded(*(np.concatenate([getattr(one, name) for one in parts]) for name in Embedded.__slots__))
    boxes = [frame.box or (0.0, 0.0, 1.0, 1.0) for frame in frames]
    area = np.array([(right - left) * (bottom - top) for left, top, right, bottom in boxes])
    return Described(embedded, np.array(owner), area, time.process_time() - started)


def best_evidence(rule: Evidence, queries: Described, references: Described) -> npt.NDArray[np.float32]:
    """Return the evidence of the best pair of descriptors of each query and reference, (q, m)."""
    q, r = queries.embedded, references.embedded
    bits = differing(np.unpackbits(q.hashes, axis=1), np.unpackbits(r.hashes, axis=1))
    evidence = rule.of(2 - 2 * q.vectors @ r.vectors.T, bits, rule.background(q.vectors)[:, None])
    speaks = (q.detail >= MIN_DETAIL)[:, None] & (r.detail >= MIN_DETAIL)
    evidence[~speaks | (np.maximum(queries.area[:, None], references.area) < WHOLE_AREA)] = -1.0
    for axis, owner in ((0, queries.owner), (1, references.owner)):
        evidence = np.maximum.reduceat(evidence, np.flatnonzero(np.diff(owner, prepend=-1)), axis=axis)
    return evidence


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
    rule = Evidence(checkpoint.background, float(checkpoint.calibration.get("hash_weight", 0.0)))
    embedder = make_embedder(checkpoint, "cpu", threads=1)
    describe(queries[:64], embedder, "none")  # what is done once
    print(f"{len(queries)} queries, {len(shown)} references\n")
    print(f"| regions | descriptors a query | a reference | CPU-ms a reference | micro-AP | recall at P90 | "
          f"{' | '.join((*AROUND, 'others'))} |\n|{' --- |' * (13)}")  # fmt: skip
    for mode in get_args(Mode):
        q = describe(queries, embedder, mode)
        r = describe([pictures.pixels[i] for i in shown], embedder, mode)
        evidence = best_evidence(rule, q, r)
        recall, threshold = recall_at_precision(evidence[counted], correct[counted])
        found: dict[str, list[bool]] = defaultdict(list)
        for name, own in zip(edits, evidence[correct], strict=True):
            found[name].append(bool(own >= threshold))
        micro_ap = micro_average_precision(evidence[counted], correct[counted])
        cells = [f"{len(q.owner) / len(queries):.2f}", f"{len(r.owner) / len(shown):.2f}",
                 f"{1000 * r.seconds / len(shown):.2f}", f"{micro_ap:.3f}", f"{recall:.3f}"]  # fmt: skip
        cells += [f"{np.mean(found[name]):.2f}" for name in (*AROUND, "others")]
        print(f"| {mode} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
