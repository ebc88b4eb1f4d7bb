"""Distances of queries to rows, computed one way wherever a decision may rest on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from neardup.pipeline.index.rows import RowNumbers
from neardup.pipeline.types import Descriptors

_PAIR_FLOATS = 1 << 16
"""256 kB at a time, which stays in the cache."""


def distances_to_rows(
    read: Callable[[RowNumbers], Descriptors], queries: Descriptors, rows: RowNumbers
) -> npt.NDArray[np.float32]:
    """Return the squared distance of each query, (n, d), to each of its rows, (n, m): float32 (n, m), NaN for -1.

    By direct differences, so that neither depends on how queries are batched.

    Args:
        read: returns rows as float32 (p, d), which may be written over.
    """
    distances = np.full(rows.shape, np.nan, np.float32)
    of_query, place = np.nonzero(rows >= 0)
    step = max(1, _PAIR_FLOATS // max(queries.shape[1], 1))
    for start in range(0, len(place), step):
        pair = of_query[start : start + step], place[start : start + step]
        difference = read(rows[pair])
        difference -= queries[pair[0]]  # (pairs, d)
        distances[pair] = np.einsum("pd,pd->p", difference, difference)
    return distances
