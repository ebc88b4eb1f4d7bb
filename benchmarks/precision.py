"""Whether the stated precision holds on another source: calibrate on some sources, measure on each other one.

    python -m benchmarks.precision DATA --cache FOLDER [--model default]
    python -m benchmarks.precision DATA --cache FOLDER --test       # the final measurement, on the test part

DATA holds the pictures of `split/train.sha1` and `split/test.sha1`, and a `manifest.csv` with the columns sha1 and
label, which says what pictures show (--labels names another file). Without --test each source of the training part is
left out in turn, and only its held-out pictures are copied; with it all sources of the training part calibrate, and the
sources that only the test part has are measured. References are the pictures of the query's own source, filled up with
cuts of training pictures (see `learn/calibrate/distractors.py`). Those that are known to look alike count
neither way: `split/alike.csv`, `split/lookalikes.csv` (of the most alike pairs of training pictures those that show the
same thing, by eye), and --lookalikes. --false FILE writes down the false matches, for somebody to judge.

Measured precision weighs copies and strangers by the same prior; its own interval is a bootstrap by picture. Above the
stated interval (`above`) are fewer false matches than expected, mostly none; `BELOW` are more. --cuts is how many are
described at most; beyond them false matches are counted as so many times more.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.heldout import HELD_OUT, SPLIT
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import Embedder, make_embedder
from neardup.pipeline.errors import UsageError
from neardup.pipeline.learn.calibrate.calibrate import (
    ASIDE,
    PRIOR,
    SEED,
    Material,
    calibrate,
    collect,
    measure,
)
from neardup.pipeline.learn.calibrate.copies import describe_copies, describe_pictures
from neardup.pipeline.learn.calibrate.strangers import Labelled, Sample, strange_pairs
from neardup.pipeline.learn.shared.pictures import (
    Pictures,
    kinds_of,
    load_pictures,
    read_labels,
    source_of,
    split_held_out,
    with_lookalikes,
)
from neardup.pipeline.match.decide.calibration import Calibration
from neardup.pipeline.match.decide.evidence import Evidence
from neardup.pipeline.types import Descriptors

SIZES = (2_000, 20_000, 200_000)
SKIP = 1000
"""Training pictures that became the background."""
SHORT_SIDE = 256
LEAST = 20
"""Copied pictures from which a source is measured."""
BOOTSTRAPS = 500


def without(material: Material, source: int) -> Material:
    """Return the material to calibrate with when a source is left out: it is in no query and no reference."""
    stays = material.pictures.source != source
    kept = material.take(material.queries.source != source)
    place = np.cumsum(stays) - 1
    return replace(
        kept,
        pictures=material.pictures.where(stays),
        cuts=material.cuts.where(material.cuts.source != source),
        own=np.where(kept.own >= 0, place[np.maximum(kept.own, 0)], -1),
    )


def measured_precision(
    sample: Sample, least: float, references: int, prior: float
) -> tuple[float, float, float, float]:
    """Return the precision above this evidence, its 95 % interval by bootstrap over pictures, and the recall."""
    at = np.array([least])
    false, found = sample.false_rates(references, at)[:, 0], sample.recalls(references, at)[:, 0]
    copying = sample.copying.astype(float)
    of = np.unique(sample.picture, return_inverse=True)[1]
    sums = [np.bincount(of, sample.weight * one) for one in (false, np.ones(len(of)), found, copying)]
    drawn = np.random.default_rng(0).multinomial(len(sums[0]), np.full(len(sums[0]), 1 / len(sums[0])), BOOTSTRAPS)
    weights = np.concatenate([np.ones((1, len(sums[0]))), drawn])
    false_rate = weights @ sums[0] / np.maximum(weights @ sums[1], 1e-9)
    recall = weights @ sums[2] / np.maximum(weights @ sums[3], 1e-9)
    precision = prior * recall / np.maximum(prior * recall + false_rate, 1e-12)
    low, high = np.quantile(precision[1:], [0.025, 0.975])
    # A bootstrap knows nothing of what was never seen: with no false match in n pictures, 3 / n may be (rule of three).
    unseen = 3.0 / len(sums[0])
    low = min(low, prior * recall[0] / (prior * recall[0] + max(false_rate[0], unseen)))
    return float(precision[0]), float(low), float(high), float(recall[0])


def report(name: str, calibration: Calibration, sample: Sample, precision: float) -> None:
    """Print one row for each number of references."""
    for references in SIZES:
        least = calibration.min_evidence(precision, references)
        if np.isinf(least):
            print(f"| {name} | {references:,} | none | | | | |", flush=True)
            continue
        low, high = (float(one) for one in calibration.precision_interval(least, references))
        got, got_low, got_high, recall = measured_precision(sample, least, references, calibration.prior)
        within = "BELOW" if round(got, 3) < round(low, 3) else "above" if round(got, 3) > round(high, 3) else "yes"
        print(f"| {name} | {references:,} | {least:.3f} | {100 * low:.1f} to {100 * high:.1f} | {100 * got:.2f} "
              f"({100 * got_low:.2f} to {100 * got_high:.2f}) | {within} | {100 * recall:.0f} "
              f"({100 * float(calibration.recall_at(least, references)):.0f}) |", flush=True)  # fmt: skip


def load(data: Path, part: str, more: Path | None) -> tuple[Pictures, Pictures]:
    """Return the pictures of a part of the split as they are split, and with look-alikes found later."""
    loaded = load_pictures([data], SHORT_SIDE, SPLIT / f"{part}.sha1", SPLIT / "alike.csv", threads=2)
    return loaded, with_lookalikes(with_lookalikes(loaded, SPLIT / "lookalikes.csv"), more)


def test_material(
    embedder: Embedder, data: Path, cuts: Labelled, known: set[str], most: int, more: Path | None, aside: Pictures
) -> tuple[Material, list[str]]:
    """Return queries and references of the sources that training never saw, and their names.

    Args:
        known: names of sources that calibrated. aside: pictures that edits paste in, of the training part.
    """
    _, pictures = load(data, "test", more)
    sources = source_of(pictures, [data])
    names = sorted(set(sources) - known)
    rows = [i for i, name in enumerate(sources) if name in names]
    order = np.random.default_rng(0).permutation(len(rows))
    of_source = {name: [rows[i] for i in order if sources[rows[i]] == name][:most] for name in names}
    chosen = sorted(i for members in of_source.values() for i in members)
    both = Pictures(
        sha1=pictures.sha1 + aside.sha1, pixels=pictures.pixels + aside.pixels,
        groups=pictures.groups + aside.groups, similar=frozenset(), paths=pictures.paths + aside.paths,
    )  # fmt: skip
    pasted = list(range(len(pictures.sha1), len(both.sha1)))
    edited = describe_copies(both, chosen, pasted, 4, embedder, SEED + 1)
    group = np.unique(pictures.groups, return_inverse=True)[1] + 10**6  # none of the training part's
    source = np.array([names.index(sources[i]) if sources[i] in names else -1 for i in range(len(sources))]) + 10**6
    made_of = np.repeat(chosen, 4)
    place = {index: row for row, index in enumerate(rows)}
    whole = describe_pictures(pictures, rows, embedder)
    own = np.array([place[i] for i in made_of])
    queries = Labelled(edited, group[made_of], source[made_of], source[made_of])
    return Material(queries, Labelled(whole, group[rows], source[rows], source[rows]), cuts, own, rows), names


def write_false(
    path: Path,
    name: str,
    material: Material,
    background: Descriptors,
    weights: tuple[float, float],
    floor: float,
    sha1: tuple[str, ...],
) -> None:
    """Append the pairs of whole pictures that would be false matches from this evidence up."""
    rule = Evidence(background, *weights)
    best: dict[tuple[int, int], float] = {}
    for q, r, evidence in strange_pairs(rule, material.queries, material.pictures, floor):
        if material.own[q] < 0 or material.queries.source[q] != material.pictures.source[r]:
            continue
        pair = (int(material.own[q]), r)
        best[pair] = max(best.get(pair, evidence), evidence)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for (own, r), evidence in sorted(best.items(), key=lambda item: -item[1]):
            names = (sha1[material.references[own]], sha1[material.references[r]])
            writer.writerow([*names, "similar", f"{evidence:.3f}", name])


def main() -> None:
    """Calibrate, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--cache", type=Path, help="folder that keeps what was described; a later run goes on from it")
    parser.add_argument("--cuts", type=int, default=SIZES[-1])
    parser.add_argument("--precision", type=float, default=0.99)
    parser.add_argument("--test", action="store_true", help="measure on the test part")
    parser.add_argument("--queries", type=int, default=500, help="with --test: pictures copied, of each source")
    parser.add_argument("--lookalikes", type=Path, help="CSV of pairs that count neither way: sha1_a, sha1_b, relation")
    parser.add_argument("--labels", type=Path, help="CSV of what pictures show: sha1, label")
    parser.add_argument("--false", type=Path, help="CSV to write: false matches among whole pictures")
    options = parser.parse_args()
    if options.false:
        options.false.write_text("sha1_a,sha1_b,relation,evidence,source\n", encoding="ascii")
    checkpoint = load_checkpoint(options.model)
    embedder = make_embedder(checkpoint, threads=2)
    background = checkpoint.background
    as_split, pictures = load(options.data, "train", options.lookalikes)
    others, held = split_held_out(as_split, HELD_OUT)
    sources = source_of(pictures, [options.data])
    kinds = kinds_of(pictures, sources, read_labels(options.labels or options.data / "manifest.csv"))
    material = collect(embedder, pictures, held, others[SKIP:], sources, kinds, options.cuts, options.cache,
                       report=lambda _what, _done: None)  # fmt: skip
    names = sorted(set(sources))
    print(f"{len(held)} pictures copied, {len(material.pictures.group)} whole references, {options.cuts:,} cuts; "
          f"{checkpoint.name}, space {checkpoint.space}; asked for: {100 * options.precision:g} %")  # fmt: skip
    print("| source | references | duplicate from | stated, % | measured, % (95 %) | within | recall, % (expected) |\n"
          "| --- | ---: | ---: | ---: | ---: | --- | ---: |", flush=True)  # fmt: skip
    if options.test:
        calibration = calibrate(material, background, "training part", PRIOR, checkpoint.space)
        aside = [others[SKIP:][i] for i in range(ASIDE)]
        pasted = Pictures(
            sha1=tuple(pictures.sha1[i] for i in aside),
            pixels=tuple(pictures.pixels[i] for i in aside),
            groups=tuple(pictures.groups[i] for i in aside),
            similar=frozenset(),
            paths=tuple(pictures.paths[i] for i in aside),
        )
        material, names = test_material(
            embedder, options.data, material.cuts, set(names), options.queries, options.lookalikes, pasted
        )
        pictures = load(options.data, "test", options.lookalikes)[1] if options.false else pictures
    for number in np.unique(material.queries.source[material.own >= 0]):
        mine = material.take(material.queries.source == number)
        if len(np.unique(mine.queries.group[mine.own >= 0])) < LEAST:
            continue
        name = Path(names[number % 10**6]).name
        if not options.test:
            try:
                calibration = calibrate(without(material, number), background, f"without {name}", PRIOR)
            except UsageError as error:
                print(f"| {name} | | not calibrated: {error} | | | | |")
                continue
        report(name, calibration, measure(mine, background, calibration.hash_weight, SIZES), options.precision)
        if options.false:
            floor = calibration.min_evidence(options.precision, SIZES[0])
            write_false(options.false, name, mine, background, calibration.weights, floor, pictures.sha1)


if __name__ == "__main__":
    main()
