"""Evidence: the one number that decisions are taken on.

    evidence = similarity − cohort_weight · cohort + hash_weight · agreement

*Similarity* is the inner product of unit vectors. *Cohort* is what the query scores against its own neighbours: the
mean similarity to the two nearest pictures that are neither the candidate nor known to resemble it. A picture that has
many look-alikes (a white page, a form, a face) needs more to be a copy, and evidence means the same for every query.
The neighbours are the nearest items among the references of the collection and the nearest pictures of a fixed
background set, so there are always two.
Source: adaptive score normalisation of speaker verification (Matějka et al. 2017, doi:10.21437/Interspeech.2017-803),
as descriptors of pictures use it (Pizzi et al. 2022, arXiv:2202.10261, section 4); `benchmarks/cohort.py` compares.
*Agreement* comes from the DCT hash of the same pixels: 1 for equal hashes, 0 from `UNRELATED_BITS` differing bits on,
which is what pictures that have nothing to do with each other show.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from neardup.pipeline.log.records import Described, unpack
from neardup.pipeline.types import Descriptors, Hashes, Ids

BACKGROUND_NEIGHBOURS = 3
NEIGHBOURS = 2
"""Neighbours whose mean similarity is the cohort's."""
COHORT = 14
"""Items that a cohort holds besides the background: as many may be left out before the background alone is left."""
OF_BACKGROUND = -1
"""Stands for the item number of a background picture."""
ABSENT = -2.0
"""Similarity of a neighbour that is not there."""
UNRELATED_BITS = 96
"""Of 256; two unrelated hashes differ in 128 ± 8 bits, so this is four standard deviations below."""

BLOCK = 256
"""Queries compared with all references at a time."""
FEW_KIN = 64
"""Kin that are all looked at. A picture that went viral has thousands: then those that cohorts hold are looked for."""
PAIRS_AT_ONCE = 1 << 16
"""Pairs whose cohorts are gathered at a time: some 20 MB."""
SLACK = 1e-4
"""More than the rounding of a matrix product, so that no pair is ruled out by it."""
_KEYS = 1 << 40
"""More than there are numbers of items."""

Floats = npt.NDArray[np.float32]


class Cohort(msgspec.Struct, frozen=True):
    """The neighbours of n descriptors.

    Attributes:
        items: int64 (n, COHORT + NEIGHBOURS), numbers of the items that they belong to, each item once;
            OF_BACKGROUND for the last NEIGHBOURS columns.
        similarity: float32 of the same shape; ABSENT where there are fewer.
    """

    items: Ids
    similarity: Floats

    def take(self, where: Ids | slice | npt.NDArray[np.bool_]) -> Cohort:
        """Return the cohorts of some descriptors."""
        return Cohort(self.items[where], self.similarity[where])

    @property
    def least(self) -> Floats:
        """The least that can be left, (n,): that of the background alone."""
        return _mean_of_nearest(self.similarity[:, COHORT:])

    def shift(self, left_out: Collection[int] = (), one: int = OF_BACKGROUND) -> Floats:
        """Return what is left without the items of these numbers, (n,).

        Args:
            left_out: a sequence rises. one: a further number; that of the background stands for none.
        """
        out = np.zeros(self.items.shape, np.bool_) if one == OF_BACKGROUND else self.items == one
        for number in common(left_out, {*self.items.ravel().tolist()}):
            out |= self.items == number
        return _mean_of_nearest(np.where(out, np.float32(ABSENT), self.similarity))

    def shift_of_moments(self, left_out: Collection[int] = (), one: int = OF_BACKGROUND) -> Floats:
        """Return `shift` for frames that are compared moment by moment, (n,): half of what the references add.

        Films of one scene or one intro are neighbours of each other; their moments distinguish them, as frames alone do
        not.
        """
        return np.asarray((self.shift(left_out, one) + self.least) / 2, dtype=np.float32)

    def shifts(self, query: Ids, reference: Ids, kin: Callable[[int], Collection[int]]) -> Floats:
        """Return what is left for pairs, (p,): of this place here, without the item of this number and its kin.

        Args:
            kin: returns that of an item; a sequence rises.
        """
        if len(query) > PAIRS_AT_ONCE:
            parts = [slice(start, start + PAIRS_AT_ONCE) for start in range(0, len(query), PAIRS_AT_ONCE)]
            return np.concatenate([self.shifts(query[part], reference[part], kin) for part in parts])
        items = self.items[query]
        out = items == reference[:, None]
        numbers, which = np.unique(reference, return_inverse=True)
        resembling, left_out = np.zeros(len(numbers), np.bool_), list[int]()
        counts = list[int]()
        for place, some in enumerate(map(kin, numbers.tolist())):
            if some:
                few = some if len(some) <= FEW_KIN else common(some, {*items[which == place].ravel().tolist()})
                resembling[place] = True
                counts.append(len(few))
                left_out += few
        if left_out:
            keys = np.repeat(np.flatnonzero(resembling), counts) * _KEYS + np.array(left_out, np.int64)
            keys.sort()
            pairs = np.flatnonzero(resembling[which])
            wanted = which[pairs, None] * _KEYS + items[pairs]
            out[pairs] |= keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted
        return _mean_of_nearest(np.where(out, np.float32(ABSENT), self.similarity[query]))


