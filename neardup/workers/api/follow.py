"""Feeds the view with the log, as far as verdicts are published.

As a match worker that does not lead, see `workers.match.follower`; it never will.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from neardup.pipeline.log.records import ARCHIVE, Described, Envelope
from neardup.pipeline.match.apply.snapshot import Snapshots
from neardup.workers.api.view import View
from neardup.workers.kafka.log import Tail
from neardup.workers.match.follower import Batch, Follower
from neardup.workers.run import telemetry

_BATCH_RECORDS = 64
"""Fewer than a match worker takes: lookups wait for a batch."""


class ViewFollower(Follower):
    """Feeds a view; used by one thread.

    Args:
        told: called with the envelopes, as they were published, once the view stands for them.
        clock: seconds since 1970.
        serves: whether the space serves. One that stands by is filled with what came long ago: delays say nothing then.
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
        space: str = "",
        serves: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(log, verdicts, view.applied, dimension, _BATCH_RECORDS, space)
        self._view = view
        self._told = told
        self._clock, self._serves = clock, serves

    def step(self) -> None:
        """Apply a batch, waiting for one if there is none."""
        batch = self.published()
        if batch is not None:
            batch.compare(self._view.apply(batch.entries, batch.published, batch.records[-1].offset))
            self._told(list(batch.published.values()))
            if self.caught_up and self._serves():  # what waited while this worker was down is no measure of delay
                self._observe(batch)
        telemetry.API_BEHIND.set(self.behind)

    def close(self) -> None:
        """Disconnect."""
        for tail in (self._log, self._verdicts):
            tail.close()

    def _observe(self, batch: Batch) -> None:
        now = self._clock()
        for entry in batch.entries:
            record = entry.record
            if (
                not isinstance(record, Described)
                or not record.last
                or record.source_partition == ARCHIVE
                or record.quiet
            ):
                continue
            if since := record.produced_ms or entry.timestamp_ms:
                telemetry.SEARCHABLE_SECONDS.observe(max(0.0, now - since / 1000))


def newest_folder(parent: Path) -> Path | None:
    """Return the folder below this one with the newest snapshot of a state, None if there is none."""
    found = [(offsets[0], folder) for folder in sorted(parent.glob("*-*")) if (offsets := Snapshots(folder).offsets())]
    return max(found, key=lambda one: one[0])[1] if found else None
