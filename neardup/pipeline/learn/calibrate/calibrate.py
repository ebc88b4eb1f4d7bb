"""Measure how much evidence copies have, and how much strangers, and write it down as a calibration.

Queries are edited copies of pictures that the network was not trained on; references are those pictures, others, and
cuts that fill up to the wanted number (see `distractors`). A query against its own picture is a copy, against all
others a stranger, except pictures that are known to belong together. The other pictures, as they are, are queries that
copy nothing: training moves copies together, which would flatter, but hardly strangers apart.

    neardup calibrate DIR… --model PATH --output PATH
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.errors import UsageError
from neardup.pipeline.learn.calibrate.copies import describe_copies, describe_pictures
from neardup.pipeline.learn.calibrate.distractors import describe_distractors, joined
from neardup.pipeline.learn.calibrate.fit import fit, recall_at
from neardup.pipeline.learn.calibrate.strangers import Curve, Labelled, Places, Sample, count_strangers
from neardup.pipeline.learn.shared.pages import render_pages
from neardup.pipeline.learn.shared.pictures import SIMILAR, Pictures
from neardup.pipeline.match.decide.calibration import Calibration
from neardup.pipeline.match.decide.evidence import Evidence, measured_pairs
from neardup.pipeline.types import Descriptors, Embedded

PRIOR = 0.1
"""Share of queries that copy something, unless told otherwise: one in ten uploads."""
BACKGROUND_WEIGHT = 0.5
"""Best where a kind of picture is not in the background, and as good as 1 where it is: `benchmarks/background.py`."""
HASH_WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
STRANGERS_PER_KEPT = 1000
MIN_STRANGERS = 8
WANTED = 0.99
ASKED = 2500
"""Queries by which the hash weight is chosen, about."""
GRID = 300
BLOCK = 256
COPIES = 12
DOUBTFUL = 100
ASIDE = 200
"""Pictures set apart as material for edits that mix pictures."""
SEED = 20261122


@dataclass(frozen=True, slots=True)
class Material:
    """What a calibration is measured with; see `strangers.count_strangers`.

    Attributes:
        own: int64 (n,), the place in `pictures` of what each query copies; -1 for nothing.
        references: for each row of `pictures` its place in `train.pictures.Pictures`.
    """

    queries: Labelled
    pictures: Labelled
    cuts: Labelled
    own: Places
    references: Sequence[int] = ()

    def take(self, chosen: npt.NDArray[np.bool_]) -> Material:
        """Return the material with some of the queries."""
        return replace(self, queries=self.queries.where(chosen), own=self.own[chosen])


def calibrate(
    material: Material, background: Descriptors, source: str, prior: float = PRIOR, space: str = ""
) -> Calibration:
    """Return a calibration.

    Args:
        background: float32 (b, d), for score normalisation; none of the pictures above.
        source: what the pictures are, for a person.
        prior: share of queries that copy something, 0 to 1.
        space: of the vectors.
    Raises:
        UsageError: too few pictures for a curve, or a prior that is no share.
    """
    if not 0.0 < prior < 1.0:
        raise UsageError(f"prior is {prior}; it must lie between 0 and 1, for instance 0.1")
    weight, grid = choose_weight(material, background)
    sample = measure(material, background, weight, grid)
    return fit(sample, prior, (weight, BACKGROUND_WEIGHT), source, space)


def measure(material: Material, background: Descriptors, hash_weight: float, grid: Curve) -> Sample:
    """Return what the queries find at this hash weight."""
    rule = Evidence(background, hash_weight, BACKGROUND_WEIGHT)
    return count_strangers(rule, material.queries, material.pictures, material.cuts, material.own, grid)


def choose_weight(material: Material, background: Descriptors) -> tuple[float, Curve]:
    """Return the hash weight that finds most copies at a precision of WANTED, and a grid of evidence for it.

    Measured among the whole pictures alone. The grid begins where one pair of strangers in a thousand reaches, and
    ends with the strongest copy.

    Raises:
        UsageError: too few queries or pictures.
    """
    queries, pictures = int((material.own >= 0).sum()), len(material.pictures.group)
    if min(queries, pictures) < 100 or queries * pictures < 4 * MIN_STRANGERS * STRANGERS_PER_KEPT:
        raise UsageError(
            f"{queries} queries and {pictures} references are too few; wanted 100 each at least, "
            f"and {4 * MIN_STRANGERS * STRANGERS_PER_KEPT} pairs of them"
        )
    every = np.arange(len(material.own)) % max(len(material.own) // ASKED, 1) == 0
    whole = replace(material.take(every), cuts=material.cuts.where(slice(0, 0)))
    best = (-1.0, 0.0, np.zeros(0))
    for weight in HASH_WEIGHTS:
        grid = _grid(whole, Evidence(background, weight, BACKGROUND_WEIGHT))
        recall = recall_at(measure(whole, background, weight, grid), WANTED, PRIOR)
        if recall > best[0]:
            best = (recall, weight, grid)
    return best[1:]


def _grid(material: Material, rule: Evidence) -> Curve:
    """Return GRID points from the evidence of one pair of strangers in a thousand to that of the best copy."""
    copying = material.take(material.own >= 0)
    queries, pictures = copying.queries, material.pictures
    most = len(copying.own) * len(pictures.group) // STRANGERS_PER_KEPT
    strangers, pairs, strongest = np.zeros(0, dtype=np.float32), 0, 0.0
    for start in range(0, len(copying.own), BLOCK):
        rows = slice(start, start + BLOCK)
        own = copying.own[rows]
        vectors = queries.embedded.vectors[rows]
        distances = np.maximum(2.0 - 2.0 * vectors @ pictures.embedded.vectors.T, 0.0).astype(np.float32)
        bits = _hamming(queries.embedded.hashes[rows], pictures.embedded.hashes)
        evidence = rule.of(distances, bits, rule.background(vectors)[:, None])
        strongest = max(strongest, float(evidence[np.arange(len(own)), own].max()))
        found = evidence[queries.group[rows][:, None] != pictures.group]
        pairs += found.size
        strangers = np.sort(np.concatenate([strangers, found]))[-most:]
    if pairs < MIN_STRANGERS * STRANGERS_PER_KEPT:
        raise UsageError(f"{pairs} pairs of strangers are too few; wanted pictures that do not all belong together")
    least = float(strangers[-max(pairs // STRANGERS_PER_KEPT, 1)])
    return np.linspace(least, max(strongest, least) + 1e-3, GRID)


def _hamming(queries: npt.NDArray[np.uint8], references: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return differing bits (n, m) by a matrix product of ±1, quicker than by XOR where all pairs are wanted."""
    a = np.unpackbits(queries, axis=1).astype(np.float32) * 2 - 1
    b = np.unpackbits(references, axis=1).astype(np.float32) * 2 - 1
    return np.asarray(np.rint((a.shape[1] - a @ b.T) / 2), dtype=np.int64)


