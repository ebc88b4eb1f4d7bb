"""The nearest of many references: the candidates and the cohort of a query, for measuring in bulk."""

from __future__ import annotations

import numpy as np

from neardup.pipeline.match.decide.evidence import Floats
from neardup.pipeline.types import Ids

CANDIDATES = 64
"""Nearest references that are looked at, as `match.compare.candidates` does."""


def nearest_places(similarity: Floats, most: int) -> tuple[Ids, Floats]:
    """Return the places of the highest values of each row, (n, m), and the values, (n, most at most), highest first."""
    most = min(most, similarity.shape[1])
    places = np.argpartition(-similarity, most - 1, axis=1)[:, :most]
    values = np.take_along_axis(similarity, places, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1), np.take_along_axis(values, order, axis=1)
