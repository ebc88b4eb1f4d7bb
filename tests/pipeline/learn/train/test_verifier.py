from __future__ import annotations

import numpy as np
import pytest

from neardup.pipeline.errors import UsageError
from neardup.pipeline.learn.shared.verification import Numbers
from neardup.pipeline.learn.train.verifier import FALSE_ACCEPT, fit_verifier
from neardup.pipeline.types import Descriptors

NONE = np.zeros((0, 16), np.float32)


def pictures(noise: float, classes: int = 12, each: int = 8) -> tuple[Descriptors, Numbers]:
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(classes), each)
    rows = rng.standard_normal((classes, 16))[labels] + noise * rng.standard_normal((classes * each, 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels


def test_threshold_accepts_one_impostor_in_a_hundred_and_probability_rises() -> None:
    vectors, labels = pictures(0.8)
    verifier = fit_verifier(vectors, labels, np.zeros(len(labels), bool), NONE)
    scores = vectors @ vectors.T
    impostors = scores[labels[:, None] != labels[None]]
    assert (impostors >= verifier.threshold).mean() == pytest.approx(verifier.false_accept, abs=1e-4)
    assert 0.5 * FALSE_ACCEPT < verifier.false_accept <= FALSE_ACCEPT
    assert 0 < verifier.equal_error < verifier.false_reject
    assert (verifier.classes, verifier.genuine, verifier.impostors) == (12, 12 * 28, 66 * 64)
    # Half of all pairs: where as many genuine as impostor pairs of equal weight lie, the odds are even.
    middle = -verifier.intercept / verifier.slope
    genuine = scores[(labels[:, None] == labels[None]) & ~np.eye(len(labels), dtype=bool)]
    assert np.median(impostors) < middle < np.median(genuine)
    assert verifier.probability(0.9) > 0.9 > 0.1 > verifier.probability(-0.2)


def test_forgeries_are_impostors() -> None:
    vectors, labels = pictures(0.8)
    forged = np.arange(len(labels)) % 8 >= 6
    verifier = fit_verifier(vectors, labels, forged, NONE)
    assert (verifier.genuine, verifier.impostors) == (12 * 15, 66 * (64 - 4) + 12 * 12)
    assert verifier.equal_error > fit_verifier(vectors, labels, np.zeros(len(labels), bool), NONE).equal_error


def test_classes_that_do_not_overlap_have_finite_numbers() -> None:
    vectors, labels = pictures(0.01)
    verifier = fit_verifier(vectors, labels, np.zeros(len(labels), bool), NONE)
    assert verifier.equal_error == verifier.false_reject == 0
    assert np.isfinite([verifier.slope, verifier.intercept, verifier.threshold]).all()


def test_one_class_cannot_be_measured() -> None:
    vectors, _ = pictures(0.5)
    with pytest.raises(UsageError, match="both genuine and impostor"):
        fit_verifier(vectors, np.zeros(len(vectors), np.int64), np.zeros(len(vectors), bool), NONE)
