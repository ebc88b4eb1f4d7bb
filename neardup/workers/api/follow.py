"""Follows the log as far as verdicts are published, with the verdicts that were given where its own differ.

As a match worker that does not lead, see `workers.match`; it never will.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from neardup.pipeline.log.records import Described, Envelope
from neardup.pipeline.match.data.entry import Entry
from neardup.workers.api.view import View
from neardup.workers.kafka.log import Fetched, Tail, locate, read_entry, read_envelopes
from neardup.workers.match.worker import raise_if_gone
from neardup.workers.run import telemetry

logger = logging.getLogger(__name__)
BATCH_RECORDS = 64
"""Fewer than a match worker takes: lookups wait for a batch."""
_WAIT_SECONDS = 0.25


class Follower:
    """Feeds a view; used by one thread.

    Args:
        told: called with the envelopes, as they were published, once the view stands for them.
        clock: seconds since 1970.
    Raises:
        ConfigError: the log does not fit the view.
    """

    def __init__(
        self,
        log: Tail,
        verdicts: Tail,
        view: View,
        dimension: int,
        told: Callable[[Sequence[Envelope]], object] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = log
        self._verdicts = verdicts
        self._view = view
        self._dimension = dimension
        self._told = told
        self._clock = clock
        self._waiting: deque[Envelope] = deque()
        self._fetched: deque[Fetched] = deque()
        self._caught_up = False
        log.seek(view.applied + 1)
        verdicts.seek(locate(verdicts, view.applied + 1))

    @property
    def behind(self) -> int:
        """How many records of the log the view lacks, as far as the broker has told."""
        return max(self._log.lag() + len(self._fetched), len(self._waiting))

    @property
    def caught_up(self) -> bool:
        """Whether it has been where the verdicts ended."""
        return self._caught_up

    def step(self) -> None:
        """Apply a batch, waiting for one if there is none."""
        if not self._waiting:
            fetched = self._verdicts.poll(_WAIT_SECONDS, 4 * BATCH_RECORDS)
            self._waiting.extend(one for one in read_envelopes(fetched) if one.offset > self._view.applied)
            self._caught_up = self._caught_up or not fetched
        if self._waiting:
            self._apply()
        telemetry.API_BEHIND.set(self.behind)

    def close(self) -> None:
        """Disconnect."""
        for tail in (self._log, self._verdicts):
            tail.close()

    def _apply(self) -> None:
        batch = self._next_records(self._waiting[-1].offset)
        if not batch:
            raise_if_gone(self._log, self._waiting[0].offset)
            return
        read = [read_entry(one, self._dimension) for one in batch]
        entries = [one for one in read if isinstance(one, Entry)]
        published = {one.offset: one for one in self._waiting}
        self._view.apply(entries, published, batch[-1].offset)
        done = []
        while self._waiting and self._waiting[0].offset <= self._view.applied:
            done.append(self._waiting.popleft())
        if self._caught_up:  # what waited while this worker was down tells of no delay
            now = self._clock()
            for entry in entries:
                record = entry.record
                if isinstance(record, Described) and record.last:
                    since = record.produced_ms or entry.timestamp_ms
                    if since:
                        telemetry.SEARCHABLE_SECONDS.observe(max(0.0, now - since / 1000))
        self._told(done)

    def _next_records(self, up_to: int) -> list[Fetched]:
        if not self._fetched:
            self._fetched.extend(self._log.poll(_WAIT_SECONDS, BATCH_RECORDS))
        batch: list[Fetched] = []
        while self._fetched and self._fetched[0].offset <= up_to and len(batch) < BATCH_RECORDS:
            batch.append(self._fetched.popleft())
        return batch


def newest_folder(parent: Path) -> Path | None:
    """Return the folder below this one with the newest snapshot of a state, None if there is none."""
    from neardup.pipeline.match.apply.snapshot import Snapshots

    found = [(offsets[0], folder) for folder in sorted(parent.glob("*-*")) if (offsets := Snapshots(folder).offsets())]
    return max(found, key=lambda one: one[0])[1] if found else None
