from __future__ import annotations

import numpy as np
import pytest

from benchmarks.scann_agreement import NEVER, Answers, ask, compare, fill, records, table
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.match.apply.make import make_state, read_calibration
from neardup.pipeline.types import Descriptors, Embedded


def answers(best: list[str], decision: list[str], evidence: list[float]) -> Answers:
    return Answers(np.array(best), np.array(decision), np.array(evidence), 1.0)


def test_agreement_by_hand() -> None:
    exact = answers(["a", "b", "c", "d"], ["duplicate", "unsure", "distinct", "distinct"], [0.9, 0.5, 0.1, 0.2])
    other = answers(["a", "x", "c", "d"], ["duplicate", "distinct", "distinct", "distinct"], [0.91, 0.2, 0.15, 0.2])
    found = compare(exact, other)
    assert (found.queries, found.decisions, found.evidence) == (4, 0.75, 0.5)
    assert (found.match_lost, found.cohort) == (0.25, 0.25)


def embedded(vectors: Descriptors) -> Embedded:
    n = len(vectors)
    hashes = np.random.default_rng(n).integers(0, 256, (n, 32), dtype=np.uint8)
    return Embedded(vectors, hashes, np.full(n, 50, np.uint8))


@pytest.mark.slow
def test_all_leaves_searched_the_answers_are_the_exact_ones() -> None:
    checkpoint = load_checkpoint("default")
    random = np.random.default_rng(0)
    vectors = random.normal(size=(1200, checkpoint.architecture.dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near = vectors[:200] + 0.3 * random.normal(size=(200, vectors.shape[1])).astype(np.float32) / 16
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    state = make_state(checkpoint, read_calibration(checkpoint), 0.99, stars=False, kind="scann", scann_from=NEVER)
    fill(state, records("reference", embedded(vectors)))
    groups = {"copies": records("copy", embedded(near))}
    exact = ask(state, groups["copies"])
    assert exact.best[:2].tolist() == ["reference-0", "reference-1"]
    lines = list(table(state, groups, (1, 1000)))
    assert lines[-1].startswith("| copies | 1000 | 200 | 100.00 | 100.00 | 0.00 | 0.00 |")
    assert not state.seen.heads.index.proposer.is_exact
    state.close()