def write_doubtful(
    path: Path, pictures: Pictures, material: Material, background: Descriptors, calibration: Calibration
) -> None:
    """Write a CSV of the DOUBTFUL pairs of whole pictures, strangers as far as is known, that are most alike.

    Columns: sha1_a, sha1_b, relation (`similar`), evidence, path_a, path_b. Somebody looks at them, deletes the rows of
    pictures that are not the same, and gives the rest as `--lookalikes`.
    """
    rule = Evidence(background, *calibration.weights)
    whole = material.pictures
    floor = float(calibration.thresholds(0.5, 1).min_unsure)
    query, reference, strength = measured_pairs(rule, whole.embedded, whole.embedded, floor)
    apart = whole.group[query] != whole.group[reference]
    best: dict[tuple[int, int], float] = {}
    for a, b, evidence in zip(query[apart].tolist(), reference[apart].tolist(), strength[apart].tolist(), strict=True):
        pair = (min(a, b), max(a, b))
        best[pair] = max(best.get(pair, evidence), evidence)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sha1_a", "sha1_b", "relation", "evidence", "path_a", "path_b"])
        for a, b in sorted(best, key=lambda pair: -best[pair])[:DOUBTFUL]:
            one, other = material.references[a], material.references[b]
            names = (pictures.sha1[one], pictures.sha1[other])
            writer.writerow([*names, SIMILAR, f"{best[a, b]:.3f}", pictures.paths[one], pictures.paths[other]])


