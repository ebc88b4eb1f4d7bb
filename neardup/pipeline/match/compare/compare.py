"""Compare an item with the heads that its pairs name, and with the item that is identical to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec.structs import replace

from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.proofs import Ask, Candidate
from neardup.pipeline.log.records import Described, Matched
from neardup.pipeline.log.verdicts import RANK, likelihood
from neardup.pipeline.match.compare.candidates import CANDIDATES, Candidates, Found
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.match.data.tables import Heads, Tables
from neardup.pipeline.match.data.undecided import Pair
from neardup.pipeline.match.decide.decide import (
    ALONE,
    DISTINCT,
    Judge,
    Judgement,
    PairOutcome,
    Pairs,
    Side,
    at_most_unsure,
    compare_items,
    compare_wholes,
)
from neardup.pipeline.match.decide.evidence import Cohort, Evidence, common, differing_bits, near, squared_distances
from neardup.pipeline.prove.finding import BoxPair
from neardup.pipeline.types import Box, Decision, Doubt, Exact, Ids, Kind, Span
from neardup.pipeline.where import NOWHERE, WhereKind, located

if TYPE_CHECKING:
    from neardup.pipeline.prove.prover import Asked, Prover

MAX_MATCHES = 16
"""Matches that a verdict lists, best first."""
PROVED = 5
"""Matches of an item that are proved, the likeliest."""
MOST_TWINS = 64
"""Identical items that are looked for."""
MOMENTS = 3
"""Frames of a segment that are proved."""
ALL: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(slots=True)
class Proposal:
    """What an item is to be compared with.

    Attributes:
        asks: pairs to be proved: how likely, the reference, what is asked. The likeliest is first.
        beside: references that a verdict is on as well, without a proof.
        alike: those of all these that evidence alone takes for more than distinct.
    """

    asks: list[tuple[tuple[int, float], Item, Ask]] = field(default_factory=list)
    beside: list[Item] = field(default_factory=list)
    alike: list[Item] = field(default_factory=list)


class Comparer:
    """Turns pairs of similar descriptors into matches with the references of one bank."""

    def __init__(
        self,
        tables: Tables,
        heads: Heads,
        evidence: Evidence,
        judge: Judge,
        candidates: Candidates,
        bank: str = SEEN,
        prover: Prover | None = None,
    ) -> None:
        self._bank = bank
        self._prover = prover
        self._tables = tables
        self._heads = heads
        self._evidence = evidence
        self._judge = judge
        self._candidates = candidates
        self._measured: dict[tuple[int, int], _Measured] = {}

    def matches(
        self,
        query: Described | Item,
        side: Side,
        found: Found,
        item: Item | None = None,
        usable: Callable[[Item], bool] = lambda _: True,
    ) -> list[Matched]:
        """Compare a query with each reference that was found and with those that are identical to it; best first.

        Args:
            item: what the query becomes in the state, so that its segments count for what frames are common.
            usable: whether a reference may be matched.
        """
        twins, others = self._beside(query, side, found, item, usable)
        matches = [self._exactly(*twin) for twin in twins]
        proved = self._prove_best(query.id, side, others)
        matches += [matched(reference, outcome, self._bank) for reference, outcome in proved]
        matches.sort(key=likelihood)
        return matches

    def propose(
        self, query: Item, side: Side, found: Found, usable: Callable[[Item], bool] = lambda _: True
    ) -> Proposal:
        """Return what a new item is to be compared with, and which pairs are to be proved first."""
        proposal = Proposal()
        twins, found_at = self._beside(query, side, found, query if self._bank == SEEN else None, usable)
        if twins:  # which need no proof, and whose own verdicts say what else they resemble
            proposal.beside += [twin for twin, _ in twins]
            return proposal
        chosen, others = self._choose(found_at, MAX_MATCHES)
        for reference, outcome in chosen:
            proposal.asks.append((_likelihood(outcome), reference, self._ask(side.kind, reference, outcome)))
        proposal.beside += [reference for reference, outcome in others if _is_alike(outcome)]
        proposal.alike += [reference for reference, outcome in found_at if _is_alike(outcome)]
        return proposal

    def note_shared(self, item: Item, side: Side, found: Found) -> None:
        """Count a new item for what it shows of others, as its matches or its proposal do."""
        self._beside(item, side, found, item, lambda _: True)

    def _beside(
        self, query: Described | Item, side: Side, found: Found, item: Item | None, usable: Callable[[Item], bool]
    ) -> tuple[list[tuple[Item, Exact]], list[tuple[Item, PairOutcome]]]:
        """Return what is identical to a query, and how it matches each other reference that was found; see `matches`.

        A reference that was found may be one more that is identical, in a star whose others are not, or one of very
        many.
        """
        twins = self._twins(query, usable)
        if not twins:
            return twins, list(self._outcomes(side, found, item, usable))
        heads = {twin.head for twin, _ in twins}
        others = []
        outcomes = self._outcomes(side, found, item, lambda one: one.number not in heads and usable(one))
        for reference, outcome in outcomes:
            if (exact := identity(query, reference)) is Exact.NO:
                others.append((reference, outcome))
            else:
                twins.append((reference, exact))
        return twins, others

    def _choose(
        self, outcomes: Iterable[tuple[Item, PairOutcome]], most: int = PROVED
    ) -> tuple[list[tuple[Item, PairOutcome]], list[tuple[Item, PairOutcome]]]:
        """Return the references that may be proved, so many at most, and the others, the likeliest first."""
        chosen, others = list[tuple[Item, PairOutcome]](), list[tuple[Item, PairOutcome]]()
        for one in sorted(outcomes, key=lambda one: _likelihood(one[1]), reverse=True):
            (chosen if len(chosen) < most and self._may_match(one[1]) else others).append(one)
        return chosen, others

    def ask(self, query: Item, reference: Item) -> tuple[tuple[int, float], Ask] | None:
        """Return how likely an item that is held matches a reference, and what to ask; None if nothing."""
        outcome = self._by_evidence(query, reference)
        if not self._may_match(outcome):
            return None
        return _likelihood(outcome), self._ask(query.kind, reference, outcome)

    def settle(
        self, item: Item, pair: Pair, reference: Item, expired: bool, of_head: bool = False, lapsed: bool = False
    ) -> Matched:
        """Return how an item that waited for a proof matches a reference, whatever the decision.

        Args:
            of_head: the proof is one of the item's head: what it says is the most that is said of the item.
            lapsed: nobody looked at the pair.
        """
        exact = identity(item, reference)
        if exact is not Exact.NO:
            return self._exactly(reference, exact)
        outcome = self._by_evidence(item, reference)
        if pair.proved is not None:
            proved = self._judge.prove(outcome, pair.proved)
            outcome = proved if not of_head else _at_most(outcome, proved)
        elif lapsed or not pair.answered:
            doubt = Doubt.UNPROVED if expired and not lapsed and _is_alike(outcome) else outcome.doubt
            outcome = replace(at_most_unsure(outcome), doubt=doubt)
        return matched(reference, outcome, self._bank)

    def _ask(self, kind: Kind, reference: Item, outcome: PairOutcome) -> Ask:
        moments, boxes = _to_prove(kind, reference, outcome)
        return Ask(
            bank=self._bank,
            reference=reference.id,
            offset=reference.offset,
            sha256=reference.sha256,
            moments=moments,
            boxes=boxes,
        )

    def _outcomes(
        self,
        side: Side,
        found: Found,
        item: Item | None,
        usable: Callable[[Item], bool],
        new: Mapping[int, Item] = MappingProxyType({}),
    ) -> Iterator[tuple[Item, PairOutcome]]:
        """Yield how a query matches each reference that was found, by evidence.

        Args:
            item: see `matches`. new: items that are expected to be heads, by number.
        """
        pairs, is_plain = found.pairs, side.kind is Kind.IMAGE and side.boxes is None
        alone_of = pairs.alone if self._judge.proves else None
        columns = self._columns(pairs) if is_plain else []
        chances = self._heads.chances
        for reference, places in self._by_head(pairs, new):
            if not usable(reference):
                continue
            if is_plain and reference.is_plain:  # one pair, without arrays
                (place,) = places
                distance, evidence, alone, judged = columns[place]
                doubts = side.doubt, reference.doubt
                yield reference, compare_wholes(distance, evidence, alone, doubts, judged, chances)
                continue
            mine = pairs.take(np.array(places))
            frames = (mine.query, self._tables.frames_of(reference, mine.reference))
            outcome = self._compare(side, reference, mine, frames, found.cohort)
            if item is not None:
                self._note_shared(item, reference, outcome)
            if alone_of is not None and side.kind is reference.kind is Kind.IMAGE:
                outcome = replace(outcome, alone=float(alone_of[places].max()))
            yield reference, outcome

    def _columns(self, pairs: Pairs) -> list[tuple[float, float, float, Judgement]]:
        """Return of each pair, of two images with a descriptor each, what `compare_wholes` needs."""
        evidence = pairs.evidence.astype(np.float64)
        known = pairs.alone if self._judge.proves else None
        alone = [-math.inf] * len(evidence) if known is None else known.tolist()
        judged = self._judge.judge_all(evidence, self._heads.chances)
        return list(zip(pairs.distance.tolist(), evidence.tolist(), alone, judged, strict=True))

    @property
    def looks_ahead(self) -> bool:
        """Whether `foresee` is of use."""
        return self._prover is not None and self._prover.looks_ahead

    def foresee(self, items: Sequence[Item], borders: Sequence[int], found: Found) -> None:
        """Have proofs begin that a batch probably needs, before any of it is decided; of images alone.

        Verdicts do not depend on it: what was foreseen wrongly is not asked for, what was not foreseen is proved later.
        An item that has a candidate is taken for a copy, hence for no reference of those after it.

        Args:
            items: those of the batch, in order; in no table yet.
            borders: where the rows of each begin in the batch, and where the last ones end.
            found: what the rows find, see `Candidates.of_batch`.
        """
        assert self._prover is not None
        likely = self.likely(Kind.IMAGE, found)
        borders_of_pairs = np.searchsorted(likely.query, borders).tolist()
        new: dict[int, Item] = {}
        asked: list[Asked] = []
        for item, rows, places in zip(items, pairwise(borders), pairwise(borders_of_pairs), strict=True):
            if item.kind is not Kind.IMAGE:
                continue
            mine = likely.take(slice(*places))
            mine = mine.of_places(mine.query - rows[0])
            cohort = found.cohort.take(slice(*rows))
            proposed = self._proposed(item, mine, cohort, new)
            asked += (self._asked(item.id, item.kind, reference, outcome) for reference, outcome in proposed)
            if not proposed:
                new[item.number] = item
        self._prover.look_ahead(asked)

    def _proposed(
        self, item: Item, pairs: Pairs, cohort: Cohort, new: Mapping[int, Item]
    ) -> list[tuple[Item, PairOutcome]]:
        """Return the references of an image that would be proved now, those of its batch among them."""
        if not len(pairs.query):
            return []
        heads = {twin.head for twin, _ in self._twins(item, lambda _: True)}

        def usable(reference: Item) -> bool:
            return reference.kind is Kind.IMAGE and reference.number not in heads

        chosen, _ = self._choose(self._outcomes(self._tables.side(item), Found(pairs, cohort), None, usable, new))
        return chosen

    def _prove_best(
        self, query: str, side: Side, outcomes: list[tuple[Item, PairOutcome]]
    ) -> Iterator[tuple[Item, PairOutcome]]:
        """Yield the outcomes with references, the most likely of them proved; what nobody proves is unsure at most."""
        if self._prover is None:
            yield from outcomes
            return
        chosen, others = self._choose(outcomes)
        for reference, outcome in chosen:
            yield reference, self._prove(query, side.kind, reference, outcome) or outcome
        yield from ((reference, at_most_unsure(outcome)) for reference, outcome in others)

    def _prove(self, query: str, kind: Kind, reference: Item, outcome: PairOutcome) -> PairOutcome | None:
        """Return an outcome after a proof; None where the pictures of an item are not to be had."""
        assert self._prover is not None
        proved = self._prover.prove(*self._asked(query, kind, reference, outcome))
        return None if proved is None else self._judge.prove(outcome, proved)

    @staticmethod
    def _asked(query: str, kind: Kind, reference: Item, outcome: PairOutcome) -> Asked:
        """Return what a proof of an outcome is asked with."""
        return query, reference.id, *_to_prove(kind, reference, outcome)

    def _may_match(self, outcome: PairOutcome) -> bool:
        """Return whether a proof may make more of an outcome than distinct."""
        if outcome.judgement.decision is not Decision.DISTINCT:
            return True
        evidence = max(outcome.evidence, outcome.alone)
        return outcome.where.kind is not WhereKind.NOTHING and evidence >= self._judge.least(outcome.chances)

    def pair(self, query: Item, reference: Item) -> PairOutcome:
        """Compare two items that are held."""
        outcome = self._by_evidence(query, reference)
        if self._prover is not None and self._may_match(outcome):
            return self._prove(query.id, query.kind, reference, outcome) or outcome
        return outcome

    def measure(self, pairs: Sequence[tuple[Item, Item]], keep: bool = False) -> None:
        """Compute at once what `settle` will need of held items and references, until the next call; of images alone.

        Nothing depends on it but time: new kin of a reference is seen, and what is not of these is computed alone. In a
        curated bank cohorts change with the bank, so that what was measured is to be forgotten first: measure nothing.

        Args:
            keep: what was measured before holds on, and is not computed again.
        """
        known = self._measured = self._measured if keep else {}
        plain = [
            (query, reference)
            for query, reference in pairs
            if query.is_plain and reference.is_plain and (query.number, reference.number) not in known
        ]
        if not plain:
            return
        q, r = (np.array([item.ranges[0][0] for item in column], np.int64) for column in zip(*plain, strict=True))
        numbers = np.array([reference.number for _, reference in plain], np.int64)
        rows, vectors = self._tables.rows, self._tables.vectors
        cohort = self._cohort(q)
        shift = cohort.shifts(np.arange(len(q)), numbers, self._tables.items.kin)
        distance = squared_distances(vectors.read(q), vectors.read(r))
        strength = self._evidence.of(distance, differing_bits(rows.hash[q], rows.hash[r]), shift)
        alone = strength + self._evidence.cohort_weight * (shift - cohort.least)
        speak = rows.speaks[q] & rows.speaks[r]
        columns = (column.tolist() for column in (distance, strength, alone, speak))
        for (query, reference), around, *values in zip(plain, cohort.items.tolist(), *columns, strict=True):
            kin = reference.kin
            left_out = len(common(kin, {*around})) if kin else 0
            self._measured[query.number, reference.number] = _Measured(len(kin), around, left_out, *values)

    def _as_measured(self, query: Item, reference: Item) -> PairOutcome | None:
        """Return what `_by_evidence` does, from what was measured; None if that is not known, or not as it is now."""
        known = self._measured.get((query.number, reference.number))
        if known is None:
            return None
        kin = reference.kin  # which only grows within a batch
        if len(kin) != known.kin and len(common(kin, {*known.around})) != known.left_out:
            return None
        alone = known.alone - ALONE if self._judge.proves else -math.inf
        doubts = query.doubt, reference.doubt
        chances = self._heads.chances
        judged = self._judge.judge(known.evidence, chances)
        outcome = compare_wholes(known.distance, known.evidence, alone, doubts, judged, chances)
        return outcome if known.speaks else _of_blank(outcome)

    def _by_evidence(self, query: Item, reference: Item) -> PairOutcome:
        if self._measured and (known := self._as_measured(query, reference)) is not None:
            return known
        q, r = self._tables.rows_of(query), self._tables.rows_of(reference)
        speaks = self._tables.rows.speaks
        both_images = query.kind is reference.kind is Kind.IMAGE
        floor = -np.inf if both_images else self._judge.min_vote
        cohort = self._cohort(q)
        shift = cohort.shift(reference.kin, reference.number)
        if both_images and len(q) == len(r) == 1:  # most
            frame = other = np.zeros(1, np.int64)
            both, hashes = self._tables.vectors.read(np.concatenate([q, r])), self._tables.rows.hash
            distance = squared_distances(both[:1], both[1:])
            strength = self._evidence.of(distance, differing_bits(hashes[q], hashes[r]), shift)
        else:
            sides = self._tables.pictures(q), self._tables.pictures(r)
            frame, other, distance, strength = near(self._evidence, *sides, shift, floor, CANDIDATES)
        speak = speaks[q[frame]] & speaks[r[other]]
        if not both_images or speak.any():
            frame, other, distance, strength = frame[speak], other[speak], distance[speak], strength[speak]
        pairs = Pairs(frame, r[other], distance, strength)
        outcome = self._compare(self._tables.side(query), reference, pairs, (frame, other), cohort)
        if self._judge.proves and both_images and len(strength):
            less = self._evidence.cohort_weight * (shift - cohort.least)[frame]
            outcome = replace(outcome, alone=float((strength + less).max()) - ALONE)
        return _of_blank(outcome) if both_images and not speak.any() else outcome

    def one(self, query: Item, reference: Item) -> Matched:
        """Return how an item that is held, perhaps in another bank, matches a reference, whatever the decision."""
        exact = identity(query, reference)
        if exact is not Exact.NO:
            return exactly(reference, reference, exact, self._itself(reference), self._bank)
        return matched(reference, self.pair(query, reference), self._bank)

    def likely(self, kind: Kind, found: Found) -> Pairs:
        """Leave out, of an image's pairs, those that make it distinct; most are, and comparing each costs time."""
        pairs = found.pairs
        if kind is not Kind.IMAGE or not len(pairs.evidence):
            return pairs
        least = self._judge.least(self._heads.chances)
        if float(pairs.evidence.min()) >= least:
            return pairs
        likely = pairs.evidence.astype(np.float64) >= least
        if self._judge.proves and pairs.alone is not None:
            likely |= pairs.alone >= least
        return pairs.take(np.flatnonzero(likely))

    def with_heads(self, pairs: Pairs) -> Pairs:
        """Leave out references that are no heads, or no more."""
        if not len(pairs.reference):
            return pairs
        numbers, place = np.unique(self._tables.rows.item[pairs.reference], return_inverse=True)
        items = [self._tables.items.get(number) for number in numbers.tolist()]
        is_head = np.array([item is not None and item.is_head for item in items], dtype=np.bool_)
        return pairs.take(np.flatnonzero(is_head[place]))

    def sharers(self, pairs: Pairs, frames: int) -> Ids:
        """Return with how many items each of a query's frames is more likely than not in common: int64 (frames,).

        Weaker resemblance is no sign: among many references, some resemble any frame.
        """
        likely = np.flatnonzero(pairs.evidence >= self._least)
        both = np.stack([pairs.query[likely], self._tables.rows.item[pairs.reference[likely]]])
        return np.bincount(np.unique(both, axis=1)[0], minlength=frames).astype(np.int64)

    @property
    def _least(self) -> float:
        """Evidence from which two pictures are more likely than not the same, without a proof."""
        return self._judge.thresholds(self._heads.chances).min_unsure

    def _by_head(self, pairs: Pairs, new: Mapping[int, Item]) -> Iterator[tuple[Item, list[int]]]:
        """Yield places of the pairs of each head, or of an item that is expected to be one, the earliest first."""
        places: dict[int, list[int]] = {}
        for place, number in enumerate(self._tables.rows.item[pairs.reference].tolist()):
            places.setdefault(number, []).append(place)
        for number in sorted(places):
            reference = new.get(number) or self._tables.items.get(number)
            if reference is not None and (reference.head == number or number in new):
                yield reference, places[number]

    def _compare(
        self, query: Side, reference: Item, pairs: Pairs, frames: tuple[Ids, Ids], cohort: Cohort
    ) -> PairOutcome:
        side, chances = self._tables.side(reference), self._heads.chances
        shift = partial(cohort.shift_of_moments, reference.kin, reference.number)
        return compare_items(query, side, pairs, frames, self._evidence, self._judge, chances, shift)

    def _cohort(self, rows: Ids) -> Cohort:
        """Return the neighbours of rows that are held: those that they had when they arrived, or those in this bank."""
        return self._tables.cohort(rows) if self._bank == SEEN else self._candidates.cohort_of(rows)

    def _twins(self, query: Described | Item, usable: Callable[[Item], bool]) -> list[tuple[Item, Exact]]:
        """Return the items that are identical, the earliest of each star: same bytes first, then same content.

        Of a star with thousands of them, MOST_TWINS are looked at.
        """
        found: list[tuple[Item, Exact]] = []
        heads = set[int]()
        same_bytes, same_pixels = self._tables.items.identical(query.sha256, query.pixels_digest)
        for twins, exact in ((same_bytes, Exact.BYTES), (same_pixels, Exact.PIXELS)):
            known = 0
            for twin in twins:
                known += twin.head in heads
                if max(known, len(found)) >= MOST_TWINS:
                    break
                if twin.head not in heads and usable(twin):
                    heads.add(twin.head)
                    found.append((twin, exact))
        return found

    def _exactly(self, twin: Item, exact: Exact) -> Matched:
        """Return how a query matches the head of an item that is identical to it."""
        head = self._tables.items.get(twin.head)
        assert head is not None
        outcome = self._itself(head) if twin is head else self._by_evidence(twin, head)
        return exactly(twin, head, exact, outcome, self._bank)

    def _itself(self, item: Item) -> PairOutcome:
        """Return how an item matches another with the same content."""
        rows = self._tables.rows_of(item)
        shift = self._tables.cohort(rows if item.kind is Kind.VIDEO else rows[:1]).shift(item.kin, item.number)
        nothing = np.zeros_like(shift)
        evidence = self._evidence.of(nothing, nothing.astype(np.int64), shift)
        mean = float(evidence.mean()) if evidence.size else 0.0
        spans = (Span(0.0, item.seconds, 0.0, item.seconds, mean),) if item.kind is Kind.VIDEO else ()
        return PairOutcome(DISTINCT, 0.0, mean, located(True, spans=spans))

    def _note_shared(self, item: Item, reference: Item, outcome: PairOutcome) -> None:
        """Count one more item that shows these frames of the reference; a copy as a whole is not one."""
        segments = [segment for segment in outcome.segments if segment.evidence >= self._least]
        if outcome.where.whole or not segments:
            return
        pts = self._tables.rows.pts[self._tables.rows_of(reference)]
        stretches = [(float(pts[one.reference[0]]), float(pts[one.reference[1]])) for one in segments]
        self._tables.share(item, reference, stretches)