def common(some: Collection[int], numbers: set[int]) -> set[int]:
    """Return the numbers that stand in both; few of a long sequence, which rises, are looked at."""
    if len(some) <= FEW_KIN or not isinstance(some, Sequence):
        return numbers.intersection(some)
    places = ((number, bisect_left(some, number)) for number in numbers)
    return {number for number, place in places if place < len(some) and some[place] == number}


def _mean_of_nearest(similarity: Floats) -> Floats:
    nearest = np.partition(similarity, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:]
    return np.asarray(np.add.reduce(nearest, axis=1) / np.float32(NEIGHBOURS), dtype=np.float32)


def make_cohort(items: Ids, similarity: Floats, background: Floats) -> Cohort:
    """Return the cohorts of n descriptors.

    Args:
        items: int64 (n, k), numbers of the items that neighbours belong to, the nearest first; negative for none.
        similarity: float32 (n, k). background: float32 (n, NEIGHBOURS), see `Evidence.nearest_background`.
    """
    return cohort_at(nearest_items(items), items, similarity, background)


def nearest_items(items: Ids) -> Ids:
    """Return the places of the neighbours that `make_cohort` takes, the nearest first: (n, COHORT), -1 for none."""
    n, k = items.shape
    places = np.full((n, COHORT), -1, dtype=np.int64)
    if k:
        order = np.argsort(items, axis=1, kind="stable")
        new = np.diff(np.take_along_axis(items, order, axis=1), axis=1, prepend=-1) != 0
        first = np.zeros((n, k), dtype=np.bool_)
        np.put_along_axis(first, order, new, axis=1)
        first &= items >= 0
        rank = np.cumsum(first, axis=1)
        query, place = np.nonzero(first & (rank <= COHORT))
        places[query, rank[query, place] - 1] = place
    return places


def cohort_at(places: Ids, items: Ids, similarity: Floats, background: Floats) -> Cohort:
    """Return the cohorts of the neighbours at these places, see `nearest_items` and `make_cohort`."""
    n = len(items)
    cohort = Cohort(
        np.full((n, COHORT + NEIGHBOURS), OF_BACKGROUND, dtype=np.int64),
        np.full((n, COHORT + NEIGHBOURS), ABSENT, dtype=np.float32),
    )
    cohort.similarity[:, COHORT:] = background
    query, rank = np.nonzero(places >= 0)
    place = places[query, rank]
    cohort.items[query, rank] = items[query, place]
    cohort.similarity[query, rank] = similarity[query, place]
    return cohort


class Evidence:
    """Computes evidence for pairs of descriptors."""

    def __init__(self, background: Descriptors, hash_weight: float, cohort_weight: float = 1.0) -> None:
        """Take the background set, float32 (b, d) with unit rows, and both weights, see `calibration.Calibration`."""
        self._pictures = background
        self._background = np.ascontiguousarray(background.T)  # (d, b)
        self.hash_weight = np.float32(hash_weight)
        self.cohort_weight = np.float32(cohort_weight)

    def background(self, queries: Descriptors) -> Floats:
        """Return the mean similarity of each query, float32 (n, d), to its nearest background pictures: (n,)."""
        neighbours = min(BACKGROUND_NEIGHBOURS, self._background.shape[1])
        if neighbours == 0:
            return np.zeros(len(queries), dtype=np.float32)
        similarity = queries @ self._background  # (n, b)
        nearest = np.partition(similarity, -neighbours, axis=1)[:, -neighbours:]
        return np.asarray(nearest.mean(axis=1), dtype=np.float32)

    def nearest_background(self, queries: Descriptors) -> Floats:
        """Return the similarity of queries, float32 (n, d), to their nearest background pictures: (n, NEIGHBOURS).

        Computed by direct differences, so that it does not depend on how queries are batched; 0 where there are fewer.
        """
        nearest = np.zeros((len(queries), NEIGHBOURS), dtype=np.float32)
        most = min(2 * NEIGHBOURS, len(self._pictures))
        if most == 0:
            return nearest
        places = np.argpartition(-(queries @ self._background), most - 1, axis=1)[:, :most]
        for start in range(0, len(queries), BLOCK):
            here = slice(start, start + BLOCK)
            difference = self._pictures[places[here]] - queries[here, None]
            similarity = 1.0 - np.einsum("nkd,nkd->nk", difference, difference) / 2.0
            found = -np.sort(-similarity, axis=1)[:, :NEIGHBOURS]
            nearest[here, : found.shape[1]] = found
        return nearest

    def of(self, distances: Floats, bits: npt.NDArray[np.int64], shift: Floats) -> Floats:
        """Return the evidence of pairs, all arguments of one shape.

        Args:
            distances: squared Euclidean distance of unit vectors, 0 to 4.
            bits: differing bits of the two hashes, 0 to 256.
            shift: of the query for this reference, see `Cohort`.
        """
        similarity = 1.0 - distances / 2.0
        agreement = np.clip(1.0 - bits / UNRELATED_BITS, 0.0, 1.0)
        return np.asarray(similarity - self.cohort_weight * shift + self.hash_weight * agreement, dtype=np.float32)

    def bound(self, similarity: Floats, least: Floats) -> Floats:
        """Return what evidence cannot exceed, whatever the hashes and the cohort without a reference's kin.

        Args:
            similarity: of any shape, perhaps by a matrix product. least: see `Cohort.least`, of a shape that fits.
        """
        return np.asarray(similarity - self.cohort_weight * least + (self.hash_weight + SLACK), dtype=np.float32)


