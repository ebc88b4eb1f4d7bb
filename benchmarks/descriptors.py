"""Descriptors made up for benchmarks: unit vectors that lie as a network's do, and near-duplicates of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from neardup.pipeline.types import Descriptors


def unit(vectors: npt.NDArray[np.floating[Any]]) -> Descriptors:
    """Return rows of unit length."""
    normed: Descriptors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return normed


def near(vectors: Descriptors, rng: np.random.Generator) -> Descriptors:
    """Return a near-duplicate of each row: noise of length 0.05 to 0.45 added."""
    noise = unit(rng.standard_normal(vectors.shape, dtype=np.float32))
    return unit(vectors + noise * rng.uniform(0.05, 0.45, (len(vectors), 1)))


class Population:
    """Pictures that have nothing to do with each other, as a checkpoint would describe them.

    Normal, with the mean and the covariance of real descriptors; half of them stand around one of 2,000 centres drawn
    likewise (as holiday pictures and product shots do), where the centre gives a third of the variance.
    """

    def __init__(self, real: Descriptors, rng: np.random.Generator, centres: int = 2000) -> None:
        """Take real descriptors, float32 (n, d)."""
        self._rng = rng
        self._mean = real.mean(axis=0)
        values, axes = np.linalg.eigh(np.cov(real.T))
        self._spread = (axes * np.sqrt(np.maximum(values, 0.0))).T.astype(np.float32)  # (d, d)
        self._centres = self._draw(centres)

    def take(self, count: int) -> Descriptors:
        """Return float32 (count, d)."""
        vectors = self._draw(count)
        crowded = self._rng.random(count) < 0.5
        of = self._rng.integers(0, len(self._centres), int(crowded.sum()))
        vectors[crowded] = (2 / 3) ** 0.5 * vectors[crowded] + (1 / 3) ** 0.5 * self._centres[of]
        return unit(vectors + self._mean)

    def _draw(self, count: int) -> Descriptors:
        drawn: Descriptors = self._rng.standard_normal((count, len(self._mean)), dtype=np.float32) @ self._spread
        return drawn
