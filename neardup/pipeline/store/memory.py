"""Flags in memory: the store of tests and of a trial without Redis. The reference for what `redis.py` does."""

from __future__ import annotations

from collections.abc import Sequence

from neardup.pipeline.messages import Envelope, Event, Matched, ReHeaded, RemovedEvent, Replaced, Rolling, Verdict
from neardup.pipeline.store.interface import NOTHING_APPLIED, FeedEntry
from neardup.pipeline.types import Decision


def star_head(verdict: Verdict) -> str | None:
    """Return the head whose star the item joined, None if it stands alone."""
    first: Matched | None = next((m for m in verdict.matches if m.whole and m.decision is Decision.DUPLICATE), None)
    return None if first is None else first.reference


def flagged_verdict(verdict: Verdict, flagged: Matched) -> Verdict:
    """Return what the feed says of one match of a live video."""
    return Verdict(id=verdict.id, decision=flagged.decision, matches=(flagged,), running=verdict.running)


class MemoryStore:
    """See `interface.FlagStore`."""

    def __init__(self) -> None:
        self._applied: int = NOTHING_APPLIED
        self.clear()

    def applied(self) -> int:
        """See `FlagStore`."""
        return self._applied

    def apply(self, envelopes: Sequence[Envelope], after: int = NOTHING_APPLIED) -> int | None:
        """See `FlagStore`."""
        if self._applied < after:
            return None
        new = [envelope for envelope in envelopes if envelope.offset > self._applied]
        for envelope in new:
            for number, event in enumerate(envelope.events):
                self._apply_event(event, envelope.offset, number)
            self._applied = envelope.offset
        return len(new)

    def verdict(self, item: str) -> Verdict | None:
        """See `FlagStore`."""
        return self._verdicts.get(item)

    def members(self, head: str) -> frozenset[str]:
        """See `FlagStore`."""
        return frozenset(item for item, its_head in self._heads.items() if its_head == head)

    def feed(self, after: str, count: int) -> list[FeedEntry]:
        """See `FlagStore`."""
        return [entry for entry in self._feed if not after or _order(entry.event) > _order(after)][:count]

    def clear(self) -> None:
        """See `FlagStore`."""
        self._applied = NOTHING_APPLIED
        self._verdicts: dict[str, Verdict] = {}
        self._heads: dict[str, str] = {}
        self._feed: list[FeedEntry] = []

    def _apply_event(self, event: Event, offset: int, number: int) -> None:
        if isinstance(event, Verdict):
            self._verdicts[event.id] = event
            self._heads.pop(event.id, None)
            head = star_head(event)
            if head is not None:
                self._heads[event.id] = head
            if event.decision is not Decision.DISTINCT:
                self._feed.append(FeedEntry(f"{offset}.{number}", event))
        elif isinstance(event, Rolling):
            self._verdicts[event.verdict.id] = event.verdict
            self._heads.pop(event.verdict.id, None)
            if event.flagged is not None:
                self._feed.append(FeedEntry(f"{offset}.{number}", flagged_verdict(event.verdict, event.flagged)))
        elif isinstance(event, RemovedEvent | Replaced):
            self._verdicts.pop(event.id, None)
            self._heads.pop(event.id, None)
        elif isinstance(event, ReHeaded):
            self._heads.pop(event.new, None)
            self._heads.update(dict.fromkeys(event.members, event.new))


def _order(event: str) -> tuple[int, int]:
    offset, number = event.split(".")
    return int(offset), int(number)