class _Measured(msgspec.Struct, frozen=True):
    """What was computed of a pair of images.

    Attributes:
        kin: how many the reference had. around: the items of the query's cohort. left_out: how many of these were kin.
        alone: evidence against the background alone.
    """

    kin: int
    around: list[int]
    left_out: int
    distance: float
    evidence: float
    alone: float
    speaks: bool


def _of_blank(outcome: PairOutcome) -> PairOutcome:
    """Return the outcome of two blank pages: they have a distance, and that they are close says nothing."""
    return replace(outcome, judgement=DISTINCT, where=NOWHERE)


def _to_prove(
    kind: Kind, reference: Item, outcome: PairOutcome
) -> tuple[tuple[tuple[float, float], ...], tuple[BoxPair, ...]]:
    """Return the moments of two items that a proof looks at, and the boxes of both that may show the same."""
    where = outcome.where
    images = kind is reference.kind is Kind.IMAGE
    moments = () if images else tuple(moments_of(where.spans, kind is reference.kind))
    boxed = where.kind is WhereKind.PART and (images or where.query_box or where.reference_box)
    return moments, (((where.query_box or ALL, where.reference_box or ALL),) if boxed else ())


def candidate_of(bank: str, reference: Item) -> Candidate:
    """Return a reference as the log names it."""
    return Candidate(bank=bank, reference=reference.id, offset=reference.offset)