def collect(
    embedder: Embedder,
    pictures: Pictures,
    held: Sequence[int],
    others: Sequence[int],
    sources: Sequence[str],
    kinds: Sequence[str],
    distractors: int = 0,
    cache: Path | None = None,
    copies: int = COPIES,
    report: Callable[[str, int], None] = lambda _what, _done: None,
) -> Material:
    """Render edited copies of the held-out pictures, and describe them and the references as the stream would.

    Args:
        held: pictures that the network was not trained on.
        others: further pictures, not in the background; all but the first ASIDE become references.
        sources, kinds: of all pictures, where each comes from and what it is like; see `pictures.kinds_of`.
        distractors: cuts of the references besides, described into `cache`.
        copies: of each held-out picture, the edits in turn and every third a chain of edits.
        report: told of "copies" and "distractors", so many more that are done.
    Raises:
        UsageError: no pictures to be set apart.
    """
    if not others:
        raise UsageError("no pictures beside those held out and those of the background; give more")
    aside, others = others[:ASIDE], others[ASIDE:]
    references = [*held, *others]
    group = np.unique(pictures.groups, return_inverse=True)[1]
    source, kind = (np.unique(names, return_inverse=True)[1] for names in (sources, kinds))
    made_of = np.repeat(np.asarray(held, dtype=np.int64), copies)
    whole = describe_pictures(pictures, references, embedder)
    edited = describe_copies(pictures, held, aside, copies, embedder, SEED, lambda done: report("copies", done))
    cuts, cut_from = _no_cuts(embedder.dimension), np.zeros(0, dtype=np.int64)
    if distractors:
        found = describe_distractors(
            pictures, references, distractors, embedder, cache, lambda done: report("distractors", done)
        )
        cuts, cut_from = Embedded(found.vectors.astype(np.float32), found.hashes, found.detail), found.made_of
    made_of = np.concatenate([made_of, np.asarray(others, dtype=np.int64)])
    return Material(
        queries=Labelled(joined([edited, _rows(whole, len(held))]), group[made_of], source[made_of], kind[made_of]),
        pictures=Labelled(whole, group[references], source[references], kind[references]),
        cuts=Labelled(cuts, group[cut_from], source[cut_from], kind[cut_from]),
        own=np.concatenate([np.repeat(np.arange(len(held)), copies), np.full(len(others), -1)]),
        references=references,
    )


def _rows(whole: Embedded, start: int) -> Embedded:
    return Embedded(whole.vectors[start:], whole.hashes[start:], whole.detail[start:])


def _no_cuts(dimension: int) -> Embedded:
    return Embedded(np.zeros((0, dimension), np.float32), np.zeros((0, 32), np.uint8), np.zeros(0, np.uint8))


def with_pages(checkpoint: Checkpoint, embedder: Embedder, count: int) -> Checkpoint:
    """Return the checkpoint with rendered pages in its background, see `pages`; as it is if it has some already.

    The background moves evidence and no vector: the space stays the same.
    """
    if count == 0 or checkpoint.training.get("pages"):
        return checkpoint
    vectors = embedder.embed(render_pages(count, embedder.size)).vectors
    return replace(
        checkpoint,
        background=np.concatenate([checkpoint.background, vectors]),
        training={**checkpoint.training, "pages": count},
    )
