"""When and how a match worker writes its state down: while batches go on, by a copy of the process.

First a thread waits until the vectors written so far are on the disk, which may take long. Then what came meanwhile,
little, is flushed, and the process copied; the copy writes. Held up are the batches only by the flush and the copying.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.match.apply.snapshot import Snapshots
from neardup.pipeline.match.apply.state import State
from neardup.workers.match.fork import Background
from neardup.workers.run import fault_points, telemetry

logger = logging.getLogger(__name__)
_QUICK_SECONDS = 0.05
"""A disk that is done in this time is waited for."""
_RETRY_SECONDS = 10.0
"""After a failure, doubled for each further one up to the policy's seconds: a full disk is not tried at each batch."""


@dataclass(frozen=True, slots=True)
class SnapshotPolicy:
    """A snapshot is due after so many records, or so many seconds if there was any.

    Attributes:
        background: a copy of the process writes it, while this one goes on.
        most_seconds: that the copy may take; one that hangs would be the last snapshot for ever.
    """

    records: int = 100_000
    seconds: float = 300.0
    background: bool = True
    most_seconds: float = 3600.0


DEFAULT = SnapshotPolicy()


class Saver:
    """Takes care of the snapshots of one state; call `step` between batches.

    Args:
        policy: may be replaced at any time.
    """

    def __init__(
        self,
        state: State,
        snapshots: Snapshots,
        policy: SnapshotPolicy = DEFAULT,
        clock: Callable[[], float] = time.monotonic,
        reached: Callable[[str], object] = fault_points.reached,
    ) -> None:
        self.policy = policy
        self._state = state
        self._snapshots = snapshots
        self._clock = clock
        self._reached = reached
        self._saved = snapshots.load(state)
        self._begun_at = clock()
        self._lacks_since: float | None = None
        self._failures = 0
        self._retry_at = -math.inf
        self._syncing: threading.Thread | None = None
        self._writing: tuple[int, Background] | None = None

    @property
    def saved(self) -> int:
        """The offset that the newest snapshot stands for; at the start, the state too."""
        return self._saved

    def step(self, applied: int) -> None:
        """Begin a snapshot that is due, or go on with the one under way; the state stands for `applied`."""
        self._look_after()
        if applied <= self._saved:
            self._lacks_since = None
        elif self._lacks_since is None:
            self._lacks_since = self._clock()
        telemetry.SNAPSHOT_AGE.set(0.0 if self._lacks_since is None else self._clock() - self._lacks_since)
        if self._writing is not None:
            return
        if self._syncing is None:
            if not self._is_due(applied):
                return
            self._begun_at = self._clock()
            if not self.policy.background:
                self.save(applied)
                return
            self._syncing = threading.Thread(target=self._sync, name="snapshot-sync", daemon=True)
            self._syncing.start()
            self._syncing.join(_QUICK_SECONDS)
        if not self._syncing.is_alive():
            self._syncing = None
            self._fork(applied)

    def save(self, applied: int) -> None:
        """Write down the state now; a disk that fails costs the snapshot, not the worker."""
        started = self._begun_at = self._clock()
        try:
            self._snapshots.save(self._state, applied)
        except DependencyError as error:
            self._failed(applied, error)
        else:
            self._done(applied)
        telemetry.STAGE_SECONDS.labels("snapshot").observe(self._clock() - started)
        self._reached("saved")

    def save_within(self, applied: int, seconds: float) -> None:
        """Write down the state, or give it up where that takes longer: the next start then applies more of the log."""
        if not self.policy.background:
            self.save(applied)
            return
        end = self._clock() + seconds
        self._begun_at = self._clock()
        self._syncing = threading.Thread(target=self._sync, name="snapshot-sync", daemon=True)
        self._syncing.start()
        self._syncing.join(max(seconds, 0.0))
        if self._syncing.is_alive():
            self._failed(applied, f"the disk needs more than {seconds:.1f} s")
            return
        self._syncing = None
        self._fork(applied)
        self.finish(end - self._clock())
        self._reached("saved")

    def finish(self, seconds: float) -> None:
        """Wait for the snapshot that is under way, syncing and writing together; if that takes longer, give it up."""
        end = self._clock() + seconds
        if self._syncing is not None:
            self._syncing.join(max(seconds, 0.0))
        if self._writing is not None:
            self._writing[1].wait(end - self._clock())
            self._look_after()

    def _is_due(self, applied: int) -> bool:
        behind, seconds = applied - self._saved, self._clock() - self._begun_at
        if self._clock() < self._retry_at:
            return False
        if self._failures and behind > 0:
            return True
        return behind >= self.policy.records or (behind > 0 and seconds >= self.policy.seconds)

    def _sync(self) -> None:
        try:
            self._snapshots.sync(self._state)
        except DependencyError as error:  # the flush that follows will tell
            logger.warning("vectors not synced error=%s", error)

    def _fork(self, applied: int) -> None:
        started = self._clock()
        try:
            self._snapshots.flush(self._state)
        except DependencyError as error:
            self._failed(applied, error)
            return
        writing = Background(lambda: self._snapshots.save(self._state, applied))
        self._writing = applied, writing
        telemetry.STAGE_SECONDS.labels("snapshot").observe(self._clock() - started)
        self._reached("snapshot-begun")

    def _look_after(self) -> None:
        if self._writing is None:
            return
        offset, writing = self._writing
        succeeded = writing.done()
        if succeeded is None and self._clock() - self._begun_at > self.policy.most_seconds:
            writing.give_up(self._clock() - self._begun_at)
            succeeded = writing.done()
        if succeeded is None:
            return
        self._writing = None
        if succeeded:
            self._done(offset)
        else:
            self._failed(offset, writing.error)
        self._reached("snapshot-ended")

    def _done(self, offset: int) -> None:
        self._saved = offset
        self._failures, self._retry_at = 0, -math.inf
        self._lacks_since = self._begun_at  # if anything came since, then after this
        telemetry.SNAPSHOT_SECONDS.set(self._clock() - self._begun_at)

    def _failed(self, offset: int, error: object) -> None:
        telemetry.SNAPSHOTS_FAILED.inc()
        pause = min(_RETRY_SECONDS * 2.0**self._failures, max(self.policy.seconds, _RETRY_SECONDS))
        self._failures += 1
        self._retry_at = self._clock() + pause
        logger.error("snapshot failed offset=%d retry_seconds=%.0f error=%s", offset, pause, error)