def _is_alike(outcome: PairOutcome) -> bool:
    return outcome.judgement.decision is not Decision.DISTINCT


def _at_most(outcome: PairOutcome, other: PairOutcome) -> PairOutcome:
    """Return an outcome, with the decision of another if that is lower."""
    lower = RANK[other.judgement.decision] < RANK[outcome.judgement.decision]
    return replace(outcome, judgement=other.judgement) if lower else outcome


def _likelihood(outcome: PairOutcome) -> tuple[int, float]:
    return RANK[outcome.judgement.decision], outcome.judgement.probability


def moments_of(spans: Sequence[Span], of_videos: bool) -> list[tuple[float, float]]:
    """Return seconds of some frames within the strongest span that should show the same in both.

    Args:
        of_videos: else one of the two is an image, and one frame is enough.
    """
    if not spans:
        return [(0.0, 0.0)]
    best = max(spans, key=lambda span: (span.query_end - span.query_start, span.evidence))
    count = MOMENTS if of_videos and best.query_end > best.query_start else 1
    shares = [(2 * n + 1) / (2 * count) for n in range(count)]
    return [
        (
            best.query_start + share * (best.query_end - best.query_start),
            best.reference_start
            + (1 - share if best.backwards else share) * (best.reference_end - best.reference_start),
        )
        for share in shares
    ]


