"""Ends the wait for proofs that do not come.

`apply` has no clock, so the leader watches its own and appends `ProofExpired`. An item that waits counts from when this
process first saw it wait. Where provers work, one that they pass over is given up after a short time; where none does,
much later, for then all would become `unsure`. Earlier heads that are asked about for a later reference, and items of
an archive, come after all others: they wait for as long as provers answer anything.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from neardup.pipeline.log.proofs import Candidate, ProofExpired
from neardup.pipeline.log.records import Record
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.data.undecided import LaterAsk, LaterKey, Undecided, UndecidedKey
from neardup.workers.run import telemetry

logger = logging.getLogger(__name__)
Key: TypeAlias = UndecidedKey | LaterKey
AT_ONCE = 1000
"""Items that are given up in one step."""
LATER_SECONDS = 6 * 3600.0
"""That a head waits for the proof with a later reference at most: its ask is dropped after a day."""
_LOOK_SECONDS = 1.0


class Expiry:
    """Gives up what waits for too long; used by whoever leads, between batches.

    Args:
        append: writes records to the log.
        seconds: that an item waits while others get answers. outage_seconds: while none does.
    """

    def __init__(
        self,
        state: State,
        append: Callable[[Sequence[Record]], object],
        seconds: float,
        outage_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._append = append
        self._seconds, self._outage_seconds = seconds, outage_seconds
        self._clock = clock
        self._since: dict[Key, float] = {}
        self._given_up: dict[Key, float] = {}
        self._answered_at = float("-inf")
        self._looked_at = float("-inf")

    @property
    def oldest_seconds(self) -> float:
        """How long the first of those that somebody waits for has waited for its verdict; 0 if none does."""
        items = (since for key, since in self._since.items() if not self._comes_later(key))
        return max(0.0, self._clock() - min(items, default=self._clock()))

    def step(self) -> None:
        """Look, from time to time, and give up what has waited for too long.

        Raises:
            kafka.errors.KafkaError: the log does not take it; it is tried again at the next step.
        """
        now = self._clock()
        if now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        waiting = self._waiting()
        if any(key not in waiting and key not in self._given_up for key in self._since):
            self._answered_at = now
        self._since = {key: self._since.get(key, now) for key in waiting}
        self._given_up = {key: at for key, at in self._given_up.items() if key in waiting}
        due = [key for key in waiting if self._is_due(key, now)][:AT_ONCE]
        records = [record for key in due if (record := self._record(waiting[key])) is not None]
        if records:
            self._append(records)
            self._given_up |= dict.fromkeys(due, now)
            telemetry.PROOFS_EXPIRED.inc(len(records))
            logger.warning("no proof in time items=%d first=%s", len(records), records[0].id)

    def _waiting(self) -> dict[Key, Undecided | LaterAsk]:
        waiting: dict[Key, Undecided | LaterAsk] = {one.key: one for one in self._state.undecided if not one.expired}
        return waiting | {later.key: later for later in self._state.later if not later.expired}

    def _record(self, one: Undecided | LaterAsk) -> ProofExpired | None:
        """Return what ends a wait; None where the item is gone."""
        if isinstance(one, Undecided):
            item = self._state.items.get(one.item)
            return None if item is None else ProofExpired(id=item.id, offset=one.offset)
        asked = one.pair.candidate
        named = Candidate(bank=asked.bank, reference=asked.reference, offset=asked.offset)
        return ProofExpired(id=one.id, offset=one.offset, reference=named)

    def _comes_later(self, key: Key) -> bool:
        """Return whether it is proved after all others: a later ask, or an item of an archive."""
        if len(key) == 3:
            return True
        waiting = self._state.undecided.get(*key)
        return waiting is not None and waiting.later

    def _is_due(self, key: Key, now: float) -> bool:
        since, given_up = self._since[key], self._given_up.get(key)
        if given_up is not None and now - given_up < self._outage_seconds:
            return False  # its record is on the way
        if self._comes_later(key):
            return now - max(since, self._answered_at) > self._outage_seconds or now - since > LATER_SECONDS
        answered = self._answered_at > since
        return now - since > (self._seconds if answered else self._outage_seconds)