class Pictures(msgspec.Struct, frozen=True):
    """n descriptors with what evidence needs besides; `cohort` is read of queries only."""

    vectors: Descriptors
    hashes: Hashes
    cohort: Cohort

    def take(self, where: Ids | slice) -> Pictures:
        """Return some of them."""
        return Pictures(self.vectors[where], self.hashes[where], self.cohort.take(where))


def near(
    rule: Evidence, queries: Pictures, references: Pictures, shift: Floats, floor: float, most: int | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats, Floats]:
    """Return all pairs of two items' pictures whose evidence reaches the floor, in order of the query.

    Args:
        shift: of each query, (n,), for the item that the references belong to.
        most: references considered for one query, the nearest; None for all. A bound where nothing moves in two long
            videos, and every frame resembles every other.
    Returns:
        places in queries and in references (int64), squared distances and evidence (float32), all (p,).
    """
    found = [(_NO_PLACES, _NO_PLACES, _NO_VALUES, _NO_VALUES)]
    for start in range(0, len(queries.vectors), BLOCK):
        stop = start + BLOCK
        similarity = queries.vectors[start:stop] @ references.vectors.T  # (block, m)
        # The hash can add no more than its weight: most pairs are ruled out without looking at hashes.
        possible = rule.bound(similarity, shift[start:stop, None]) >= floor
        if most is not None and most < possible.shape[1]:
            possible &= nearest(similarity, most)
        query, reference = np.nonzero(possible)
        query = query + start
        distance = squared_distances(queries.vectors[query], references.vectors[reference])
        bits = differing_bits(queries.hashes[query], references.hashes[reference])
        strength = rule.of(distance, bits, shift[query])
        kept = strength >= floor
        found.append((query[kept], reference[kept], distance[kept], strength[kept]))
    query, reference, distance, strength = (np.concatenate(column) for column in zip(*found, strict=True))
    return query, reference, distance, strength


_NO_PLACES = np.zeros(0, dtype=np.int64)
_NO_VALUES = np.zeros(0, dtype=np.float32)


def nearest(similarity: Floats, most: int) -> npt.NDArray[np.bool_]:
    """Mark the highest values of each row, (n, m)."""
    marks = np.zeros(similarity.shape, dtype=np.bool_)
    np.put_along_axis(marks, np.argpartition(-similarity, most - 1, axis=1)[:, :most], True, axis=1)
    return marks


def squared_distances(a: Descriptors, b: Descriptors) -> Floats:
    """Return the squared Euclidean distances of rows, (n, d) and (n, d): (n,)."""
    difference = a - b
    return np.asarray(np.einsum("nd,nd->n", difference, difference), dtype=np.float32)


def differing_bits(a: Hashes, b: Hashes) -> npt.NDArray[np.int64]:
    """Return the Hamming distance of hashes along the last axis; (…, 32) and (…, 32) broadcast."""
    return np.asarray(np.bitwise_count(np.bitwise_xor(a, b)).sum(axis=-1, dtype=np.int64))


MIN_DETAIL = 8
"""Below this a picture says nothing (`Embedded.detail`): blank pages, black frames."""


def pictures_of(records: Sequence[Described], evidence: Evidence) -> tuple[Pictures, npt.NDArray[np.bool_]]:
    """Return the pictures of at least one record, one record's after another's, and which of them speak, (n,).

    Their cohorts hold the background alone: nothing has been searched for yet.
    """
    together = unpack(records)
    n = len(together.vectors)
    nowhere = np.zeros((n, 0), np.int64), np.zeros((n, 0), np.float32)
    cohort = make_cohort(*nowhere, evidence.nearest_background(together.vectors))
    return Pictures(together.vectors, together.hashes, cohort), together.detail >= MIN_DETAIL
