"""How much evidence queries find for what they do not show: counted for each query, among any number of references.

The strangers of one query are not independent of each other: a picture that resembles one page resembles all pages. So
counts stay with their queries, and from them follows how often a query finds *any* stranger among m references drawn
from those that were counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neardup.pipeline.match.decide.evidence import MIN_DETAIL, Evidence, differing_bits, measured_pairs
from neardup.pipeline.types import Embedded

CHUNK = 16384
OF_ONE_KIND = 2000
"""References that may all be of the query's kind, a catalogue or a series; further ones are taken to be mixed."""
MIN_KIND = 10
"""Strangers among the references from which on they tell of a kind; of a smaller one all of the source does."""
Curve = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Labelled:
    """n described pictures or cuts.

    Attributes:
        embedded: vectors, hashes, detail.
        group: int64 (n,), equal for what shows the same or belongs together: copies, look-alikes, one person.
        source: int64 (n,), equal for pictures that come from one place, as queries and references of one user do.
        kind: int64 (n,), equal for pictures of one kind within a source, of one class for instance.
    """

    embedded: Embedded
    group: Places
    source: Places
    kind: Places

    def where(self, chosen: npt.NDArray[np.bool_] | Places | slice) -> Labelled:
        """Return the chosen rows."""
        one = self.embedded
        return Labelled(
            Embedded(one.vectors[chosen], one.hashes[chosen], one.detail[chosen]),
            self.group[chosen],
            self.source[chosen],
            self.kind[chosen],
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """What n queries found, at k grid points of evidence.

    Attributes:
        grid: (k,), rising.
        copies: (n,), the evidence that a query has for the picture it copies: -inf where it says nothing, nan where it
            copies nothing.
        near, near_of: how many of the whole pictures of the query's own source, strangers to it, reach each grid point,
            int32 (n, k), and how many there are, (n,).
        far, far_of: the same of all other references: cuts, and pictures of other sources.
        kindred, kindred_of: the same of the whole pictures of the query's own kind, which `near` has among others;
            those of its source, where there are fewer than MIN_KIND.
        picture, source: (n,), what the query was made of and where that came from.
    """

    grid: Curve
    copies: Curve
    near: npt.NDArray[np.int32]
    near_of: Places
    far: npt.NDArray[np.int32]
    far_of: Places
    kindred: npt.NDArray[np.int32]
    kindred_of: Places
    picture: Places
    source: Places

    @property
    def weight(self) -> Curve:
        """How much each query counts, (n,): 1 for all queries of one picture together."""
        return 1.0 / np.bincount(self.picture)[self.picture]

    @property
    def references(self) -> int:
        """Strangers that every query was compared with, at least."""
        return int((self.near_of + self.far_of).min())

    def take(self, chosen: npt.NDArray[np.bool_]) -> Sample:
        """Return what some queries found."""
        columns = ("copies", "near", "near_of", "far", "far_of", "kindred", "kindred_of", "picture", "source")
        return replace(self, **{name: getattr(self, name)[chosen] for name in columns})

    def false_rates(self, references: int) -> Curve:
        """Return for each query how probably it finds a stranger at each grid point among m references, (n, k).

        They are drawn from the query's own source as long as there are whole pictures left in it, then from the rest.
        More than there were are taken to be like those there were.
        """
        own = np.where(self.far_of > 0, np.minimum(references, self.near_of), references)
        near = _found(own, self.near_of, self.near)
        return near + (1.0 - near) * _found(references - own, self.far_of, self.far)

    def false_rates_of_one_kind(self, references: int) -> Curve:
        """Return the same, (n, k), where the references are of the query's own kind, OF_ONE_KIND of them at most.

        A bound, as with `false_rates`: a source of a hundred kinds has a hundredth of a query's look-alikes that a
        catalogue of its kind has.
        """
        own = np.minimum(references, np.maximum(self.kindred_of, OF_ONE_KIND))
        return _found(own, self.kindred_of, self.kindred)


def _found(drawn: Places, of: Places, reaching: npt.NDArray[np.int32]) -> Curve:
    """Return how probably one of those reaching is among the drawn, (n, k).

    With a share s drawn of those there were: 1 − (1 − s) ** reaching. Beyond them all, s times what all of them gave:
    its mean over queries, not itself, is a probability, and a bound from above.
    """
    share = (drawn / np.maximum(of, 1))[:, None]
    within = 1.0 - np.power(1.0 - np.minimum(share, 1.0), reaching)
    return np.asarray(np.maximum(share, 1.0) * within)


def count_strangers(
    rule: Evidence, queries: Labelled, pictures: Labelled, cuts: Labelled, own: Places, grid: Curve
) -> Sample:
    """Compare all queries with all references.

    Args:
        queries: edited copies, with group and source of the picture that each was made of.
        pictures: whole references. cuts: further references, may be none.
        own: int64 (n,), the place in `pictures` of what each query copies; -1 for nothing.
    """
    n, k = len(queries.group), len(grid)
    near, far, kindred = (np.zeros((n, k), dtype=np.int32) for _ in range(3))
    near_of, far_of, kindred_of = (np.zeros(n, dtype=np.int64) for _ in range(3))
    for source in np.unique(queries.source):
        rows = np.flatnonzero(queries.source == source)
        mine = queries.where(rows)
        at_home = pictures.source == source
        near[rows], near_of[rows] = _count(rule, mine, pictures.where(at_home), grid)
        for others in (pictures.where(~at_home), cuts):
            found, number = _count(rule, mine, others, grid)
            far[rows] += found
            far_of[rows] += number
    for kind in np.unique(queries.kind):
        rows = np.flatnonzero(queries.kind == kind)
        kindred[rows], kindred_of[rows] = _count(rule, queries.where(rows), pictures.where(pictures.kind == kind), grid)
    few = kindred_of < MIN_KIND
    kindred[few], kindred_of[few] = near[few], near_of[few]
    copies = _copies(rule, queries, pictures, own)
    return Sample(
        grid, copies, near, near_of, far, far_of, kindred, kindred_of, picture=queries.group, source=queries.source
    )


def _count(
    rule: Evidence, queries: Labelled, references: Labelled, grid: Curve
) -> tuple[npt.NDArray[np.int32], Places]:
    """Return how many strangers reach each grid point, and how many there are."""
    # What says nothing is not searched, and does not search.
    references = references.where(references.embedded.detail >= MIN_DETAIL)
    speaks = queries.embedded.detail >= MIN_DETAIL
    n, k = len(queries.group), len(grid)
    cells = np.zeros(n * k, dtype=np.int64)
    for start in range(0, len(references.group), CHUNK):
        chunk = references.where(slice(start, start + CHUNK))
        query, reference, strength = measured_pairs(rule, queries.embedded, chunk.embedded, float(grid[0]))
        counted = (queries.group[query] != chunk.group[reference]) & speaks[query]
        place = np.searchsorted(grid, strength[counted], side="right") - 1
        cells += np.bincount(query[counted] * k + place, minlength=n * k)
    reaching = np.cumsum(cells.reshape(n, k)[:, ::-1], axis=1)[:, ::-1]
    groups, sizes = np.unique(references.group, return_counts=True)
    of_group = dict(zip(groups.tolist(), sizes.tolist(), strict=True))
    kin = np.array([of_group.get(group, 0) for group in queries.group.tolist()], dtype=np.int64)
    return reaching.astype(np.int32), len(references.group) - kin


def _copies(rule: Evidence, queries: Labelled, pictures: Labelled, own: Places) -> Curve:
    """Return the evidence of each query for what it copies."""
    asked, known = queries.embedded, pictures.embedded
    similarity = np.einsum("nd,nd->n", asked.vectors, known.vectors[own])
    bits = differing_bits(asked.hashes, known.hashes[own])
    evidence = rule.of(2.0 - 2.0 * similarity, bits, rule.background(asked.vectors))
    speaks = (asked.detail >= MIN_DETAIL) & (known.detail[own] >= MIN_DETAIL)
    return np.where(own < 0, np.nan, np.where(speaks, evidence, -np.inf)).astype(np.float64)
