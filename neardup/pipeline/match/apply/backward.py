"""Earlier uploads that match a reference which a bank got only now.

What is said is what would have been said had the reference come first: the upload is the query, the bank's thresholds
decide. Candidates are the heads that resemble the reference, their members, and what is identical to it. Where proofs
are asked for, each head is asked about once, and the answer's envelope says what of its star matches: the proof decides
on the head, and is the most that is said of a member, which evidence decides on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import msgspec
import numpy as np

from neardup.pipeline.log.changes import Action
from neardup.pipeline.log.proofs import Ask, Asked, Candidate, ItemProved, PairProved, ProofExpired
from neardup.pipeline.log.records import Matched, RetroMatched
from neardup.pipeline.log.verdicts import PublishedVerdicts, is_silenced
from neardup.pipeline.match.apply.batch import Prefetch
from neardup.pipeline.match.compare.banks import Bank, Banks
from neardup.pipeline.match.compare.candidates import CANDIDATES
from neardup.pipeline.match.compare.collection import Collection
from neardup.pipeline.match.compare.compare import candidate_of, identity
from neardup.pipeline.match.compare.reviews import Reviews
from neardup.pipeline.match.data.items import Item, link
from neardup.pipeline.match.data.undecided import LATE_MS, LaterAsk, LaterAsks, Pair
from neardup.pipeline.match.decide.evidence import Evidence, differing_bits
from neardup.pipeline.types import Decision, Exact, Ids, Kind, Neighbours

MOST_FOUND = 10_000
"""Most items that one event lists: a record has to fit its topic."""
MOST_CANDIDATES = 16_384
"""Nearest descriptors of heads that are looked at for each descriptor of a reference."""
MOST_ASKED = 64
"""Heads that are asked about for one reference, the likeliest; what resembles more is no picture but a pattern."""
MOST_OPEN = 10_000
"""Heads that are asked about in all, and heads that were given up whose late answer may still come; prove workers have
room for them beside what waits for its verdict."""
MOST_UNLIKELY = 256
"""Heads that evidence alone makes distinct, compared for each descriptor of an image, as a proof may say more: the
nearest. Strangers among them grow with what was seen."""
_AT_ONCE = 64
_MEASURED_AT_ONCE = 1024


class Earlier(NamedTuple):
    """Earlier items that match a reference, in order of arrival, how many more there are, and what is asked."""

    found: Sequence[RetroMatched] = ()
    left_out: int = 0
    asked: tuple[Asked, ...] = ()


class BackwardSearch:
    """Searches what was seen for a bank's references.

    Args:
        prefetch: may know the nearest already. published: what was said earlier is not searched for again.
        asks: whether proofs are asked for.

    Attributes:
        later: heads that are asked about.
    """

    def __init__(
        self,
        seen: Collection,
        banks: Banks,
        reviews: Reviews,
        evidence: Evidence,
        prefetch: Prefetch,
        published: PublishedVerdicts,
        asks: bool = False,
    ) -> None:
        self.later = LaterAsks()
        self._seen = seen
        self._banks = banks
        self.reviews = reviews
        self._evidence = evidence
        self._prefetch = prefetch
        self._published = published
        self._asks = asks

    def search(self, bank: Bank, reference: Item, offset: int, now_ms: int) -> Earlier:
        """Return what of earlier items matches a reference, given the record that brings or enables it."""
        if not bank.usable(now_ms)(reference):
            return Earlier()
        bank.references[reference.id].searched = True
        published = self._published.retro_matched(offset)
        if published is None:
            candidates = self._candidates(bank, reference)
            waiting = self._ask(bank, reference, candidates) if self._asks else []
            found = self._matches_at_once(bank, reference, candidates, waiting, now_ms)
            bank.collection.comparer.measure(())
            asked = tuple(
                Asked(id=one.id, offset=one.offset, sha256=one.sha256, asks=(one.pair.candidate,), later=True)
                for one in waiting
                if isinstance(one.pair.candidate, Ask)
            )
            earlier = Earlier(found[:MOST_FOUND], max(0, len(found) - MOST_FOUND), asked)
        else:
            said = self._published.referenced(offset)
            earlier = Earlier(published) if said is None else Earlier(published, said.left_out, said.asked)
            waiting = self._as_published(reference, earlier.asked)
        for one in waiting:
            one.since_ms = now_ms
            self.later.add(one, now_ms, MOST_OPEN)
        self._link(reference, earlier.found)
        return earlier

    def apply(self, record: ItemProved | ProofExpired, offset: int, now_ms: int) -> list[RetroMatched]:
        """Return what of a star matches a reference that came later, once its head is proved, or nobody did that.

        An answer that comes within a day after nobody did takes the place of what was said then. Of a star with more
        members than MOST_FOUND, the first that many.
        """
        expires = isinstance(record, ProofExpired)
        answers: list[Candidate] = [*record.pairs] if isinstance(record, ItemProved) else []
        if isinstance(record, ProofExpired) and record.reference is not None:
            answers.append(record.reference)
        published = self._published.retro_matched(offset)
        matches: list[RetroMatched] = []
        for given in answers:
            one = self.later.take(record.id, record.offset, given, expires)
            if one is None or (one.expired and not expires and now_ms - one.since_ms > LATE_MS):
                continue
            bank = self._banks.named(given.bank)
            reference = None if bank is None else bank.collection.of(one.pair.number)
            if bank is None or reference is None or not bank.usable(now_ms)(reference):
                self.later.forget(one)  # the pair lapses
                continue
            if isinstance(given, PairProved):
                one.pair.answered, one.pair.proved = True, given.proved
            if published is None:
                settled = self._settled(bank, one, reference)
                found = list(self._matches(bank, reference, settled, now_ms, dict(one.said)))
                bank.collection.comparer.measure(())
                found = found[: MOST_FOUND - len(matches)]
            else:
                key = given.bank, reference.id
                found = [each for each in published if (each.match.bank, each.match.reference) == key]
            if expires:
                numbers = ((self._seen.tables.items.named(each.id), each.match.decision) for each in found)
                one.said = [(item.number, decision) for item, decision in numbers if item is not None]
            self._link(reference, found)
            matches += found
        return matches

    # -- what is asked -----------------------------------------------------------------------------------------------

    def _ask(self, bank: Bank, reference: Item, candidates: Sequence[Item]) -> list[LaterAsk]:
        """Return the likeliest heads of these that are to be proved, with their members."""
        live = self._seen.tables.live
        heads = [
            head
            for head in candidates
            if head.is_head and identity(head, reference) is Exact.NO and head.number not in live
        ]
        likely = [
            (likelihood, head, ask)
            for head in self._measured(bank, reference, heads)
            if (found := bank.collection.comparer.ask(head, reference)) is not None
            for likelihood, ask in [found]
        ]
        likely.sort(key=lambda one: one[0], reverse=True)
        room = min(MOST_ASKED, max(0, MOST_OPEN - self.later.waiting))
        return [_later(head, ask, reference.number) for _, head, ask in likely[:room]]

    def _as_published(self, reference: Item, published: Iterable[Asked]) -> list[LaterAsk]:
        """Return what was asked as it was published: an approximate search need not find the same again."""
        named = ((one, self._seen.tables.items.named(one.id)) for one in published)
        return [
            _later(head, one.asks[0], reference.number)
            for one, head in named
            if head is not None and head.offset == one.offset
        ]

    # -- what matches ------------------------------------------------------------------------------------------------

    def _matches_at_once(
        self, bank: Bank, reference: Item, candidates: Sequence[Item], waiting: Sequence[LaterAsk], now_ms: int
    ) -> list[RetroMatched]:
        """Return what needs to wait for no proof."""
        later = {number for one in waiting for number in one.items}
        left = [item for item in candidates if item.number not in later or identity(item, reference) is not Exact.NO]
        compared = ((item, self._unasked(bank, item, reference)) for item in self._measured(bank, reference, left))
        return list(self._matches(bank, reference, compared, now_ms))

    def _link(self, reference: Item, found: Iterable[RetroMatched]) -> None:
        """Have cohorts know which heads resemble a reference."""
        items = self._seen.tables.items
        for one in found:
            counts = one.match.decision is not Decision.DISTINCT  # a variant is what a cohort is for
            if counts and (item := items.named(one.id)) is not None:
                link(reference, items.get(item.head) or item)

    def _unasked(self, bank: Bank, item: Item, reference: Item) -> Matched:
        """Return how an item matches of which nothing is asked: by evidence, and if proofs are, unsure at most."""
        comparer, head = bank.collection.comparer, self._seen.tables.items.get(item.head) or item
        is_live = item.number in self._seen.tables.live
        if not self._asks or is_live or identity(head, reference) is not Exact.NO:
            return comparer.one(item, reference)
        pair = Pair(candidate_of(bank.settings.name, reference), reference.number)
        return comparer.settle(item, pair, reference, expired=False)

    def _settled(self, bank: Bank, one: LaterAsk, reference: Item) -> Iterator[tuple[Item, Matched]]:
        """Yield how what is left of a star compares; what is identical was found at once."""
        named = map(self._seen.tables.items.get, one.items)
        items = [item for item in named if item is not None and identity(item, reference) is Exact.NO]
        for item in self._measured(bank, reference, items):
            is_member = item.number != one.items[0]
            yield item, bank.collection.comparer.settle(item, one.pair, reference, not one.pair.answered, is_member)

    @staticmethod
    def _measured(bank: Bank, reference: Item, items: Sequence[Item]) -> Iterator[Item]:
        """Yield items, many at a time compared with a reference by arrays; each is searched for in its bank."""
        comparer = bank.collection.comparer
        for start in range(0, len(items), _MEASURED_AT_ONCE):
            some = items[start : start + _MEASURED_AT_ONCE]
            comparer.measure([(item, reference) for item in some], keep=True)
            yield from some

    def _matches(
        self,
        bank: Bank,
        reference: Item,
        compared: Iterable[tuple[Item, Matched]],
        now_ms: int,
        said: Mapping[int, Decision] = MappingProxyType({}),
    ) -> Iterator[RetroMatched]:
        """Yield the matches of items as reviewers and allow-lists leave them, given how they compare.

        Args:
            said: decisions that these take the place of, by number of the item; such a match may be none any more.
        """
        items, matches = list[Item](), list[Matched]()
        for item, match in compared:
            kept = self.reviews.respected(item, reference, match)
            if kept is not None and (kept.listed or item.number in said) and bank.asks_about(item.id):
                items.append(item)
                matches.append(msgspec.structs.replace(kept, action=bank.settings.action))
        for item, match, allowing in zip(items, matches, self._allowing(items, now_ms), strict=True):
            match = msgspec.structs.replace(match, silenced=is_silenced(match, allowing))
            yield RetroMatched(id=item.id, match=match, before=said.get(item.number))

    def _candidates(self, bank: Bank, reference: Item) -> list[Item]:
        items = self._seen.tables.items
        numbers = {item.number for same in items.identical(reference.sha256, reference.pixels_digest) for item in same}
        rows = bank.collection.tables.rows_of(reference)
        rows = rows[bank.collection.tables.rows.searched[rows]]
        known = self._prefetch.take(bank.settings.name, reference, len(rows))
        for start in range(0, len(rows), _AT_ONCE):
            here = slice(start, start + _AT_ONCE)
            first = None if known is None else Neighbours(known.ids[here], known.distances[here])
            for number in self._near(bank, reference.kind, rows[here], first):
                head = items.get(number)
                if head is not None:
                    numbers |= {number, *head.members}
        return [item for number in sorted(numbers) if (item := items.get(number)) is not None]

    def _near(self, bank: Bank, kind: Kind, rows: Ids, first: Neighbours | None) -> Iterator[int]:
        """Yield numbers of heads of which a descriptor resembles one of these.

        What evidence alone makes distinct is asked about, or nothing is said of it: of that the nearest are enough.

        Args:
            first: the CANDIDATES nearest to each, if they are known.
        """
        table, index, judge = self._seen.tables.rows, self._seen.heads.index, bank.collection.judge
        hashes = table.hash[rows]
        chances, of_video = bank.collection.heads.chances, kind is Kind.VIDEO
        least, unsure = judge.least(chances), judge.thresholds(chances).min_unsure
        k, most = CANDIDATES, min(MOST_CANDIDATES, len(index))
        while most:
            found = first or index.search(self._seen.tables.vectors.read(rows), min(k, most))
            first = None
            bits = differing_bits(hashes[:, None], table.hash[found.ids])
            shift = self._seen.tables.cohort(found.ids.ravel()).least.reshape(found.ids.shape)
            strength = self._evidence.of(found.distances, bits, shift)  # no less than what will be decided on
            near = (strength >= judge.min_vote) & (found.ids >= 0)
            # Frames vote; an image must be more than distinct by itself, so more are asked for only where all may be.
            alone = least if k < MOST_UNLIKELY else unsure
            matters = judge.min_vote if of_video else max(judge.min_vote, alone)
            if k >= most or not (near[:, -1] & (strength[:, -1] >= matters)).any():
                break
            k *= 4
        else:
            return
        unlikely = near & (strength < unsure)
        near_items = table.item[found.ids[near]].tolist()
        rank = np.cumsum(unlikely, axis=1)[near].tolist()
        for number, value, place in zip(near_items, strength[near].tolist(), rank, strict=True):
            item = self._seen.tables.items.get(number)
            if item is None:
                continue
            alone = value >= unsure or (value >= least and place <= MOST_UNLIKELY)
            if alone or of_video or item.kind is Kind.VIDEO:
                yield number

    def _allowing(self, items: Sequence[Item], now_ms: int) -> list[list[Matched]]:
        """Return the allow-list matches of each item; an allow-list is searched for many of them at a time."""
        matches: list[list[Matched]] = [[] for _ in items]
        for bank in self._banks:
            if bank.settings.action is not Action.ALLOW or not len(bank.collection.tables.items):
                continue
            asked = [(item, mine) for item, mine in zip(items, matches, strict=True) if bank.asks_about(item.id)]
            for start in range(0, len(asked), _MEASURED_AT_ONCE):
                some = asked[start : start + _MEASURED_AT_ONCE]
                rows = [self._seen.tables.rows_of(item) for item, _ in some]
                candidates = bank.collection.candidates.among(rows, [item.kind for item, _ in some])
                for (item, mine), one in zip(some, candidates, strict=True):
                    found = bank.matches(item, self._seen.tables.side(item), one, now_ms)
                    found = self.reviews.respect(item, found, bank.collection.tables.items)
                    mine += [match for match in found if match.decision is Decision.DUPLICATE]
        return matches


def _later(head: Item, ask: Ask, number: int) -> LaterAsk:
    return LaterAsk(head.id, head.offset, head.sha256, Pair(ask, number, asked=True), [head.number, *head.members])
