"""Measure how evidence is distributed over copies and over strangers, and write down the curves.

Queries are edited copies of pictures that the network was not trained on; references are those pictures and any
number of others. A query against its own picture is a copy, against all others a stranger, except pairs that are known
to look alike.

    neardup calibrate DIR… --model PATH --output PATH
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import numpy.typing as npt

from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.errors import UsageError
from neardup.pipeline.match.calibration import Calibration
from neardup.pipeline.match.evidence import Evidence
from neardup.pipeline.train.edits import EDITS, Draw, chain, draw_steps
from neardup.pipeline.train.pages import render_pages
from neardup.pipeline.train.pictures import Pictures
from neardup.pipeline.train.views import squeeze
from neardup.pipeline.types import Descriptors, Embedded

PRIOR = 0.1
"""Share of queries that copy something, unless told otherwise: one in ten uploads."""
HASH_WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
STRANGERS_PER_KEPT = 1000
MIN_STRANGERS = 8
"""Pairs behind the last knot of the false-match curve; beyond it the tail is extrapolated."""
BLOCK = 256
COPIES = 12
ASIDE = 200
"""Pictures set apart as material for edits that mix pictures."""
SEED = 20261122
Curve = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured for one hash weight: evidence of copies (p,), and of the highest-scoring strangers (s,)."""

    hash_weight: float
    copies: Curve
    strangers: Curve
    stranger_pairs: int


def calibrate(
    queries: Embedded,
    truth: npt.NDArray[np.int64],
    references: Embedded,
    alike: npt.NDArray[np.bool_],
    background: Descriptors,
    source: str,
    prior: float = PRIOR,
) -> Calibration:
    """Return a calibration.

    Args:
        queries: n edited pictures. truth: int64 (n,), the reference that each copies.
        references: m pictures.
        alike: bool (m, m), pairs of references that are neither copies nor strangers; the diagonal is not read.
        background: float32 (b, d), for score normalisation; none of the pictures above.
        source: what the pictures are, for a person.
        prior: share of queries that copy something, 0 to 1.
    Raises:
        UsageError: too few pictures for a curve.
    """
    pairs = len(truth) * len(references.vectors)
    if min(len(truth), len(references.vectors)) < 100 or pairs < 4 * MIN_STRANGERS * STRANGERS_PER_KEPT:
        raise UsageError(
            f"{len(truth)} queries and {len(references.vectors)} references are too few; wanted 100 each at least, "
            f"and {4 * MIN_STRANGERS * STRANGERS_PER_KEPT} pairs of them"
        )
    samples = [_measure(queries, truth, references, alike, background, weight) for weight in HASH_WEIGHTS]
    best = max(samples, key=_recall_at_rare_false_matches)
    return _fit(best, prior, source, len(truth), len(references.vectors))


