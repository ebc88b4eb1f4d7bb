"""How much evidence queries find for what they do not show, among any number of references.

The strangers of one query are not independent of each other: a picture that resembles one page resembles all pages. And
evidence is measured against a cohort, which depends on what references there are. So references are drawn, many times
and in several numbers, and each query is compared with those drawn as the stream would do it: its nearest are its
candidates and its cohort.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neardup.pipeline.learn.shared.nearest import CANDIDATES, nearest_places
from neardup.pipeline.match.decide.evidence import (
    BLOCK,
    MIN_DETAIL,
    Cohort,
    Evidence,
    Floats,
    differing_bits,
    make_cohort,
)
from neardup.pipeline.types import Embedded, Ids

DRAWN = 20_000
"""References drawn for each query and number of them, in all draws together, ..."""
MOST_DRAWS = 32
"""... and draws at most."""
OF_ONE_KIND = 2000
"""References that may all be of the query's kind, a catalogue or a series; further ones are taken to be mixed."""
MIN_KIND = 10
"""Strangers among the references from which on they tell of a kind; of a smaller one all of the source does."""
NOTHING = -np.inf
"""Evidence of a query that says nothing."""
SEED = 20261129
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

    @property
    def speaks(self) -> npt.NDArray[np.bool_]:
        """Which of them show anything, (n,): what says nothing is not searched, and does not search."""
        return np.asarray(self.embedded.detail >= MIN_DETAIL)

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
    """What n queries found.

    Attributes:
        levels: numbers of references m, rising.
        copies: for each level the evidence of each query for the picture it copies in each draw, (draws, n): nan where
            it copies nothing, NOTHING where it says nothing.
        strangers: the same of the strongest stranger among m references.
        kindred, kindred_of: the evidence of the strongest among all whole pictures of the query's own kind, (n,), and
            how many there are; those of its source, where there are fewer than MIN_KIND.
        picture, source: (n,), what the query was made of and where that came from.
    """

    levels: tuple[int, ...]
    copies: tuple[Curve, ...]
    strangers: tuple[Curve, ...]
    kindred: Curve
    kindred_of: Places
    picture: Places
    source: Places

    @property
    def weight(self) -> Curve:
        """How much each query counts, (n,): 1 for all queries of one picture together."""
        return 1.0 / np.bincount(self.picture)[self.picture]

    @property
    def copying(self) -> npt.NDArray[np.bool_]:
        """Which queries copy something, (n,)."""
        return np.asarray(~np.isnan(self.copies[0][0]))

    def take(self, chosen: npt.NDArray[np.bool_]) -> Sample:
        """Return what some queries found."""
        return Sample(
            levels=self.levels,
            copies=tuple(draws[:, chosen] for draws in self.copies),
            strangers=tuple(draws[:, chosen] for draws in self.strangers),
            kindred=self.kindred[chosen],
            kindred_of=self.kindred_of[chosen],
            picture=self.picture[chosen],
            source=self.source[chosen],
        )

    def level(self, references: int) -> int:
        """Return the place of the largest level that is not above a number of references."""
        return max(int(np.searchsorted(self.levels, references, side="right")) - 1, 0)

    def false_rates(self, references: int, grid: Curve) -> Curve:
        """Return for each query how probably it finds a stranger at each grid point among m references, (n, k).

        Beyond a level that was measured, as many times as there are more references: its mean over queries, not itself,
        is a probability, and a bound from above.
        """
        level = self.level(references)
        return _shares(self.strangers[level], grid) * (references / self.levels[level])

    def recalls(self, references: int, grid: Curve) -> Curve:
        """Return how probably each query's copy reaches each grid point among m references, (n, k)."""
        return _shares(self.copies[self.level(references)], grid)

    def false_rates_of_one_kind(self, references: int, grid: Curve) -> Curve:
        """Return `false_rates`, where the references are of the query's own kind, OF_ONE_KIND of them at most.

        A bound: a source of a hundred kinds has a hundredth of a query's look-alikes that a catalogue of its kind has.
        """
        share = np.minimum(references, OF_ONE_KIND) / np.maximum(self.kindred_of, 1)
        return np.asarray(share[:, None] * (self.kindred[:, None] >= grid))


