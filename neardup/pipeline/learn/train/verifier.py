"""Measure what scores of pairs mean on held-out classes, after a training on classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neardup.pipeline.learn.shared.verification import Numbers, Pairs, Roc, all_pairs
from neardup.pipeline.match.query.verify import Verifier, pair_scores
from neardup.pipeline.types import Descriptors

FALSE_ACCEPT = 0.01
"""The share of impostor pairs that may be accepted."""


def fit_verifier(
    vectors: Descriptors, classes: Numbers, forged: npt.NDArray[np.bool_], background: Descriptors
) -> Verifier:
    """Return the verifier whose threshold accepts one impostor pair in a hundred of those measured.

    Args:
        vectors: float32 (n, d), of pictures of classes that the network has not seen. classes: int64 (n,).
        forged: bool (n,), imitations of their class. background: float32 (b, d).
    Raises:
        UsageError: no genuine or no impostor pairs among them.
    """
    pairs = all_pairs(pair_scores(vectors, vectors, background), classes, forged)
    roc = Roc(pairs)
    threshold = roc.threshold_at(FALSE_ACCEPT)
    accepted = pairs.score >= threshold
    slope, intercept = _fit_log_odds(pairs)
    return Verifier(
        # Not infinite: no score can reach 2.
        threshold=round(min(threshold, 2.0), 6),
        false_accept=round(float(accepted[~pairs.genuine].mean()), 6),
        false_reject=round(float(1 - accepted[pairs.genuine].mean()), 6),
        equal_error=round(roc.equal_error_rate, 6),
        slope=round(slope, 6),
        intercept=round(intercept, 6),
        classes=len(np.unique(classes)),
        genuine=int(pairs.genuine.sum()),
        impostors=int((~pairs.genuine).sum()),
    )


def _fit_log_odds(pairs: Pairs) -> tuple[float, float]:
    """Return slope and intercept by logistic regression (Newton's method), both kinds of pairs of equal weight.

    A small penalty on the slope keeps it finite where the two kinds do not overlap.
    """
    score, genuine = pairs.score.astype(np.float64), pairs.genuine
    weight = np.where(genuine, 0.5 / genuine.sum(), 0.5 / (~genuine).sum())
    centre, scale = score.mean(), score.std() + 1e-9
    design = np.stack(((score - centre) / scale, np.ones_like(score)), axis=1)
    penalty = np.diag((1e-3, 1e-9))
    beta = np.zeros(2)
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ beta, -50.0, 50.0)))
        gradient = design.T @ (weight * (genuine - p)) - penalty @ beta
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + penalty
        step = np.linalg.solve(hessian, gradient)
        beta += np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-9:
            break
    slope = beta[0] / scale
    return float(slope), float(beta[1] - slope * centre)