def _measure(
    queries: Embedded,
    truth: npt.NDArray[np.int64],
    references: Embedded,
    alike: npt.NDArray[np.bool_],
    background: Descriptors,
    hash_weight: float,
) -> Sample:
    rule = Evidence(background, hash_weight)
    # Only the high end matters, and it alone is kept: one in a thousand, which is where thresholds can lie.
    most = len(truth) * len(references.vectors) // STRANGERS_PER_KEPT
    copies, strangers, pairs = [], np.zeros(0, dtype=np.float32), 0
    for start in range(0, len(truth), BLOCK):
        rows = slice(start, start + BLOCK)
        own = truth[rows]
        distances = np.maximum(2.0 - 2.0 * queries.vectors[rows] @ references.vectors.T, 0.0).astype(np.float32)
        bits = _hamming(queries.hashes[rows], references.hashes)
        evidence = rule.of(distances, bits, rule.background(queries.vectors[rows])[:, None])
        places = np.arange(len(own))
        copies.append(evidence[places, own])
        is_stranger = ~alike[own]
        is_stranger[places, own] = False
        found = evidence[is_stranger]
        pairs += found.size
        strangers = np.sort(np.concatenate([strangers, found]))[-most:]
    kept = strangers[-max(pairs // STRANGERS_PER_KEPT, 1) :]
    return Sample(hash_weight, np.concatenate(copies).astype(float), kept.astype(float), pairs)


def _hamming(queries: npt.NDArray[np.uint8], references: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return differing bits (n, m) by a matrix product of ±1, quicker than by XOR where all pairs are wanted."""
    a = np.unpackbits(queries, axis=1).astype(np.float32) * 2 - 1
    b = np.unpackbits(references, axis=1).astype(np.float32) * 2 - 1
    return np.asarray(np.rint((a.shape[1] - a @ b.T) / 2), dtype=np.int64)


def _recall_at_rare_false_matches(sample: Sample) -> float:
    """Return the share of copies above the evidence that one stranger pair in a million reaches."""
    allowed = max(int(sample.stranger_pairs * 1e-6), 1)
    return float((sample.copies > sample.strangers[-allowed]).mean())


def _fit(sample: Sample, prior: float, source: str, queries: int, references: int) -> Calibration:
    ranks = np.unique(np.geomspace(MIN_STRANGERS, len(sample.strangers), 24).astype(int))[::-1]
    knots = sample.strangers[-ranks]
    rates = np.log(ranks / sample.stranger_pairs)
    rising = np.concatenate([[True], np.diff(knots) > 1e-6])
    knots, rates = knots[rising], rates[rising]
    # Recall goes on beyond the last stranger: knots up to the strongest copies, with the tail's own slope.
    beyond = np.linspace(knots[-1], sample.copies.max() + 1e-3, 12)[1:]
    steep = max(len(knots) - 6, 0)
    slope = (rates[-1] - rates[steep]) / (knots[-1] - knots[steep])
    knots, rates = np.concatenate([knots, beyond]), np.concatenate([rates, rates[-1] + slope * (beyond - knots[-1])])
    recall = (sample.copies[None] >= knots[:, None]).mean(axis=1)
    log_odds = _fit_log_odds(sample, prior)
    numbers = {
        "prior": prior,
        "hash_weight": sample.hash_weight,
        "evidence": tuple(np.round(knots, 6).tolist()),
        "log_false_matches": tuple(np.round(rates, 6).tolist()),
        "recall": tuple(np.round(recall, 6).tolist()),
        "slope": round(log_odds[0], 6),
        "intercept": round(log_odds[1], 6),
        "queries": queries,
        "references": references,
    }
    version = hashlib.sha256(msgspec.json.encode(numbers)).hexdigest()[:8]
    return msgspec.convert({"version": version, "source": source, **numbers}, Calibration)


def _fit_log_odds(sample: Sample, prior: float) -> tuple[float, float]:
    """Return slope and intercept of the log-odds that a pair is a copy, for one reference, by logistic regression.

    Only evidence where strangers were kept counts: elsewhere the answer is not in doubt, and a straight line fitted
    there would be wrong where it is. Newton's method, weighted so that copies stand to strangers as prior to 1.
    """
    least = sample.strangers[0]
    copies = sample.copies[sample.copies >= least]
    x = np.concatenate([copies, sample.strangers])
    y = np.concatenate([np.ones(len(copies)), np.zeros(len(sample.strangers))])
    weight = np.where(y == 1, prior / len(sample.copies), 1.0 / sample.stranger_pairs)
    weight /= weight.sum()
    centre = x.mean()
    design = np.stack([x - centre, np.ones_like(x)], axis=1)
    beta = np.zeros(2)
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-design @ beta))
        gradient = design.T @ (weight * (y - p)) - 1e-6 * beta
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + 1e-6 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        beta += np.clip(step, -5.0, 5.0)
        if np.abs(step).max() < 1e-8:
            break
    return float(beta[0]), float(beta[1] - beta[0] * centre)


def calibrate_checkpoint(
    checkpoint: Checkpoint,
    embedder: Embedder,
    pictures: Pictures,
    held: Sequence[int],
    others: Sequence[int],
    source: str,
    copies: int = COPIES,
    report: Callable[[int, int], None] = lambda _done, _all: None,
) -> Calibration:
    """Render edited copies of the held-out pictures, embed them as the stream would, and calibrate.

    Args:
        held: pictures that the network was not trained on.
        others: further pictures, not in the background; all but the first ASIDE become references.
        copies: of each held-out picture, the edits in turn and every third a chain of edits.
        report: told how many of the held-out pictures are done.
    Raises:
        UsageError: too few pictures for a curve, or none to be set apart.
    """
    if not others:
        raise UsageError("no pictures beside those held out and those of the background; give more")
    # What edits paste a picture onto, or put beside it, must not be a reference: the query would be its copy too.
    aside_from, others = others[:ASIDE], others[ASIDE:]
    references = embedder.embed(np.stack([squeeze(pictures.pixels[i], embedder.size) for i in (*held, *others)]))
    names = sorted(EDITS)
    parts: list[Embedded] = []
    for row, index in enumerate(held):
        aside = [pictures.pixels[aside_from[(8 * row + step) % len(aside_from)]] for step in range(8)]
        tiles = []
        for copy in range(copies):
            draw = Draw(np.random.default_rng((SEED, row, copy)), aside)
            one = [(names[(row * copies + copy) % len(names)], draw.within(0.05, 0.7))]
            steps = draw_steps(draw, 0.7) if copy % 3 == 2 else one
            tiles.append(squeeze(chain(pictures.pixels[index], steps, draw), embedder.size))
        parts.append(embedder.embed(np.stack(tiles)))
        report(row + 1, len(held))
    place = {index: row for row, index in enumerate((*held, *others))}
    # Neither copies nor strangers: known look-alikes, and what belongs together, such as portraits of one person.
    groups = np.unique([pictures.groups[i] for i in place], return_inverse=True)[1]
    alike = groups[:, None] == groups[None]
    truth = np.repeat(np.arange(len(held)), copies)
    return calibrate(_stored(parts), truth, _stored([references]), alike, checkpoint.background, source)


def _stored(parts: Sequence[Embedded]) -> Embedded:
    """Join, and round the vectors as a record of the log does."""
    vectors = np.concatenate([part.vectors for part in parts]).astype(np.float16).astype(np.float32)
    return Embedded(
        vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        hashes=np.concatenate([part.hashes for part in parts]),
        detail=np.concatenate([part.detail for part in parts]),
    )


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
