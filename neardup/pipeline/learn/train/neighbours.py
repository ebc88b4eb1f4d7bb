"""The nearest different pictures of every picture, as the network sees them: the negatives that teach most."""

from __future__ import annotations

import numpy as np

from neardup.pipeline.learn.shared.pairs import Indices, Relations
from neardup.pipeline.types import Descriptors

BLOCK = 1024


def nearest_neighbours(vectors: Descriptors, count: int, members: Indices, relations: Relations) -> Indices:
    """Return for each unit row (n, d) the rows nearest to it, (n, at most `count`) in no order.

    Args:
        members: int64 (n,), the pictures that the rows stand for.
        relations: rows that are not different come only where there are fewer than `count` others.
    """
    count = min(count, len(vectors) - 1)
    parts = []
    for start in range(0, len(vectors), BLOCK):
        similarity = vectors[start : start + BLOCK] @ vectors.T
        _, different = relations.masks(members[start : start + BLOCK], members)
        similarity[~different] -= 4
        rows = np.arange(len(similarity))
        similarity[rows, rows + start] = -np.inf
        parts.append(np.argpartition(-similarity, count - 1, axis=1)[:, :count])
    return np.concatenate(parts).astype(np.int64)
