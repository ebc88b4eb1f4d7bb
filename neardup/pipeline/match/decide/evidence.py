"""Evidence: the one number that decisions are taken on.

    evidence = similarity − background_weight · background + hash_weight · agreement

*Similarity* is the inner product of unit vectors. *Background* is the query's mean similarity to its three nearest
pictures of a fixed background set: a picture that resembles everything (a white page, a logo) needs more to be a copy.
It shifts each query as a whole, so the search under the plain distance stays right.
Source: Pizzi et al. 2022, arXiv:2202.10261, section 4 (score normalisation), with neighbours 1 to 3. Their β is 1; less
of it bears that the background shows other kinds of pictures than are searched (`benchmarks/background.py`).
*Agreement* comes from the DCT hash of the same pixels: 1 for equal hashes, 0 from `UNRELATED_BITS` differing bits on,
which is what pictures that have nothing to do with each other show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neardup.pipeline.log.records import Described, unpack
from neardup.pipeline.types import Descriptors, Embedded, Hashes

BACKGROUND_NEIGHBOURS = 3
UNRELATED_BITS = 96
"""Of 256; two unrelated hashes differ in 128 ± 8 bits, so this is four standard deviations below."""

BLOCK = 256
"""Queries compared with all references at a time."""
WIDTH = 4096
"""References of a block where there are many."""
SLACK = 1e-4
"""More than the rounding of a matrix product, so that no pair is ruled out by it."""

Floats = npt.NDArray[np.float32]


class Evidence:
    """Computes evidence for pairs of descriptors."""

    def __init__(self, background: Descriptors, hash_weight: float, background_weight: float = 1.0) -> None:
        """Take the background set, float32 (b, d) with unit rows, and both weights, see `calibration.Calibration`."""
        self._background = np.ascontiguousarray(background.T)  # (d, b)
        self.hash_weight = np.float32(hash_weight)
        self.background_weight = np.float32(background_weight)

    def background(self, queries: Descriptors) -> Floats:
        """Return the mean similarity of each query, float32 (n, d), to its nearest background pictures: (n,)."""
        neighbours = min(BACKGROUND_NEIGHBOURS, self._background.shape[1])
        if neighbours == 0:
            return np.zeros(len(queries), dtype=np.float32)
        similarity = queries @ self._background  # (n, b)
        nearest = np.partition(similarity, -neighbours, axis=1)[:, -neighbours:]
        return np.asarray(nearest.mean(axis=1), dtype=np.float32)

    def of(self, distances: Floats, bits: npt.NDArray[np.int64], background: Floats) -> Floats:
        """Return the evidence of pairs, all arguments of one shape.

        Args:
            distances: squared Euclidean distance of unit vectors, 0 to 4.
            bits: differing bits of the two hashes, 0 to 256.
            background: of the query.
        """
        similarity = 1.0 - distances / 2.0
        agreement = np.clip(1.0 - bits / UNRELATED_BITS, 0.0, 1.0)
        shift = self.background_weight * background
        return np.asarray(similarity - shift + self.hash_weight * agreement, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Pictures:
    """n descriptors with what evidence needs besides; `background` is read of queries only."""

    vectors: Descriptors
    hashes: Hashes
    background: Floats


def near(
    rule: Evidence, queries: Pictures, references: Pictures, floor: npt.ArrayLike, most: int | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats, Floats]:
    """Return all pairs whose evidence reaches the floor, in order of the query.

    Args:
        floor: one for all queries, or one for each, (n,).
        most: references considered for one query, the nearest; None for all. A bound where nothing moves in two long
            videos, and every frame resembles every other.
    Returns:
        places in queries and in references (int64), squared distances and evidence (float32), all (p,).
    """
    found = [(_NO_PLACES, _NO_PLACES, _NO_VALUES, _NO_VALUES)]
    least = np.broadcast_to(np.asarray(floor, dtype=np.float64), len(queries.vectors))
    for start in range(0, len(queries.vectors), BLOCK):
        stop = start + BLOCK
        similarity = queries.vectors[start:stop] @ references.vectors.T  # (block, m)
        # The hash can add no more than its weight: most pairs are ruled out without looking at hashes.
        shift = rule.background_weight * queries.background[start:stop, None]
        bound = similarity - shift + (rule.hash_weight + SLACK)
        possible = bound >= least[start:stop, None]
        if most is not None and most < possible.shape[1]:
            possible &= _nearest(similarity, most)
        query, reference = np.nonzero(possible)
        query = query + start
        difference = queries.vectors[query] - references.vectors[reference]
        distance = np.einsum("nd,nd->n", difference, difference)
        bits = differing_bits(queries.hashes[query], references.hashes[reference])
        strength = rule.of(distance, bits, queries.background[query])
        kept = strength >= least[query]
        found.append((query[kept], reference[kept], distance[kept], strength[kept]))
    query, reference, distance, strength = (np.concatenate(column) for column in zip(*found, strict=True))
    return query, reference, distance, strength


def measured_pairs(
    rule: Evidence, queries: Embedded, references: Embedded, floor: float = -math.inf
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """Return the pairs of items whose evidence reaches the floor: what is decided on, for measuring it in bulk.

    Calibration and evaluation measure this, so that what they say holds of what is used. Distances come from a matrix
    product, within 1e-6 of those that decide.

    Returns:
        places in queries and in references (int64) and evidence (float32), all (p,).
    """
    found = [(_NO_PLACES, _NO_PLACES, _NO_VALUES)]
    background = rule.background(queries.vectors)
    for top in range(0, len(queries.vectors), BLOCK):
        mine = slice(top, top + BLOCK)
        for left in range(0, len(references.vectors), WIDTH):
            theirs = slice(left, left + WIDTH)
            similarity = queries.vectors[mine] @ references.vectors[theirs].T
            bound = similarity - rule.background_weight * background[mine, None] + (rule.hash_weight + SLACK)
            query, reference = np.nonzero(bound >= floor)
            distance = 2.0 - 2.0 * similarity[query, reference]
            bits = differing_bits(queries.hashes[mine][query], references.hashes[theirs][reference])
            strength = rule.of(distance, bits, background[mine][query])
            kept = strength >= floor
            found.append((query[kept] + top, reference[kept] + left, strength[kept]))
    query, reference, strength = (np.concatenate(column) for column in zip(*found, strict=True))
    return query, reference, strength


_NO_PLACES = np.zeros(0, dtype=np.int64)
_NO_VALUES = np.zeros(0, dtype=np.float32)


def _nearest(similarity: Floats, most: int) -> npt.NDArray[np.bool_]:
    """Mark the highest values of each row, (n, m)."""
    marks = np.zeros(similarity.shape, dtype=np.bool_)
    np.put_along_axis(marks, np.argpartition(-similarity, most - 1, axis=1)[:, :most], True, axis=1)
    return marks


def differing_bits(a: Hashes, b: Hashes) -> npt.NDArray[np.int64]:
    """Return the Hamming distance of hashes along the last axis; (…, 32) and (…, 32) broadcast."""
    return np.asarray(np.bitwise_count(np.bitwise_xor(a, b)).sum(axis=-1, dtype=np.int64))


MIN_DETAIL = 8
"""Below this a picture says nothing (`Embedded.detail`): blank pages, black frames."""


def pictures_of(records: Sequence[Described], evidence: Evidence) -> tuple[Pictures, npt.NDArray[np.bool_]]:
    """Return the pictures of at least one record, one record's after another's, and which of them speak, (n,)."""
    together = unpack(records)
    background = evidence.background(together.vectors)
    return Pictures(together.vectors, together.hashes, background), together.detail >= MIN_DETAIL
