"""The feed across a switch of spaces: first what the one flagged within its turn, then what the next one did.

Numbers rise from turn to turn, so a reader goes on after the last event that it saw, whichever space that was of.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from neardup.pipeline.store.interface import FeedEntry, FlagStore
from neardup.workers.api.feed import order
from neardup.workers.kafka.spaces import Gate, Turn

_AFTER_ALL = 10**9
"""A number of an event of an offset that none reaches."""


class TurnsFeed:
    """See `feed.Flagged`. Where no space was ever switched to, it is the store's own feed.

    Args:
        own: the store of the gate's space. open_store: returns that of another; nothing is sent before its first call.
    """

    def __init__(self, own: FlagStore, open_store: Callable[[str], FlagStore], gate: Gate) -> None:
        self._stores = {gate.space: own}
        self._open_store = open_store
        self._gate = gate
        self._lock = threading.Lock()

    def applied(self) -> int:
        """Return the number that all that is in the feed by now comes before or has."""
        turns = self._turns()
        if not turns:
            return self._stores[self._gate.space].applied()
        turn = turns[-1]
        return max(self._store(turn.space).applied(), turn.first - 1) + turn.shift

    def feed(self, after: str, count: int) -> list[FeedEntry]:
        """See `FlagStore`."""
        turns = self._turns()
        if not turns:
            return self._stores[self._gate.space].feed(after, count)
        found: list[FeedEntry] = []
        for turn in turns:
            if len(found) < count and turn.space:
                found += self._of(turn, after, count - len(found))
        return found

    def _of(self, turn: Turn, after: str, count: int) -> list[FeedEntry]:
        offset, number = order(after)
        offset -= turn.shift
        if not turn.has(offset):
            if offset >= turn.first:  # all of the turn was seen
                return []
            offset, number = turn.first - 1, _AFTER_ALL
        begin = f"{offset}.{number}" if offset >= 0 else ""
        entries = self._store(turn.space).feed(begin, count)
        return [_shifted(entry, turn.shift) for entry in entries if turn.has(order(entry.event)[0])]

    def _turns(self) -> tuple[Turn, ...]:
        known = self._gate.spaces()
        if known is None or not (known.serving == self._gate.space or self._gate.space in known.standby):
            return ()
        return known.turns

    def _store(self, space: str) -> FlagStore:
        with self._lock:
            if space not in self._stores:
                self._stores[space] = self._open_store(space)
            return self._stores[space]


def _shifted(entry: FeedEntry, shift: int) -> FeedEntry:
    if not shift:
        return entry
    offset, number = order(entry.event)
    return replace(entry, event=f"{offset + shift}.{number}")