def _shares(draws: Curve, grid: Curve) -> Curve:
    """Return in how many of the draws (draws, n) each grid point is reached, (n, k)."""
    reached = np.zeros((draws.shape[1], len(grid)))
    for one in draws:
        reached += one[:, None] >= grid
    return reached / len(draws)


def count_strangers(
    rule: Evidence, queries: Labelled, pictures: Labelled, cuts: Labelled, own: Places, levels: Sequence[int]
) -> Sample:
    """Compare all queries with references that are drawn, as long as there are any, from the query's own source.

    Args:
        queries: edited copies, with group and source of the picture that each was made of.
        pictures: whole references. cuts: further references, may be none.
        own: int64 (n,), the place in `pictures` of what each query copies; -1 for nothing.
        levels: numbers of references m, rising; those above what there are become one, all that there are.
    """
    pictures_speak, n = pictures.speaks, len(own)
    known, more = pictures.where(pictures_speak), cuts.where(cuts.speaks)
    everything = len(known.group) + len(more.group)
    levels = (*(m for m in levels if m < everything), everything)
    counts = [min(max(DRAWN // m, 1), MOST_DRAWS) if m < everything else 1 for m in levels]
    copies = tuple(np.full((count, n), np.nan) for count in counts)
    strangers = tuple(np.full((count, n), NOTHING) for count in counts)
    kindred, kindred_of = np.full(n, NOTHING), np.zeros(n, dtype=np.int64)
    asks = queries.speaks
    for source in np.unique(queries.source):
        at_home = known.source == source
        references = _joined(known.where(at_home), known.where(~at_home), more)
        drawn = list(_draws(levels, counts, int(at_home.sum()), everything, int(source)))
        mine = np.flatnonzero((queries.source == source) & asks)
        for start in range(0, len(mine), BLOCK):
            rows = mine[start : start + BLOCK]
            block = _Block(rule, queries.where(rows), references)
            sides = _own_pictures(rule, queries.where(rows), pictures, own[rows], pictures_speak)
            for level, draw, chosen in drawn:
                strangers[level][draw, rows], shift = block.strongest(chosen)
                copies[level][draw, rows] = sides - rule.cohort_weight * shift
    for kind in np.unique(queries.kind):
        of_kind = known.where(known.kind == kind)
        rows = np.flatnonzero((queries.kind == kind) & asks)
        few = len(of_kind.group) < MIN_KIND
        for some in np.array_split(rows, max(len(rows) // BLOCK, 1)):
            among = of_kind
            if few and len(some):
                among = known.where(known.source == queries.source[some[0]])
            block = _Block(rule, queries.where(some), among)
            kindred[some] = block.strongest(slice(None))[0]
            kindred_of[some] = len(among.group) - block.alike
    for table in copies:
        table[:, ~asks] = np.where(own[~asks] < 0, np.nan, NOTHING)
    return Sample(levels, copies, strangers, kindred, kindred_of, picture=queries.group, source=queries.source)


def _draws(
    levels: Sequence[int], counts: Sequence[int], at_home: int, everything: int, source: int
) -> Iterator[tuple[int, int, Places | slice]]:
    """Yield level, number of the draw, and the places of m references, of which the first `at_home` are drawn first."""
    for level, (m, count) in enumerate(zip(levels, counts, strict=True)):
        for draw in range(count):
            random = np.random.default_rng((SEED, source, level, draw))
            if m == everything:
                yield level, draw, slice(None)
            elif m <= at_home:
                yield level, draw, random.choice(at_home, m, replace=False)
            else:
                rest = at_home + random.choice(everything - at_home, m - at_home, replace=False)
                yield level, draw, np.concatenate([np.arange(at_home), rest])


class _Block:
    """Some queries and all references; what belongs with a query is no stranger to it.

    Attributes:
        alike: how many references belong with each query, (n,).
    """

    def __init__(self, rule: Evidence, queries: Labelled, references: Labelled) -> None:
        self._rule = rule
        self._queries = queries
        self._references = references
        similarity = queries.embedded.vectors @ references.embedded.vectors.T
        together = queries.group[:, None] == references.group
        similarity[together] = -np.inf
        self.alike = together.sum(axis=1)
        self._similarity = similarity
        self._background = rule.nearest_background(queries.embedded.vectors)

    def strongest(self, chosen: Places | slice) -> tuple[Floats, Floats]:
        """Return for each query the most evidence among some of the references, and the shift for what it copies."""
        similarity = self._similarity[:, chosen]
        if not similarity.shape[1]:
            return np.full(len(similarity), NOTHING, dtype=np.float32), np.asarray(self._background.mean(axis=1))
        references = self._references.where(chosen)
        _, strength, cohort = candidates_among(
            self._rule, self._queries.embedded, references, similarity, self._background
        )
        return strength.max(axis=1), cohort.shift()

    def candidates(self) -> tuple[Ids, Floats]:
        """Return the places of each query's candidates among all references, and its evidence for them, (n, k)."""
        asked = self._queries.embedded
        return candidates_among(self._rule, asked, self._references, self._similarity, self._background)[:2]


def candidates_among(
    rule: Evidence, queries: Embedded, references: Labelled, similarity: Floats, background: Floats
) -> tuple[Ids, Floats, Cohort]:
    """Return for each query the places of its candidates among references and its evidence for them, (n, k).

    Evidence is NOTHING where there is no candidate. The third is the cohorts, what belongs together being one item.

    Args:
        similarity: float32 (n, m), -inf where they belong together. background: see `Evidence.nearest_background`.
    """
    places, similar = nearest_places(similarity, CANDIDATES)
    groups = np.where(np.isfinite(similar), references.group[places], -1)
    cohort = make_cohort(groups, similar, background)
    query, place = np.nonzero(groups >= 0)
    reference = places[query, place]
    strength = np.full(places.shape, NOTHING, dtype=np.float32)
    bits = differing_bits(queries.hashes[query], references.embedded.hashes[reference])
    shifts = cohort.shifts(query, groups[query, place], lambda _: ())
    strength[query, place] = rule.of(2.0 - 2.0 * similar[query, place], bits, shifts)
    return places, strength, cohort


def strange_pairs(
    rule: Evidence, queries: Labelled, references: Labelled, floor: float
) -> Iterator[tuple[int, int, float]]:
    """Yield places of queries and of references that do not belong together, and evidence that reaches the floor."""
    shown, asking = np.flatnonzero(references.speaks), np.flatnonzero(queries.speaks)
    among = references.where(shown)
    for start in range(0, len(asking), BLOCK):
        rows = asking[start : start + BLOCK]
        places, strength = _Block(rule, queries.where(rows), among).candidates()
        query, place = np.nonzero(strength >= floor)
        found = rows[query], shown[places[query, place]], strength[query, place]
        yield from zip(*(column.tolist() for column in found), strict=True)


def _own_pictures(
    rule: Evidence, queries: Labelled, pictures: Labelled, own: Places, speak: npt.NDArray[np.bool_]
) -> Curve:
    """Return the evidence of queries for what they copy, before the cohort is taken off: nan for those that do not."""
    asked, known = queries.embedded, pictures.embedded
    similarity = np.einsum("nd,nd->n", asked.vectors, known.vectors[own])
    bits = differing_bits(asked.hashes, known.hashes[own])
    evidence = rule.of(2.0 - 2.0 * similarity, bits, np.zeros(len(own), dtype=np.float32))
    return np.where(own < 0, np.nan, np.where(speak[own], evidence, NOTHING)).astype(np.float64)


def _joined(*parts: Labelled) -> Labelled:
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in ("group", "source", "kind")]
    embedded = [
        np.concatenate([getattr(part.embedded, name) for part in parts]) for name in ("vectors", "hashes", "detail")
    ]
    return Labelled(Embedded(*embedded), *columns)
