"""Flags in memory: the store of tests and of a trial without Redis. The reference for what `redis.py` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from neardup.pipeline.log.changes import SEEN, BankChanged, BankEdit, Outcome, ReferenceChanged, ReferenceEdit, Reviewed
from neardup.pipeline.log.records import (
    NOTHING,
    Changed,
    Envelope,
    Event,
    Matched,
    Redecided,
    Referenced,
    ReHeaded,
    RemovedEvent,
    Replaced,
    RetroMatched,
    Rolling,
    Unreferenced,
    Verdict,
)
from neardup.pipeline.log.verdicts import as_of_now, is_counted, lets_pass, star_head, to_review, variants_in
from neardup.pipeline.store.interface import (
    DEAD_LETTER_DAYS,
    AuditEntry,
    BankRow,
    DeadLetter,
    FeedEntry,
    Queued,
    ReferenceRow,
    ReviewQueue,
    counts_in,
    entry_of,
    queues_of,
)
from neardup.pipeline.types import Decision, Doubt

Key = tuple[str, str]
_DEAD_SECONDS = DEAD_LETTER_DAYS * 86_400


@dataclass(slots=True)
class _Item:
    """What is known of an item.

    Attributes:
        later: matches with references that came after it. outcomes: of reviews, by bank and reference.
        open, done: matches that wait for a reviewer, and that were rejected. confirmed: the one that was not.
        unsure, unproved: matches that are so.
        queued: offset at which it entered the queue first, -1 if it never did.
    """

    verdict: Verdict | None = None
    head: str = ""
    later: dict[Key, Matched] = field(default_factory=dict)
    outcomes: dict[Key, Outcome] = field(default_factory=dict)
    open: set[Key] = field(default_factory=set)
    done: set[Key] = field(default_factory=set)
    unsure: set[Key] = field(default_factory=set)
    unproved: set[Key] = field(default_factory=set)
    confirmed: Key | None = None
    queued: int = -1


class MemoryStore:
    """See `interface.FlagStore`.

    Args:
        clock: seconds since 1970, for claims and what is forgotten after a time.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._applied: int = NOTHING
        self._dead_at: int | None = None
        self.clear()

    def applied(self) -> int:
        """See `FlagStore`."""
        return self._applied

    def apply(self, envelopes: Sequence[Envelope], after: int = NOTHING) -> int | None:
        """See `FlagStore`."""
        if self._applied < after:
            return None
        new = [envelope for envelope in envelopes if envelope.offset > self._applied]
        for envelope in new:
            for number, event in enumerate(envelope.events):
                self._apply_event(event, envelope, number)
            self._applied = envelope.offset
        return len(new)

    def verdict(self, item: str) -> Verdict | None:
        """See `FlagStore`."""
        known = self._items.get(item)
        if known is None or (known.verdict is None and not known.later):
            return None
        verdict = known.verdict or Verdict(id=item, decision=Decision.DISTINCT)
        if not known.later and not known.outcomes:
            return verdict
        return as_of_now(verdict, known.later.values(), known.outcomes)

    def members(self, head: str) -> frozenset[str]:
        """See `FlagStore`."""
        return frozenset(item for item, known in self._items.items() if known.head == head)

    def head(self, item: str) -> str:
        """See `FlagStore`."""
        return self._items[item].head if item in self._items else ""

    def feed(self, after: str, count: int, bank: str = "", decision: Decision | None = None) -> list[FeedEntry]:
        """See `FlagStore`."""
        later = (entry for entry in self._feed if not after or _order(entry.event) > _order(after))
        return [entry for entry in later if counts_in(entry, bank, decision)][:count]

    def queued(self, queue: ReviewQueue = ReviewQueue.UNSURE) -> int:
        """See `FlagStore`."""
        return len(self._in_order(queue))

    def queue(self, start: int, count: int, queue: ReviewQueue = ReviewQueue.UNSURE) -> list[Queued]:
        """See `FlagStore`."""
        return [self._queued(item) for item in self._in_order(queue)[start : start + count]]

    def claim(
        self,
        reviewer: str,
        count: int,
        lease_ms: int,
        passed: Collection[str] = (),
        queue: ReviewQueue = ReviewQueue.UNSURE,
    ) -> list[Queued]:
        """See `FlagStore`."""
        free = (item for item in self._in_order(queue) if item not in passed and self.claimer(item) in ("", reviewer))
        found = [item for item, _ in zip(free, range(count), strict=False)]
        for item in found:
            self._claims[item] = (reviewer, self._clock() + lease_ms / 1000)
        return [self._queued(item) for item in found]

    def claimer(self, item: str) -> str:
        """See `FlagStore`."""
        reviewer, until = self._claims.get(item, ("", 0.0))
        return reviewer if until > self._clock() else ""

    def release(self, reviewer: str, item: str) -> None:
        """See `FlagStore`."""
        if self.claimer(item) == reviewer:
            del self._claims[item]

    def audit(self, before: str, count: int) -> list[AuditEntry]:
        """See `FlagStore`."""
        earlier = [entry for entry in self._audit if not before or _order(entry.event) < _order(before)]
        return earlier[::-1][:count]

    def banks(self) -> list[BankRow]:
        """See `FlagStore`."""
        counts = [sum(1 for bank, _ in self._references if bank == name) for name in sorted(self._banks)]
        return [replace(self._banks[name], references=n) for name, n in zip(sorted(self._banks), counts, strict=True)]

    def references(self, bank: str, start: int, count: int) -> list[ReferenceRow]:
        """See `FlagStore`."""
        found = sorted((offset, id) for (name, id), offset in self._references.items() if name == bank)
        return [replace(self._settings[bank, id], offset=offset) for offset, id in found[start : start + count]]

    def dead_letter(self, item: str, bank: str = SEEN) -> DeadLetter | None:
        """See `FlagStore`."""
        letter, until = self._dead.get((bank, item), (None, 0.0))
        return letter if until > self._clock() else None

    def dead_letters_at(self) -> int | None:
        """See `FlagStore`."""
        return self._dead_at

    def taken_down(self, items: Collection[str]) -> frozenset[str]:
        """See `FlagStore`."""
        kept = {item: self._dead.get((SEEN, item)) for item in items}
        return frozenset(
            item for item, one in kept.items() if one is not None and not one[0] and one[1] > self._clock()
        )

    def note_dead_letters(self, letters: Sequence[DeadLetter], place: int) -> None:
        """See `FlagStore`."""
        for letter in letters:
            kept, until = self._dead.get((letter.bank, letter.item), (letter, 0.0))
            if kept is not None or until <= self._clock():
                self._dead[letter.bank, letter.item] = (letter, letter.at_ms / 1000 + _DEAD_SECONDS)
        self._dead_at = place

    def clear(self) -> None:
        """See `FlagStore`."""
        self._dead: dict[Key, tuple[DeadLetter | None, float]] = {}
        self._dead_at = None
        self._applied = NOTHING
        self._items: dict[str, _Item] = {}
        self._feed: list[FeedEntry] = []
        self._queue: dict[str, frozenset[ReviewQueue]] = {}
        self._claims: dict[str, tuple[str, float]] = {}
        self._audit: list[AuditEntry] = []
        self._banks: dict[str, BankRow] = {}
        self._references: dict[Key, int] = {}
        self._settings: dict[Key, ReferenceRow] = {}

    # -- events --------------------------------------------------------------------------------------------------

    def _apply_event(self, event: Event, envelope: Envelope, number: int) -> None:
        place = f"{envelope.offset}.{number}"
        if (entry := entry_of(event, place, envelope.timestamp_ms)) is not None:
            self._feed.append(entry)
        if isinstance(event, Verdict):
            known = self._item(event.id)
            known.verdict, known.head = event, star_head(event) or ""
            self._enqueue(event.id, envelope.offset, to_review(event))
        elif isinstance(event, Redecided):
            known, said = self._item(event.verdict.id), event.verdict
            known.verdict, known.head = said, star_head(said) or ""
            self._withdraw(known, event.withdrawn)
            self._enqueue(said.id, envelope.offset, to_review(said))
            self._queue_if_open(said.id)
        elif isinstance(event, Rolling):
            known = self._item(event.verdict.id)
            known.verdict, known.head = event.verdict, ""
            variants = [(match.bank, match.reference) for match in variants_in(event.verdict)]
            if gone := {*event.withdrawn, *variants}:
                self._withdraw(known, gone)
                self._queue_if_open(event.verdict.id)
            if event.flagged is not None:
                self._enqueue(event.verdict.id, envelope.offset, [event.flagged])
        elif isinstance(event, RemovedEvent | Replaced):
            self._items.pop(event.id, None)
            self._queue.pop(event.id, None)
            self._claims.pop(event.id, None)
            if isinstance(event, RemovedEvent):
                self._dead[SEEN, event.id] = (None, envelope.timestamp_ms / 1000 + _DEAD_SECONDS)
        elif isinstance(event, ReHeaded):
            self._item(event.new).head = ""
            for member in event.members:
                self._item(member).head = event.new
        elif isinstance(event, RetroMatched):
            self._later(event, envelope)
        elif isinstance(event, Referenced):
            key = event.bank, event.id
            settings = self._settings.get(key, ReferenceRow(event.id, event.bank, 0))
            self._references[key] = envelope.offset
            self._settings[key] = replace(
                settings, kind=event.kind, sha256=event.sha256.hex(), thumbnail=event.thumbnail
            )
        elif isinstance(event, Unreferenced):
            self._references.pop((event.bank, event.id), None)
            self._settings.pop((event.bank, event.id), None)
        elif isinstance(event, Changed):
            self._audit.append(AuditEntry(place, event, envelope.timestamp_ms))
            if event.refused_for is None:
                self._change(event)

    def _item(self, item: str) -> _Item:
        return self._items.setdefault(item, _Item())

    def _later(self, event: RetroMatched, envelope: Envelope) -> None:
        known, key = self._item(event.id), (event.match.bank, event.match.reference)
        if event.before is not None:
            self._withdraw(known, [key])
        if event.match.listed:
            known.later[key] = event.match
        if is_counted(event.match):
            self._enqueue(event.id, envelope.offset, [event.match])
        elif event.before is not None:
            self._queue_if_open(event.id)
        if lets_pass(event.match):
            self._queue.pop(event.id, None)

    def _withdraw(self, known: _Item, keys: Collection[Key]) -> None:
        """Take back matches of an item."""
        for these in (known.open, known.done, known.unsure, known.unproved):
            these.difference_update(keys)
        for key in keys:
            known.later.pop(key, None)

    def _change(self, event: Changed) -> None:
        record = event.record
        if isinstance(record, BankChanged) and record.edit is BankEdit.DELETE:
            self._banks.pop(record.bank, None)
            for table in (self._references, self._settings):
                for key in [key for key in table if key[0] == record.bank]:
                    del table[key]
        elif isinstance(record, BankChanged):
            row = self._banks.get(record.bank, BankRow(record.bank))
            given = _given(record, "action", "precision", "enable_ratio", "note", "metadata")
            self._banks[record.bank] = replace(row, **given)
        elif isinstance(record, ReferenceChanged) and record.edit is not ReferenceEdit.REMOVE:
            settings = self._settings.get((record.bank, record.id), ReferenceRow(record.id, record.bank, 0))
            self._settings[record.bank, record.id] = replace(
                settings, **_given(record, "disabled_until_ms", "note", "metadata")
            )
        elif isinstance(record, Reviewed):
            self._judge(record.item, (record.bank, record.reference), record.outcome)

    # -- the queue -----------------------------------------------------------------------------------------------

    def _enqueue(self, item: str, offset: int, matches: Iterable[Matched]) -> None:
        known = self._item(item)
        given = {(m.bank, m.reference): m for m in matches}
        if not given:
            return
        known.open |= given.keys() - known.outcomes.keys()
        known.unsure -= given.keys()
        known.unsure |= {key for key, match in given.items() if match.decision is Decision.UNSURE}
        known.unproved -= given.keys()
        known.unproved |= {key for key, match in given.items() if match.doubt is Doubt.UNPROVED}
        if known.queued < 0:
            known.queued = offset
        self._queue_if_open(item)

    def _queue_if_open(self, item: str) -> None:
        known = self._item(item)
        queues = queues_of(known.open, known.unsure, known.unproved)
        if queues and known.confirmed is None and known.queued >= 0:
            self._queue[item] = queues
        else:
            self._queue.pop(item, None)

    def _judge(self, item: str, key: Key, outcome: Outcome) -> None:
        known = self._item(item)
        known.outcomes.pop(key, None)
        if known.confirmed == key:
            known.confirmed = None
        if key in known.done:
            known.done.remove(key)
            known.open.add(key)
        if outcome is not Outcome.UNDO:
            known.outcomes[key] = outcome
        if outcome is Outcome.MATCH:
            known.confirmed = key
        if outcome is Outcome.NOT_A_MATCH and key in known.open:
            known.open.remove(key)
            known.done.add(key)
        self._queue_if_open(item)

    def _in_order(self, queue: ReviewQueue) -> list[str]:
        waiting = (item for item, queues in self._queue.items() if queue in queues)
        return sorted(waiting, key=lambda item: (self._items[item].queued, item.encode()))

    def _queued(self, item: str) -> Queued:
        known, verdict = self._items[item], self.verdict(item)
        assert verdict is not None
        return Queued(item, known.queued, verdict, frozenset(known.open), self.claimer(item))


def _given(record: BankChanged | ReferenceChanged, *names: str) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(record, name)) is not None}


def _order(event: str) -> tuple[int, int]:
    offset, number = event.split(".")
    return int(offset), int(number)
