"""Find the earlier descriptors that resemble those of a batch: what the index holds, and the batch itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

from neardup.pipeline.match.data.items import NO_ROW
from neardup.pipeline.match.data.tables import MIN_REFERENCES, Heads, Tables
from neardup.pipeline.match.decide.decide import ALONE, Judge, Pairs
from neardup.pipeline.match.decide.evidence import (
    BLOCK,
    COHORT,
    SLACK,
    Cohort,
    Evidence,
    Floats,
    Pictures,
    cohort_at,
    differing_bits,
    nearest,
    nearest_items,
)
from neardup.pipeline.types import Descriptors, Ids, Kind

CANDIDATES = 64
"""Nearest descriptors fetched for each descriptor of a query."""
MOST_CANDIDATES = 1024
"""The same where all of those are likely matches."""
SEARCHED_AT_ONCE = 256
"""Descriptors looked up in one call of the index, which bounds its memory."""
SPARE = 8
"""Neighbours beyond CANDIDATES, which take the places of those that are dropped before a query's turn comes."""
CROWDED_AT_ONCE = 64
"""The same where MOST_CANDIDATES are fetched for each."""
PAIRS_READ = 256
"""Descriptors read at once, which stay in the cache."""
Bools = npt.NDArray[np.bool_]
Floors = npt.NDArray[np.float64]


class Found(msgspec.Struct, frozen=True):
    """What was found for a query.

    Attributes:
        pairs: with references.
        cohort: what evidence was measured against.
        neighbours: rows of the cohort's items, the nearest of each, (n, COHORT), NO_ROW for none; None where nobody
            keeps them.
    """

    pairs: Pairs
    cohort: Cohort
    neighbours: Ids | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """What was found earlier for the rows of a batch, and need not be searched for.

    Attributes:
        neighbours: see `Found`; in any order.
        query, reference: pairs of a place in the batch and a row, (p,), in order of the query.
    """

    neighbours: Ids
    query: Ids
    reference: Ids


