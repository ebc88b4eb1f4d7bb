"""Items whose verdict waits for proofs: asked for when they come, decided when the last answer is in the log.

While it waits, an item is a head of its own, and later items are compared with it. What it is decided on are the pairs
of its own envelope, as they are by then: a reference that was removed, replaced, disabled or judged no match meanwhile
counts no more, and reviews, calibrations and settings of banks are those of the deciding record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.proofs import Ask, Asked, Candidate, ItemProved, ProofExpired, ProofPending
from neardup.pipeline.log.records import ARCHIVE, Described, Entry, Event, Matched, Redecided, Verdict
from neardup.pipeline.log.verdicts import PublishedVerdicts, combine, likelihood, star_head
from neardup.pipeline.match.apply.backward import BackwardSearch
from neardup.pipeline.match.compare.banks import Bank, Banks
from neardup.pipeline.match.compare.collection import Collection
from neardup.pipeline.match.compare.compare import MAX_MATCHES, PROVED, Proposal, candidate_of
from neardup.pipeline.match.compare.reviews import Reviews
from neardup.pipeline.match.compare.stars import Stars
from neardup.pipeline.match.data.items import Item, link
from neardup.pipeline.match.data.undecided import LATE_MS, Pair, Undecided, UndecidedItems
from neardup.pipeline.match.live.verdicts import LiveVerdicts
from neardup.pipeline.match.live.videos import LiveVideos
from neardup.pipeline.types import Decision, Exact


class Proofs:
    """Asks for proofs, and decides once they are there.

    Args:
        most: items that may wait; above it only the best candidate and those of curated banks are asked about.

    Attributes:
        undecided: what waits, matches of live videos too.
    """

    def __init__(
        self,
        seen: Collection,
        banks: Banks,
        reviews: Reviews,
        stars: Stars,
        lives: LiveVideos,
        published: PublishedVerdicts,
        backward: BackwardSearch,
        undecided: UndecidedItems,
        live_verdicts: LiveVerdicts,
        most: int,
    ) -> None:
        self.undecided = undecided
        self._live_verdicts = live_verdicts
        self._seen = seen
        self._banks = banks
        self._reviews = reviews
        self._stars = stars
        self._lives = lives
        self._published = published
        self._backward = backward
        self._most = most

    def ask(self, entry: Entry, item: Item, proposals: Sequence[tuple[str, Proposal]]) -> Undecided:
        """Return the pairs of an item that is about to be taken in; it waits if one of them is open.

        Args:
            proposals: by bank, the stream among them.
        """
        waiting = self._propose(entry, item, proposals)
        if waiting.open:
            self.undecided.add(waiting, entry.timestamp_ms)
        return waiting

    def pending(self, item: Item, waiting: Undecided, produced_ms: int) -> ProofPending:
        """Return the event of an item that waits."""
        asks = tuple(pair.candidate for pair in waiting.pairs if isinstance(pair.candidate, Ask))
        beside = tuple(pair.candidate for pair in waiting.pairs if not isinstance(pair.candidate, Ask))
        asked = Asked(
            id=item.id,
            offset=waiting.offset,
            sha256=item.sha256,
            asks=asks,
            later=waiting.later,
            produced_ms=produced_ms,
        )
        return ProofPending(asked=asked, beside=beside)

    def apply(self, entry: Entry, record: ItemProved | ProofExpired) -> tuple[Event, ...]:
        """Take in answers, or that none came in time, and return what follows.

        That is the verdict on the item, if it is due, and matches of its star with references that came later.
        """
        return (*self._decide(entry, record), *self._backward.apply(record, entry.offset, entry.timestamp_ms))

    def look_ahead(self, entries: Sequence[Entry]) -> None:
        """Have what these answers are decided on be computed at once; nothing depends on it but time."""
        pairs: dict[str, dict[tuple[int, int], tuple[Item, Item]]] = {SEEN: {}}
        for entry in entries:
            record = entry.record
            if not isinstance(record, ItemProved | ProofExpired) or entry.offset in self._published:
                continue
            item, waiting = self._waiting(record)
            if item is None or waiting is None:
                continue
            for pair in waiting.pairs:
                name = pair.candidate.bank
                collection = self._collection(name)
                reference = None if collection is None else collection.of(pair.number)
                if reference is not None:
                    pairs.setdefault(name, {})[item.number, reference.number] = item, reference
        for collection in (self._seen, *(bank.collection for bank in self._banks)):
            collection.comparer.measure([*pairs.get(collection.name, {}).values()])

    def _waiting(self, record: ItemProved | ProofExpired) -> tuple[Item | None, Undecided | None]:
        """Return the item that an answer names, and what of it waits for that; an earlier version waits no more."""
        item = self._seen.tables.items.named(record.id)
        return item, None if item is None else self.undecided.get(record.offset, item.number)

    def _decide(self, entry: Entry, record: ItemProved | ProofExpired) -> tuple[Event, ...]:
        item, waiting = self._waiting(record)
        if item is None or waiting is None or (waiting.expired and entry.timestamp_ms - waiting.since_ms > LATE_MS):
            return ()
        if isinstance(record, ProofExpired):
            if waiting.expired or record.reference is not None:
                return ()
            self.undecided.expire(waiting)
        elif not waiting.take(record.pairs) or waiting.open:
            return ()
        if not waiting.open:
            self.undecided.forget(waiting)
        if (live := self._lives.get(item.id)) is not None:
            return self._live_verdicts.settle(live, waiting, entry)
        verdict = self._published.verdict(entry.offset) or self.verdict(item, waiting, entry.timestamp_ms)
        moved = self._stars.settle(item, star_head(verdict) or "")
        self.take_note(item, verdict)
        event: Event = verdict
        listed = [(match.bank, match.reference) for match in verdict.matches]
        if waiting.decision is not None:
            withdrawn = tuple(key for key in waiting.said if key not in listed)
            event = Redecided(verdict=verdict, before=waiting.decision, withdrawn=withdrawn)
        waiting.said, waiting.decision = listed, verdict.decision
        return (event, *moved)

    def verdict(self, item: Item, waiting: Undecided, now_ms: int) -> Verdict:
        """Decide on an item by what is known of its pairs."""
        banks = dict.fromkeys(pair.candidate.bank for pair in waiting.pairs)
        matches = [match for bank in banks for match in self._matches(item, waiting, bank, now_ms)]
        head = self._stars.head_for(item, matches) if matches else None
        if item.head not in (-1, item.number):  # people put it there meanwhile
            head = self._stars.head_of(item).id
        return combine(item.id, matches, head, quiet=waiting.quiet)

    def take_note(self, item: Item, verdict: Verdict) -> None:
        """Have cohorts know what an item, or the head that it copies, resembles, and live videos what shows them."""
        head = self._stars.head_of(item)
        for match in verdict.matches:
            if match.bank == SEEN:
                self._lives.note_copy(match.reference, item.number)
            collection = self._collection(match.bank)
            reference = None if collection is None else collection.tables.items.named(match.reference)
            counts = match.decision is not Decision.DISTINCT  # a variant is what a cohort is for
            if counts and reference is not None and reference is not head:
                link(head, reference)
                self._seen.heads.note_link(head, reference)

    # -- what is asked -----------------------------------------------------------------------------------------------

    def _propose(self, entry: Entry, item: Item, proposals: Sequence[tuple[str, Proposal]]) -> Undecided:
        spare = self._spare(next(proposal for name, proposal in proposals if name == SEEN))

        def is_spare(name: str, reference: Item) -> bool:
            return name == SEEN and reference.number in spare

        wanted = [
            (not is_spare(name, reference), likely, name, reference, ask)
            for name, proposal in proposals
            for likely, reference, ask in proposal.asks
        ]
        # Equals stay in the order of banks.
        wanted.sort(key=lambda one: one[:2], reverse=True)
        if self.undecided.waiting >= self._most:
            best = next((one for one in wanted if one[2] == SEEN), None)
            wanted = [one for one in wanted if one[2] != SEEN or one is best]
        del wanted[PROVED:]
        if not any(first and name == SEEN for first, _, name, *_ in wanted):
            spare = set()
        asks = [msgspec.structs.replace(ask, spare=is_spare(name, one)) for _, _, name, one, ask in wanted]
        pairs = [Pair(ask, one[3].number, asked=True) for ask, one in zip(asks, wanted, strict=True)]
        asked = {(pair.candidate.bank, pair.number) for pair in pairs}
        for name, proposal in proposals:
            left = [reference for _, reference, _ in proposal.asks if (name, reference.number) not in asked]
            for reference in [*(one for one in left if one in proposal.alike), *proposal.beside]:
                candidate = candidate_of(name, reference)
                candidate = msgspec.structs.replace(candidate, spare=is_spare(name, reference))
                pairs.append(Pair(candidate, reference.number))
            for reference in proposal.alike:
                link(item, reference)
        return _undecided(entry, item, pairs)

    def _spare(self, proposal: Proposal) -> set[int]:
        """Return the numbers of candidates that wait for a proof with another one, as copies do that come in a burst.

        They will stand under that one, which proves as much of the item.
        """
        candidates = [*(reference for _, reference, _ in proposal.asks), *proposal.beside]
        numbers = {reference.number for reference in candidates}
        spare = set()
        for reference in candidates:
            waiting = self.undecided.get(reference.offset, reference.number)
            if waiting is None or waiting.expired:
                continue
            if any(pair.asked and pair.candidate.bank == SEEN and pair.number in numbers for pair in waiting.pairs):
                spare.add(reference.number)
        return spare

    def ask_again(self, entry: Entry, item: Item, published: ProofPending, link_all: bool) -> None:
        """Have an item wait for what was published: an approximate search need not find the same again.

        Args:
            link_all: cohorts are to know that it resembles all of these references.
        """
        candidates: list[tuple[Candidate, bool]] = [(ask, True) for ask in published.asked.asks]
        candidates += [(one, False) for one in published.beside]
        pairs = []
        for candidate, asked in candidates:
            collection = self._collection(candidate.bank)
            reference = None if collection is None else collection.tables.items.named(candidate.reference)
            number = -1 if reference is None or reference.offset != candidate.offset else reference.number
            pairs.append(Pair(candidate, number, asked))
            if reference is not None and link_all:
                link(item, reference)
        self.undecided.add(_undecided(entry, item, pairs), entry.timestamp_ms)

    # -- how it is decided -------------------------------------------------------------------------------------------

    def _collection(self, name: str) -> Collection | None:
        bank = None if name == SEEN else self._banks.named(name)
        return self._seen if name == SEEN else None if bank is None else bank.collection

    def _matches(self, item: Item, waiting: Undecided, name: str, now_ms: int) -> list[Matched]:
        """Return the matches with references of a bank, best first."""
        collection, bank = self._collection(name), self._banks.named(name)
        if collection is None or (bank is not None and not bank.asks_about(item.id)):
            return []
        found, spare = [], set[str]()
        for pair, reference in self._left(collection, bank, waiting.pairs, now_ms):
            lapsed = waiting.lapsed(pair)
            match = collection.comparer.settle(item, pair, reference, waiting.expired, lapsed=lapsed)
            kept = self._reviews.respected(item, reference, match)
            if kept is None or not kept.listed or (kept.reference == item.id and bank is None):
                continue
            head = collection.of(reference.head)
            if head is not None and head is not reference and kept.exact is Exact.NO:
                kept = msgspec.structs.replace(kept, head=head.id)
            spare |= {reference.id} if lapsed and kept.exact is Exact.NO else set()
            found.append(kept if bank is None else msgspec.structs.replace(kept, action=bank.settings.action))
        if any(_is_whole_copy(match) and match.reference not in spare for match in found):
            found = [match for match in found if match.reference not in spare]
        found.sort(key=likelihood)
        best: dict[str, Matched] = {}
        for match in found:  # identical items may have become members of one star meanwhile, whose head each names
            best.setdefault(match.reference, match)
        return list(best.values())[:MAX_MATCHES]

    def _left(
        self, collection: Collection, bank: Bank | None, pairs: Sequence[Pair], now_ms: int
    ) -> Iterator[tuple[Pair, Item]]:
        """Yield the pairs that count, with their references."""
        for pair in pairs:
            reference = collection.of(pair.number) if pair.candidate.bank == collection.name else None
            if reference is not None and (bank is None or bank.usable(now_ms)(reference)):
                yield pair, reference


def _undecided(entry: Entry, item: Item, pairs: list[Pair]) -> Undecided:
    quiet, later = _is_quiet(entry), _comes_later(entry)
    return Undecided(item.number, entry.offset, entry.timestamp_ms, pairs, quiet=quiet, later=later)


def _is_quiet(entry: Entry) -> bool:
    return isinstance(entry.record, Described) and entry.record.quiet


def _comes_later(entry: Entry) -> bool:
    """Return whether the item of a record is of an archive, whether or not anybody is notified."""
    record = entry.record
    return isinstance(record, Described) and (record.quiet or record.source_partition == ARCHIVE)


def _is_whole_copy(match: Matched) -> bool:
    return match.decision is Decision.DUPLICATE and match.where.whole
