"""What is measured: our checkpoints, and the trunk that they started from; `peers` are beside them.

A system scores every query against every reference, higher is more alike; one may give several scores, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neardup.pipeline.embed import embedder as engines
from neardup.pipeline.embed.checkpoint import Architecture, Checkpoint
from neardup.pipeline.learn.evaluate.parts import best_evidence, describe_parts, find_kin
from neardup.pipeline.learn.evaluate.proofs import Decided, decide, proved_scores
from neardup.pipeline.learn.evaluate.queries import EvaluationSet
from neardup.pipeline.match.decide.calibration import parse_calibration
from neardup.pipeline.match.decide.decide import Judge
from neardup.pipeline.match.decide.evidence import Evidence
from neardup.pipeline.media.regions import Mode
from neardup.pipeline.media.tile import squeeze
from neardup.pipeline.types import Pixels

Matrix = npt.NDArray[np.float32]
System = Callable[[EvaluationSet], dict[str, Matrix]]


def ours(
    checkpoint: Checkpoint,
    device: str = "auto",
    threads: int | None = None,
    regions: Mode = "boxes",
    judge: Judge | None = None,
    note: Callable[[str, list[Decided]], object] = lambda _name, _decided: None,
) -> System:
    """Return a checkpoint of ours as it is used, evidence of the best parts, and what that is made of.

    Args:
        judge: proves and decides; None leaves that out. note: called with the checkpoint's name and what was decided.
    """
    embedder = engines.make_embedder(checkpoint, device, threads=threads)
    rule = rule_of(checkpoint)

    def scores(given: EvaluationSet) -> dict[str, Matrix]:
        queries = describe_parts([query.pixels for query in given.queries], embedder, regions)
        references = describe_parts(given.references, embedder, regions)
        name = checkpoint.name
        cost, least = part_cost(checkpoint, len(references.owner)), least_unsure(checkpoint, len(references.owner))
        kin = find_kin(rule, references, least)
        evidence = best_evidence(rule, queries, references, cost, kin)
        found = {f"{name}, evidence": evidence}
        if judge is not None:
            decided = decide(given, evidence, judge, len(references.owner), threads or 1)
            found = {f"{name}, proved": proved_scores(evidence, decided, judge, len(references.owner)), **found}
            note(name, decided)
        queries, references = queries.take(queries.first), references.take(references.first)
        if regions != "none":
            kin = find_kin(rule, references, least)
            found[f"{name}, evidence without regions"] = best_evidence(rule, queries, references, None, kin)
        vectors = queries.embedded.vectors
        similarity = (vectors @ references.embedded.vectors.T).astype(np.float32)
        return {**found, f"{name}, raw": similarity}

    return scores


def part_cost(checkpoint: Checkpoint, references: int) -> Callable[[int], float] | None:
    """Return the evidence that n chances to match cost among m references, by the checkpoint's calibration."""
    if not checkpoint.calibration:
        return None
    calibration = parse_calibration(checkpoint.calibration)
    return lambda n: (calibration.shift(n * references) - calibration.shift(references)) / calibration.slope


def least_unsure(checkpoint: Checkpoint, references: int) -> float:
    """Return the evidence from which a match is unsure among m references, inf without a calibration."""
    if not checkpoint.calibration:
        return float("inf")
    return parse_calibration(checkpoint.calibration).thresholds(0.9, references).min_unsure


def rule_of(checkpoint: Checkpoint) -> Evidence:
    """Return what makes evidence of a checkpoint's descriptors, with its own weights; without, of similarity alone."""
    weights = checkpoint.calibration
    return Evidence(
        checkpoint.background,
        float(weights.get("hash_weight", 0.0)),
        float(weights.get("cohort_weight", 1.0)),
    )


def untrained(weights: Path, architecture: Architecture) -> System:
    """Return a torchvision network as it came (pooled, no head), normalised by pictures of the set itself.

    Raises:
        ConfigError: the file is no state dict of it.
    """
    import torch

    from neardup.pipeline.embed.network import read_trunk

    network = read_trunk(weights, architecture)

    def embed(pictures: Sequence[Pixels]) -> Matrix:
        batches = tiles(pictures, architecture.size)
        with torch.inference_mode():
            parts = [
                network.features(torch.from_numpy(batches[i : i + 32])).numpy() for i in range(0, len(batches), 32)
            ]
        rows = np.concatenate(parts)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-9), dtype=np.float32)

    def scores(given: EvaluationSet) -> dict[str, Matrix]:
        queries = embed([query.pixels for query in given.queries])
        similarity = queries @ embed(given.references).T
        background = Evidence(embed(given.background), 0.0).background(queries)[:, None]
        return {"untrained trunk, normalised": similarity - background, "untrained trunk, raw": similarity}

    return scores


def tiles(pictures: Sequence[Pixels], size: int) -> Pixels:
    """Return pictures as the network sees them, uint8 (n, size, size, 3)."""
    # torch warns of arrays that cannot be written, as Pillow's are.
    return np.stack([squeeze(one if one.flags.writeable else one.copy(), size) for one in pictures])
