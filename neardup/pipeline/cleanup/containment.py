"""Whether one file shows all that another one does, as far as proofs say so.

A proof is between a copy, the query, and the original of its group, the reference. Of two copies nothing was proved. So
one stands for the other only by way of the original, which has to show all of the one, and be shown in full by the
other.
"""

from __future__ import annotations

import numpy as np

from neardup.pipeline.cleanup.plan import Why
from neardup.pipeline.prove.finding import Finding
from neardup.pipeline.report.result import Match
from neardup.pipeline.types import Exact
from neardup.pipeline.where import Transform

MAX_EXTRA = 0.0
"""Share of blocks in which a file may have what the other lacks: copies that were resized or compressed have none."""
MAX_OUTSIDE = 0.006
"""How far a picture may stick out of another one, of its sides: transforms of copies are exact to 0.004."""


def obstacle(gone: Match | None, kept: Match | None) -> Why | None:
    """Return why a file may show more than the one that is kept; None if proofs exclude that.

    Args:
        gone, kept: how each of the two copies the original of their group; None is the original itself.
    """
    return _not_within(gone, True) or _not_within(kept, False)


def _not_within(match: Match | None, copy_in_original: bool) -> Why | None:
    """Return why a copy may not be within its original, or else the original within the copy."""
    if match is None or match.exact is not Exact.NO:
        return None
    proof, transform = match.proof, match.where.transform
    if proof is None or proof.finding is not Finding.COPY or transform is None:
        return Why.NO_PROOF
    extra = proof.query_extra if copy_in_original else proof.reference_extra
    return Why.SHOWS_MORE if extra > MAX_EXTRA or _sticks_out(transform, not copy_in_original) > MAX_OUTSIDE else None


def _sticks_out(transform: Transform, inverse: bool) -> float:
    """Return how far corners of the query lie outside the reference, in its sides, or the other way round."""
    matrix = np.vstack((np.reshape(transform, (-1, 3)), (0.0, 0.0, 1.0)))[:3]
    try:
        matrix = np.linalg.inv(matrix) if inverse else matrix
    except np.linalg.LinAlgError:
        return np.inf
    x, y, depth = matrix @ np.array([(0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)], np.float64).T
    if (depth * np.sign(depth[0]) <= 0).any():  # a corner lies behind the eye
        return np.inf
    places = np.concatenate((x / depth, y / depth))
    return float(max(-places.min(), places.max() - 1.0))