class Candidates:
    """Searches for pairs whose evidence is worth a comparison of the items they belong to."""

    def __init__(self, tables: Tables, heads: Heads, evidence: Evidence, judge: Judge) -> None:
        self._tables = tables
        self._heads = heads
        self._evidence = evidence
        self._judge = judge
        self._following = np.zeros((0, 0), np.float32)

    def follow_with(self, vectors: Descriptors) -> None:
        """Have the index begin with descriptors that will probably be asked next, float32 (n, d), as they are stored.

        It does so once it has answered for the next batch, and while that is decided. Nothing depends on it but time.
        """
        self._following = vectors

    def of_batch(
        self,
        rows: Sequence[Ids],
        kinds: Sequence[Kind],
        foresee: Callable[[Found], None] | None = None,
        settling: bool = False,
    ) -> Iterator[Found]:
        """Yield for each new item what is found among all that is earlier; the query of a pair is a frame of the item.

        All of the batch is searched for at once, when the first is asked for. Earlier items of the batch are not in the
        index: those of them that are heads by the time that an item is asked for are added then. Cohorts are kept in
        the tables. Where heads have left or joined the others since, what an item found is computed anew, and searched
        for again if rows that were not found may matter now.

        Args:
            rows: of each item, in order of the log.
            foresee: called before the first is yielded with what all rows of the batch will find, as far as that is
                known: earlier items of the batch are taken for heads, and are in no cohort.
            settling: whether items may join stars between these.
        """
        if not rows:
            return
        together, borders = np.concatenate(rows), np.cumsum([0, *map(len, rows)]).tolist()
        table = self._tables.rows
        pictures, speaks, own = self._tables.pictures(together), table.speaks[together], table.item[together]
        floor = self._floors(kinds, rows, settling)
        self._heads.begin(together)
        found = self._search(pictures, speaks, CANDIDATES, floor, own)
        if len(self._following):
            following, self._following = self._following[:SEARCHED_AT_ONCE], self._following[:0]
            self._heads.index.ask(following, min(CANDIDATES, len(self._heads.index)))
        recent = self._recent(together, pictures, speaks, floor, found) if len(rows) > 1 else _NOTHING_RECENT
        if foresee is not None:
            foresee(self._foreseen(pictures, found, recent, floor, own))
        expected = self._with_all_recent(pictures, found, recent, floor, own)
        table.keep_cohort(together, expected.cohort)
        whole = split(expected.pairs, np.diff(borders).tolist())
        changes = _Changes(self._heads, found, expected, self._may_move_up(found, floor), table.item)
        places = np.searchsorted(recent.query, borders).tolist()
        may_be_pairs = expected.possible.by(borders)
        for number, (start, stop) in enumerate(pairwise(borders)):
            here = slice(start, stop)
            outdated = changes.concern(here)
            first, last = places[number : number + 2]
            is_expected = (
                first == last
                or (
                    found.deeper.keys().isdisjoint(
                        range(start, stop)
                    )  # recent rows of crowded places were left out above
                    and self._are_as_expected(
                        recent.reference[first:last], may_be_pairs[number], expected.neighbours[here]
                    )
                )
            )
            if is_expected and not outdated:
                yield Found(whole[number], expected.cohort.take(here), expected.neighbours[here])
                continue
            mine = recent.take(slice(first, last))
            mine = mine.take(self._are_heads(mine.reference))
            known = changes.left(found.take(here)) if outdated else found.take(here)
            one = None
            if known is not None:
                one, _ = self._with_recent(pictures.take(here), known, mine, floor[:, here], own[here], start)
                one = None if outdated and self._is_crowded(one.pairs, known.ids) else one
            if one is None:
                again = self._search(pictures.take(here), speaks[here], CANDIDATES, floor[:, here], own[here])
                one = Found(again.pairs, again.cohort, again.neighbours)
            table.keep_cohort(together[here], one.cohort)
            yield one

    def as_given(self, rows: Sequence[Ids], kinds: Sequence[Kind], given: Given) -> Iterator[Found]:
        """Yield for each new item, as `of_batch` does, what was found earlier; the index is not asked.

        Distances are computed from the vectors. Of an image only the cohort is yielded: where its candidates are known
        its verdict is, too, and nothing else depends on them.
        """
        together, borders = np.concatenate(rows), np.cumsum([0, *map(len, rows)]).tolist()
        table = self._tables.rows
        pictures, own = self._tables.pictures(together), table.item[together]
        self._heads.begin(together)
        ids, distances = self._measured(pictures, given.neighbours)
        cohort, neighbours = self._cohort(ids, distances, pictures.cohort.similarity[:, COHORT:], own)
        table.keep_cohort(together, cohort)
        places = np.searchsorted(given.query, borders).tolist()
        for kind, (start, stop), (first, last) in zip(kinds, pairwise(borders), pairwise(places), strict=True):
            here = slice(start, stop)
            pairs = NO_PAIRS
            if kind is Kind.VIDEO and first < last:
                query, reference = given.query[first:last] - start, given.reference[first:last]
                pairs = self._pairs_with(pictures.take(here), cohort.take(here), query, reference, own[here])
            yield Found(pairs, cohort.take(here), neighbours[here])

    def _pairs_with(self, pictures: Pictures, cohort: Cohort, query: Ids, reference: Ids, own: Ids) -> Pairs:
        """Return pairs of places, rising, with these rows, the nearest of each place first."""
        counts = np.bincount(query, minlength=len(own))
        ids = np.full((len(own), int(counts.max())), NO_ROW, np.int64)
        ids[query, np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)] = reference
        ids, distances = self._measured(pictures, ids)
        everything = np.full((2, len(own)), -np.inf)
        return self._reaching(pictures, cohort, ids, distances, everything, own)[0]

    def _measured(self, pictures: Pictures, rows: Ids) -> tuple[Ids, Floats]:
        """Return rows, (n, k), the nearest first, and their distances."""
        distances = np.full(rows.shape, np.inf, np.float32)
        query, place = np.nonzero(rows != NO_ROW)
        for start in range(0, len(query), PAIRS_READ):
            pair = query[start : start + PAIRS_READ], place[start : start + PAIRS_READ]
            difference = self._tables.vectors.read(rows[pair])
            difference -= pictures.vectors[pair[0]]
            distances[pair] = np.einsum("pd,pd->p", difference, difference)
        order = np.lexsort((rows, distances), axis=1)
        return np.take_along_axis(rows, order, 1), np.take_along_axis(distances, order, 1)

    def cohort_of(self, rows: Ids) -> Cohort:
        """Return the neighbours that rows of another collection have among the references of this one."""
        pictures, own = self._tables.pictures(rows), self._tables.rows.item[rows]
        ids, distances = self._nearest(pictures.vectors, self._tables.rows.speaks[rows], CANDIDATES, 0)
        return self._cohort(ids, distances, pictures.cohort.similarity[:, COHORT:], own)[0]

    def among(self, rows: Sequence[Ids], kinds: Sequence[Kind]) -> list[Found]:
        """Return for each item, of another collection, what is found among the references of this one."""
        if not rows:
            return []
        together = np.concatenate(rows)
        table = self._tables.rows
        pictures, speaks, own = self._tables.pictures(together), table.speaks[together], table.item[together]
        found = self._search(pictures, speaks, CANDIDATES, self._floors(kinds, rows), own)
        frames = [len(some) for some in rows]
        stops = np.cumsum(frames).tolist()
        cohorts = [found.cohort.take(slice(stop - count, stop)) for count, stop in zip(frames, stops, strict=True)]
        return [Found(pairs, cohort) for pairs, cohort in zip(split(found.pairs, frames), cohorts, strict=True)]

    def search(self, pictures: Pictures, speaks: Bools, k: int, floor: Floors) -> Found:
        """Return pairs of n pictures, by place, with indexed descriptors whose evidence reaches the floor, (n,)."""
        floors = np.stack([floor, np.full_like(floor, np.inf)])
        found = self._search(pictures, speaks, k, floors, np.full(len(speaks), -1))
        return Found(found.pairs, found.cohort)

    def _floors(self, kinds: Sequence[Kind], rows: Sequence[Ids], settling: bool = False) -> Floors:
        """Return the evidence that a pair needs to matter: frames vote, an image alone must be more than distinct.

        (2, n): against the cohort, and against the background alone. Either is enough: other copies of a picture among
        the neighbours are no reason not to prove one. What is not proved is proposed by its cohort.
        """
        vote = self._judge.min_vote
        chances = self._heads.chances
        # Among fewer references less evidence matters; what an item is judged among is known when its turn comes.
        of_image = self._judge.least(max(MIN_REFERENCES, chances // 2) if settling else chances)
        of_image = of_image if self._judge.proves else max(vote, of_image)
        alone = of_image + ALONE if self._judge.proves else np.inf
        of_kinds = [(vote, np.inf) if kind is Kind.VIDEO else (of_image, alone) for kind in kinds]
        counts = [len(some) for some in rows]
        return np.asarray(np.repeat(np.array(of_kinds).reshape(-1, 2), counts, axis=0).T)

    def _search(self, pictures: Pictures, speaks: Bools, k: int, floor: Floors, own: Ids) -> _Searched:
        """Search for n pictures of items with the numbers `own`, which are not found."""
        index = self._heads.index
        ids, distances = self._nearest(pictures.vectors, speaks, k, SPARE)
        width = ids.shape[1] - SPARE
        spare = ids[:, width:], distances[:, width:]
        ids, distances = ids[:, :width], distances[:, :width]
        cohort, neighbours = self._cohort(ids, distances, pictures.cohort.similarity[:, COHORT:], own)
        pairs, crowded, possible = self._reaching(pictures, cohort, ids, distances, floor, own)
        more = min(MOST_CANDIDATES, len(index))
        deeper: dict[int, tuple[Ids, Floats]] = {}
        if width < more and len(crowded):
            parts = [pairs.take(np.flatnonzero(~np.isin(pairs.query, crowded)))]
            possibles = [possible.without(crowded)]
            for start in range(0, len(crowded), CROWDED_AT_ONCE):
                some = crowded[start : start + CROWDED_AT_ONCE]
                again = index.search(pictures.vectors[some], more)
                deeper |= zip(some.tolist(), zip(again.ids, again.distances, strict=True), strict=True)
                one, _, they = self._reaching(
                    pictures.take(some), cohort.take(some), again.ids, again.distances, floor[:, some], own[some]
                )
                one = self._nearest_of_each_item(one)
                parts.append(one.of_places(some[one.query]))
                possibles.append(_Possible(some[they.query], they.reference))
            pairs = join_pairs(parts)
            pairs = pairs.take(np.argsort(pairs.query, kind="stable"))
            possible = _join_possible(possibles)
        return _Searched(pairs, cohort, neighbours, ids, distances, deeper, *spare, possible)

    def _nearest(self, vectors: Descriptors, speaks: Bools, k: int, spare: int) -> tuple[Ids, Floats]:
        """Return rows and distances of the k nearest, or all there are, and some spare ones; of blank pages none."""
        index = self._heads.index
        width = min(k, len(index))
        shape = len(speaks), width + spare
        ids, distances = np.full(shape, -1, np.int64), np.full(shape, np.inf, np.float32)
        asking = np.flatnonzero(speaks) if width else _NO_ROWS
        for start in range(0, len(asking), SEARCHED_AT_ONCE):
            some = asking[start : start + SEARCHED_AT_ONCE]
            found = index.search(vectors[some], width, spare=spare)
            ids[some], distances[some] = found.ids, found.distances
        return ids, distances

    def _cohort(self, ids: Ids, distances: Floats, background: Floats, own: Ids) -> tuple[Cohort, Ids]:
        """Return the cohorts that the nearest CANDIDATES of n descriptors make, (n, k), and the rows in these."""
        ids, distances = ids[:, :CANDIDATES], distances[:, :CANDIDATES]
        items = np.where(ids >= 0, self._tables.rows.item[ids], -1)
        items = np.where(items == own[:, None], -1, items)
        places = nearest_items(items)
        cohort = cohort_at(places, items, 1.0 - distances / 2.0, background)
        if not ids.shape[1]:
            return cohort, places
        return cohort, np.where(places >= 0, np.take_along_axis(ids, places, 1), NO_ROW)

    def _reaching(
        self, pictures: Pictures, cohort: Cohort, ids: Ids, distances: Floats, floor: Floors, own: Ids
    ) -> tuple[Pairs, Ids, _Possible]:
        """Return pairs with found descriptors (n, k) whose evidence reaches the floor, and the places of the crowded.

        Crowded is a query of which every candidate is likely a match: a still video may have filled the places of
        others. Then the pairs that reach the floor, or would if their items had other kin.
        """
        bound = self._evidence.bound(1.0 - distances / 2.0, cohort.least[:, None])
        query, place = np.nonzero((bound >= floor.min(axis=0)[:, None]) & (ids >= 0))
        if not len(query):
            return NO_PAIRS, _NO_ROWS, _NOTHING_POSSIBLE
        reference, distance = ids[query, place], distances[query, place]
        bits = differing_bits(pictures.hashes[query], self._tables.rows.hash[reference])
        # Without the cohort evidence is highest; few pairs reach as much even so, and shifts cost the most.
        alone = self._evidence.of(distance, bits, cohort.least[query])
        unsure = self._judge.thresholds(self._heads.chances).min_unsure
        some = np.flatnonzero(alone >= np.minimum(floor.min(axis=0)[query], unsure))
        query, place, reference, distance = query[some], place[some], reference[some], distance[some]
        possible = _Possible(query, reference)
        items = self._tables.rows.item[reference]
        shift = cohort.shifts(query, items, self._tables.items.kin)
        strength = self._evidence.of(distance, bits[some], shift)
        crowded = query[(strength >= unsure) & (place == ids.shape[1] - 1)]
        reaching = (strength >= floor[0, query]) | (alone[some] >= floor[1, query])
        kept = np.flatnonzero(reaching & (items != own[query]))
        pairs = Pairs(query, reference, distance, strength)
        if self._judge.proves:
            less = shift - cohort.least[query]
            pairs = Pairs(query, reference, distance, strength, strength + self._evidence.cohort_weight * less - ALONE)
        return pairs.take(kept), crowded, possible

    def _nearest_of_each_item(self, pairs: Pairs) -> Pairs:
        """Keep for each query, whose pairs are sorted by distance, no more than CANDIDATES descriptors of one item."""
        items = self._tables.rows.item[pairs.reference]
        order = np.lexsort((items, pairs.query))
        new = np.diff(pairs.query[order], prepend=-1) | np.diff(items[order], prepend=-1)
        starts = np.flatnonzero(new)
        rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        return pairs.take(np.sort(order[rank < CANDIDATES]))

    # -- what is not in the index yet --------------------------------------------------------------------------------

    def _recent(self, rows: Ids, pictures: Pictures, speaks: Bools, floor: Floors, found: _Searched) -> _Recent:
        """Return pairs with earlier rows of the same batch that may be candidates, or belong to the cohort."""
        table = self._tables.rows
        items, searched = table.item[rows], table.searched[rows]
        full = found.distances.shape[1] >= CANDIDATES
        reach = 1.0 - found.distances[:, CANDIDATES - 1] / 2.0 if full else np.full(len(rows), -np.inf, np.float32)
        parts = []
        for start in range(0, len(rows), BLOCK):
            stop = min(start + BLOCK, len(rows))
            here = slice(start, stop)
            similarity = pictures.vectors[here] @ pictures.vectors[:stop].T
            earlier = np.arange(stop) < np.arange(start, stop)[:, None]
            earlier &= searched[:stop] & speaks[here, None] & (items[:stop] != items[here, None])
            bound = self._evidence.bound(similarity, found.cohort.least[here, None]) >= floor.min(axis=0)[here, None]
            close = similarity >= reach[here, None] - SLACK
            if stop > CANDIDATES:
                close &= nearest(np.where(earlier, similarity, -np.inf), CANDIDATES)
            query, reference = np.nonzero(earlier & (bound | close))
            query = query + start
            difference = pictures.vectors[query] - pictures.vectors[reference]
            parts.append(_Recent(query, rows[reference], np.einsum("pd,pd->p", difference, difference)))
        return _Recent(
            np.concatenate([part.query for part in parts]),
            np.concatenate([part.reference for part in parts]),
            np.concatenate([part.distance for part in parts]),
        )

    def _foreseen(self, pictures: Pictures, found: _Searched, recent: _Recent, floor: Floors, own: Ids) -> Found:
        """Return the pairs of all places of a batch, with recent rows too, measured by the cohort in the index."""
        if not len(recent.query):
            return Found(found.pairs, found.cohort)
        bound = self._evidence.bound(1.0 - recent.distance / 2.0, found.cohort.least[recent.query])
        recent = recent.take(np.flatnonzero(bound >= floor.min(axis=0)[recent.query]))
        place = np.arange(len(recent.query)) - np.searchsorted(recent.query, recent.query)
        shape = len(own), int(place.max(initial=-1)) + 1
        ids, distances = np.full(shape, -1, np.int64), np.full(shape, np.inf, np.float32)
        ids[recent.query, place], distances[recent.query, place] = recent.reference, recent.distance
        pairs, _, _ = self._reaching(pictures, found.cohort, ids, distances, floor, own)
        pairs = join_pairs([found.pairs, pairs])
        return Found(pairs.take(np.argsort(pairs.query, kind="stable")), found.cohort)

    def _with_all_recent(
        self, pictures: Pictures, found: _Searched, recent: _Recent, floor: Floors, own: Ids
    ) -> _Searched:
        """Return what all places of a batch find if all items of the batch are heads."""
        crowded = np.isin(recent.query, list(found.deeper)) if found.deeper else np.zeros(len(recent.query), np.bool_)
        mine = recent.take(np.flatnonzero(~crowded))  # the others are looked at one by one
        if not len(mine.query):
            return found
        some, query = np.unique(mine.query, return_inverse=True)
        searched = found.at(some)
        mine = _Recent(query, mine.reference, mine.distance)
        with_them, may = self._with_recent(pictures.take(some), searched, mine, floor[:, some], own[some], 0)
        possible = _join_possible([found.possible.without(some), _Possible(some[may.query], may.reference)])
        cohort, neighbours = Cohort(found.cohort.items.copy(), found.cohort.similarity.copy()), found.neighbours.copy()
        cohort.items[some], cohort.similarity[some] = with_them.cohort.items, with_them.cohort.similarity
        neighbours[some] = with_them.neighbours
        others = found.pairs.take(np.flatnonzero(~np.isin(found.pairs.query, some)))
        pairs = with_them.pairs
        pairs = join_pairs([others, pairs.of_places(some[pairs.query])])
        pairs = pairs.take(np.argsort(pairs.query, kind="stable"))
        return replace(found, pairs=pairs, cohort=cohort, neighbours=neighbours, possible=possible)

    def _is_crowded(self, pairs: Pairs, ids: Ids) -> bool:
        """Return whether the last of the candidates that were found, (n, k), is likely a match; see `_reaching`."""
        if not ids.shape[1]:
            return False
        likely = pairs.evidence >= self._judge.thresholds(self._heads.chances).min_unsure
        return bool((ids[pairs.query[likely], -1] == pairs.reference[likely]).any())

    def _may_move_up(self, found: _Searched, floor: Floors) -> Bools:
        """Return of which places, (n,), a spare neighbour might become a candidate."""
        bound = self._evidence.bound(1.0 - found.spare_distances / 2.0, found.cohort.least[:, None])
        return np.asarray(((bound >= floor.min(axis=0)[:, None]) & (found.spare_ids >= 0)).any(axis=1))

    def _are_as_expected(self, rows: Ids, may_be_pairs: Ids, neighbours: Ids) -> bool:
        """Return whether recent rows give an item what they were expected to: as heads that resemble nothing.

        Others count where they may be a pair, or belong to the cohort: as no heads always, with kin if there may be a
        pair, of which the kin is left out.

        Args:
            may_be_pairs, neighbours: the rows that may be pairs of the item, and those of its cohort.
        """
        get, numbers = self._tables.items.get, self._tables.rows.item[rows].tolist()
        gone, resembling = list[int](), list[int]()
        for row, number in zip(rows.tolist(), numbers, strict=True):
            item = get(number)
            if item is None or not item.is_head:
                gone.append(row)
            elif item.kin:
                resembling.append(row)
        if not gone and not resembling:
            return True
        pairs, cohort = may_be_pairs.tolist(), neighbours.ravel().tolist()
        if gone and NO_ROW in cohort:
            return False
        if not pairs:
            return not any(row in cohort for row in gone)
        return not any(row in pairs or row in cohort for row in (*gone, *resembling))

    def _are_heads(self, rows: Ids) -> Ids:
        """Return the places of the rows whose items are heads by now."""
        items = map(self._tables.items.get, self._tables.rows.item[rows].tolist())
        places = [place for place, item in enumerate(items) if item is not None and item.is_head]
        return np.array(places, dtype=np.int64)

    def _with_recent(
        self, pictures: Pictures, found: _Searched, recent: _Recent, floor: Floors, own: Ids, start: int
    ) -> tuple[Found, _Possible]:
        """Return what an item finds together with recent heads, and its possible pairs, see `_reaching`.

        Args:
            start: the place of its first row in the batch.
        """
        n, width = found.ids.shape
        query = recent.query - start
        counts = np.bincount(query, minlength=n)
        widest = max([width, *(len(deep) for deep, _ in found.deeper.values())]) + int(counts.max())
        ids, distances = np.full((n, widest), -1, np.int64), np.full((n, widest), np.inf, np.float32)
        ids[:, :width], distances[:, :width] = found.ids, found.distances
        for place, (deep, away) in found.deeper.items():
            ids[place, : len(deep)], distances[place, : len(deep)] = deep, away
        place = widest - 1 - (np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts))
        ids[query, place], distances[query, place] = recent.reference, recent.distance
        order = np.lexsort((ids, distances), axis=1)
        ids, distances = np.take_along_axis(ids, order, 1), np.take_along_axis(distances, order, 1)
        cohort, neighbours = self._cohort(ids, distances, pictures.cohort.similarity[:, COHORT:], own)
        pairs, _, possible = self._reaching(pictures, cohort, ids, distances, floor, own)
        return Found(self._nearest_of_each_item(pairs) if found.deeper else pairs, cohort, neighbours), possible


@dataclass(frozen=True, slots=True)
class _Possible:
    """Pairs of places in a batch with rows that reach the floor, or would if their items had other kin.

    Attributes:
        query, reference: (p,), in order of the query.
    """

    query: Ids
    reference: Ids

    def by(self, borders: Sequence[int]) -> list[Ids]:
        """Return the rows of the places between each two borders."""
        places = np.searchsorted(self.query, borders).tolist()
        return [self.reference[start:stop] for start, stop in pairwise(places)]

    def without(self, places: Ids) -> _Possible:
        """Return those of other places."""
        left = ~np.isin(self.query, places)
        return _Possible(self.query[left], self.reference[left])


def _join_possible(parts: Sequence[_Possible]) -> _Possible:
    """Return the pairs of several, which have no place in common."""
    query = np.concatenate([part.query for part in parts])
    order = np.argsort(query, kind="stable")
    return _Possible(query[order], np.concatenate([part.reference for part in parts])[order])


@dataclass(frozen=True, slots=True)
class _Searched:
    """What the index gave for n pictures.

    Attributes:
        neighbours: see `Found`.
        ids, distances: the nearest, (n, k). deeper: more of them, (more,), for the places that are crowded.
        spare_ids, spare_distances: the next ones, (n, SPARE).
        possible: all pairs that may count.
    """

    pairs: Pairs
    cohort: Cohort
    neighbours: Ids
    ids: Ids
    distances: Floats
    deeper: dict[int, tuple[Ids, Floats]]
    spare_ids: Ids
    spare_distances: Floats
    possible: _Possible

    def take(self, here: slice) -> _Searched:
        """Return what it gave for some of the places; without any pairs."""
        deeper = {place - here.start: deep for place, deep in self.deeper.items() if here.start <= place < here.stop}
        return replace(self.at(here), deeper=deeper)

    def at(self, where: Ids | slice) -> _Searched:
        """Return what it gave for places that are not crowded; without any pairs."""
        return _Searched(
            NO_PAIRS,
            self.cohort.take(where),
            self.neighbours[where],
            self.ids[where],
            self.distances[where],
            {},
            self.spare_ids[where],
            self.spare_distances[where],
            _NOTHING_POSSIBLE,
        )


class _Changes:
    """What became of the heads since a batch was searched for, and which of its places it concerns.

    Links and rows that leave concern pairs that they may be of. Rows do, too, where they belong to the cohort, or let
    one move up that may matter.

    Args:
        found, expected: what the places find in the index, and with all of the batch.
        move_up: of which places a spare neighbour may be a candidate, (n,). items: number of the item of each row.
    """

    def __init__(self, heads: Heads, found: _Searched, expected: _Searched, move_up: Bools, items: Ids) -> None:
        self._heads = heads
        self._found, self._expected, self._move_up, self._items = found, expected, move_up, items
        self._seen = 0, 0
        self._concerned = np.zeros(len(found.ids), np.bool_)
        self._by_row: _Places | None = None
        self._by_item: _Places | None = None

    def concern(self, here: slice) -> bool:
        """Return whether what was found at these places may be other than it was."""
        heads = self._heads
        if heads.others_added:
            return True
        now = len(heads.dropped), len(heads.linked)
        if now != self._seen:
            self._note(heads.dropped[self._seen[0] :], heads.linked[self._seen[1] :])
            self._seen = now
        return now != (0, 0) and bool(self._concerned[here].any())

    def left(self, found: _Searched) -> _Searched | None:
        """Return what was found without the rows that were dropped, the spare ones moved up; None if that is short."""
        if self._heads.others_added or found.deeper:
            return None
        width = found.ids.shape[1]
        ids = np.concatenate([found.ids, found.spare_ids], axis=1)
        distances = np.concatenate([found.distances, found.spare_distances], axis=1)
        gone = np.isin(ids, self._heads.dropped)
        if width >= CANDIDATES and ((gone.sum(axis=1) >= SPARE) | (gone.any(axis=1) & (ids[:, -1] < 0))).any():
            return None
        order = np.argsort(gone, axis=1, kind="stable")[:, :width]
        ids[gone], distances[gone] = -1, np.inf
        ids, distances = np.take_along_axis(ids, order, 1), np.take_along_axis(distances, order, 1)
        return replace(found, ids=ids, distances=distances)

    def _note(self, dropped: Sequence[int], linked: Sequence[int]) -> None:
        possible = self._expected.possible
        if dropped:
            self._by_row = self._by_row or self._rows_that_count()
            self._concerned[self._by_row.of(dropped)] = True
        if linked:
            self._by_item = self._by_item or _Places(self._items[possible.reference], possible.query)
            self._concerned[self._by_item.of(linked)] = True

    def _rows_that_count(self) -> _Places:
        """Return the places that are concerned by the leaving of each row."""
        found, possible = self._found, self._expected.possible
        # those of the cohort with all of the batch are the same, or fewer
        all_count = self._move_up | (found.neighbours == NO_ROW).any(axis=1)
        all_count[[*found.deeper]] = True
        rows = [possible.reference, found.neighbours.ravel(), found.ids[all_count].ravel()]
        k, everywhere = found.ids.shape[1], np.arange(len(found.ids))
        places = [possible.query, np.repeat(everywhere, COHORT), np.repeat(everywhere[all_count], k)]
        return _Places(np.concatenate(rows), np.concatenate(places))


class _Places:
    """The places of a batch that each of some numbers stands at; numbers and places are (p,)."""

    def __init__(self, numbers: Ids, places: Ids) -> None:
        order = np.argsort(numbers)
        self._numbers, self._places = numbers[order], places[order]

    def of(self, some: Sequence[int]) -> Ids:
        """Return the places of these numbers."""
        starts, stops = (np.searchsorted(self._numbers, some, side=side).tolist() for side in ("left", "right"))
        return np.concatenate([self._places[a:b] for a, b in zip(starts, stops, strict=True)])


@dataclass(frozen=True, slots=True)
class _Recent:
    """Pairs of places in a batch with earlier rows of it, in order of the query; all (p,)."""

    query: Ids
    reference: Ids
    distance: Floats

    def take(self, where: Ids | slice) -> _Recent:
        """Return the pairs at these places."""
        return _Recent(self.query[where], self.reference[where], self.distance[where])


def split(pairs: Pairs, frames: Sequence[int]) -> list[Pairs]:
    """Cut pairs that are sorted by query into those of each item, the query counted from its first frame."""
    firsts = [0, *np.cumsum(frames).tolist()]
    borders = np.searchsorted(pairs.query, firsts).tolist()
    found = []
    for first, start, stop in zip(firsts, borders, borders[1:], strict=False):
        one = pairs.take(slice(start, stop)) if start < stop else NO_PAIRS
        found.append(one.of_places(one.query - first) if first else one)
    return found


_NO_ROWS = np.zeros(0, dtype=np.int64)
_NOTHING_POSSIBLE = _Possible(_NO_ROWS, _NO_ROWS)
NO_PAIRS = Pairs(_NO_ROWS, _NO_ROWS, np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.float32))
_NOTHING_RECENT = _Recent(_NO_ROWS, _NO_ROWS, np.zeros(0, dtype=np.float32))


def join_pairs(parts: Sequence[Pairs]) -> Pairs:
    """Return pairs one after another; what evidence is alone is known of all of them or of none."""
    parts = [part for part in parts if len(part.query)]
    if len(parts) < 2:
        return parts[0] if parts else NO_PAIRS
    alone = [part.alone for part in parts if part.alone is not None]
    return Pairs(
        np.concatenate([part.query for part in parts]),
        np.concatenate([part.reference for part in parts]),
        np.concatenate([part.distance for part in parts]),
        np.concatenate([part.evidence for part in parts]),
        np.concatenate(alone) if len(alone) == len(parts) else None,
    )
