"""Ends the wait for proofs that do not come.

`apply` has no clock, so the leader watches its own and appends `ProofExpired`. An item that waits counts from when this
process first saw it wait. Where provers work, one that they pass over is given up after a short time; where none does,
much later, for then all would become `unsure`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from neardup.pipeline.log.proofs import ProofExpired
from neardup.pipeline.log.records import Record
from neardup.pipeline.match.apply.state import State
from neardup.workers.run import telemetry

logger = logging.getLogger(__name__)
AT_ONCE = 1000
"""Items that are given up in one step."""
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
        self._since: dict[int, float] = {}
        self._given_up: dict[int, float] = {}
        self._answered_at = float("-inf")
        self._looked_at = float("-inf")

    @property
    def oldest_seconds(self) -> float:
        """How long the first of those that wait has waited; 0 if none does."""
        return max(0.0, self._clock() - min(self._since.values(), default=self._clock()))

    def step(self) -> None:
        """Look, from time to time, and give up what has waited for too long.

        Raises:
            kafka.errors.KafkaError: the log does not take it; it is tried again at the next step.
        """
        now = self._clock()
        if now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        waiting = {one.offset: one.item for one in self._state.undecided if not one.expired}
        if any(offset not in waiting and offset not in self._given_up for offset in self._since):
            self._answered_at = now
        self._since = {offset: self._since.get(offset, now) for offset in waiting}
        self._given_up = {offset: at for offset, at in self._given_up.items() if offset in waiting}
        due = [offset for offset in waiting if self._is_due(offset, now)][:AT_ONCE]
        items = [self._state.items.get(waiting[offset]) for offset in due]
        records = [ProofExpired(id=item.id, offset=at) for item, at in zip(items, due, strict=True) if item is not None]
        if records:
            self._append(records)
            self._given_up |= dict.fromkeys(due, now)
            telemetry.PROOFS_EXPIRED.inc(len(records))
            logger.warning("no proof in time items=%d first=%s", len(records), records[0].id)

    def _is_due(self, offset: int, now: float) -> bool:
        since, given_up = self._since[offset], self._given_up.get(offset)
        if given_up is not None and now - given_up < self._outage_seconds:
            return False  # its record is on the way
        answered = self._answered_at > since
        return now - since > (self._seconds if answered else self._outage_seconds)
