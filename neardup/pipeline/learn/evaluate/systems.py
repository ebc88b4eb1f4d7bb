"""What is measured: our checkpoints, the trunk that they started from, and peers that need no training.

A system scores every query against every reference, higher is more alike; one may give several scores, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from neardup.pipeline.embed import embedder as engines
from neardup.pipeline.embed.checkpoint import Architecture, Checkpoint
from neardup.pipeline.learn.evaluate.parts import best_evidence, describe_parts, differing, find_kin
from neardup.pipeline.learn.evaluate.proofs import Decided, decide, log_odds
from neardup.pipeline.learn.evaluate.queries import EvaluationSet
from neardup.pipeline.match.decide.calibration import parse_calibration
from neardup.pipeline.match.decide.decide import Judge
from neardup.pipeline.match.decide.evidence import Evidence
from neardup.pipeline.media.regions import Mode
from neardup.pipeline.media.tile import squeeze
from neardup.pipeline.types import Pixels

Matrix = npt.NDArray[np.float32]
System = Callable[[EvaluationSet], dict[str, Matrix]]
Bits = npt.NDArray[np.uint8]
"""(n, b), each 0 or 1."""


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
            found = {f"{name}, proved": log_odds(evidence, decided, judge, len(references.owner)), **found}
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


def peers() -> tuple[dict[str, System], list[str]]:
    """Return the peers whose packages are installed, by name, and the packages that are missing."""
    found: dict[str, System] = {}
    missing = [package for package in ("pdqhash", "imagehash") if find_spec(package) is None]
    if "pdqhash" not in missing:
        found["PDQ"] = _by_hash("PDQ", _pdq, _pdq)
        found["PDQ, 8 orientations"] = _by_hash("PDQ, 8 orientations", _pdq_turned, _pdq)
    if "imagehash" not in missing:
        found["pHash"] = _by_hash("pHash", _phash, _phash)
        found["dHash"] = _by_hash("dHash", _dhash, _dhash)
    return found, missing


def tiles(pictures: Sequence[Pixels], size: int) -> Pixels:
    """Return pictures as the network sees them, uint8 (n, size, size, 3)."""
    # torch warns of arrays that cannot be written, as Pillow's are.
    return np.stack([squeeze(one if one.flags.writeable else one.copy(), size) for one in pictures])


def _by_hash(name: str, of_query: Callable[[Pixels], Bits], of_reference: Callable[[Pixels], Bits]) -> System:
    """Return a system that scores by the fewest differing bits; a query may have several hashes, a reference one."""

    def scores(given: EvaluationSet) -> dict[str, Matrix]:
        queries = np.stack([of_query(query.pixels) for query in given.queries])  # (q, views, bits)
        references = np.stack([of_reference(picture)[0] for picture in given.references])
        views = [differing(queries[:, view], references) for view in range(queries.shape[1])]
        return {name: -np.min(views, axis=0).astype(np.float32)}

    return scores


def _pdq(picture: Pixels) -> Bits:
    import pdqhash

    return np.asarray(pdqhash.compute(np.ascontiguousarray(picture))[0], dtype=np.uint8).reshape(1, -1)


def _pdq_turned(picture: Pixels) -> Bits:
    import pdqhash

    return np.stack(pdqhash.compute_dihedral(np.ascontiguousarray(picture))[0]).astype(np.uint8)


def _phash(picture: Pixels) -> Bits:
    import imagehash

    return np.asarray(imagehash.phash(Image.fromarray(picture)).hash, dtype=np.uint8).reshape(1, -1)


def _dhash(picture: Pixels) -> Bits:
    import imagehash

    return np.asarray(imagehash.dhash(Image.fromarray(picture)).hash, dtype=np.uint8).reshape(1, -1)
