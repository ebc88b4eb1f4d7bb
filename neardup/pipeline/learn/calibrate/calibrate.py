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
from neardup.pipeline.learn.calibrate.fit import LEVELS, fit, recall_at
from neardup.pipeline.learn.calibrate.strangers import Curve, Labelled, Places, Sample, count_strangers, strange_pairs
from neardup.pipeline.learn.shared.pages import render_pages
from neardup.pipeline.learn.shared.pictures import SIMILAR, Pictures
from neardup.pipeline.match.decide.calibration import Calibration
from neardup.pipeline.match.decide.evidence import Evidence
from neardup.pipeline.types import Descriptors, Embedded

PRIOR = 0.1
"""Share of queries that copy something, unless given: one in ten uploads."""
COHORT_WEIGHT = 1.0
"""`benchmarks/cohort.py` prints others."""
HASH_WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)
MIN_PAIRS = 32_000
"""Queries times references from which there is a curve."""
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
    weight = choose_weight(material, background)
    sample = measure(material, background, weight, LEVELS)
    return fit(sample, grid_of(sample), prior, (weight, COHORT_WEIGHT), source, space)


def measure(material: Material, background: Descriptors, hash_weight: float, levels: Sequence[int]) -> Sample:
    """Return what the queries find among these numbers of references, at this hash weight."""
    rule = Evidence(background, hash_weight, COHORT_WEIGHT)
    return count_strangers(rule, material.queries, material.pictures, material.cuts, material.own, levels)


def choose_weight(material: Material, background: Descriptors) -> float:
    """Return the hash weight that finds most copies at a precision of WANTED, among the whole pictures alone.

    Raises:
        UsageError: too few queries or pictures.
    """
    queries, pictures = int((material.own >= 0).sum()), len(material.pictures.group)
    if min(queries, pictures) < 100 or queries * pictures < MIN_PAIRS:
        raise UsageError(
            f"{queries} queries and {pictures} references are too few; wanted 100 each at least, and {MIN_PAIRS} pairs "
            "of them"
        )
    every = np.arange(len(material.own)) % max(len(material.own) // ASKED, 1) == 0
    whole = replace(material.take(every), cuts=material.cuts.where(slice(0, 0)))
    best = (-1.0, 0.0)
    for weight in HASH_WEIGHTS:
        sample = measure(whole, background, weight, ())
        best = max(best, (recall_at(sample, grid_of(sample), WANTED, PRIOR), weight), key=lambda one: one[0])
    return best[1]


def grid_of(sample: Sample) -> Curve:
    """Return GRID points from what half of the queries find by chance, of few references, to the strongest copy.

    Raises:
        UsageError: no query found a stranger, or none its copy.
    """
    found = sample.strangers[0][np.isfinite(sample.strangers[0])]
    copies = np.concatenate([draws[np.isfinite(draws)] for draws in sample.copies])
    if not len(found) or not len(copies):
        raise UsageError("no query found a stranger, or none its own picture; wanted pictures that show something")
    least = float(np.median(found))
    return np.linspace(least, max(float(copies.max()), least) + 1e-3, GRID)


def write_doubtful(
    path: Path, pictures: Pictures, material: Material, background: Descriptors, calibration: Calibration
) -> None:
    """Write a CSV of the DOUBTFUL pairs of whole pictures, strangers as far as is known, that are most alike.

    Columns: sha1_a, sha1_b, relation (`similar`), evidence, path_a, path_b. Somebody looks at them, deletes the rows of
    pictures that are not the same, and gives the rest as `--lookalikes`.
    """
    rule, whole = Evidence(background, *calibration.weights), material.pictures
    floor = float(calibration.thresholds(0.5, 1).min_unsure)
    best: dict[tuple[int, int], float] = {}
    for a, b, evidence in strange_pairs(rule, whole, whole, floor):
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
        report: called with "copies" or "distractors" and how many more are done.
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