def identity(a: Described | Item, b: Item) -> Exact:
    """Return whether two items are identical, and how."""
    if a.sha256 and a.sha256 == b.sha256:
        return Exact.BYTES
    return Exact.PIXELS if a.pixels_digest and a.pixels_digest == b.pixels_digest else Exact.NO


def matched(reference: Item, outcome: PairOutcome, bank: str = SEEN) -> Matched:
    """Return how a query matches a reference, as verdicts tell it."""
    return Matched(
        reference=reference.id,
        bank=bank,
        decision=outcome.judgement.decision,
        distance=outcome.distance,
        evidence=outcome.evidence,
        probability=outcome.judgement.probability,
        where=outcome.where,
        relation=outcome.relation,
        doubt=outcome.doubt,
        proof=outcome.proof,
    )


def exactly(twin: Item, head: Item, exact: Exact, outcome: PairOutcome, bank: str = SEEN) -> Matched:
    """Identical content is a copy whatever the descriptors say; those of the twin stand in for the query's."""
    return Matched(
        reference=head.id,
        bank=bank,
        decision=Decision.DUPLICATE,
        exact=exact,
        identical_to=twin.id,
        distance=outcome.distance,
        evidence=outcome.evidence,
        probability=1.0,
        where=located(True, spans=outcome.where.spans),
    )
