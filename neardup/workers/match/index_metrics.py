"""Metrics of the index."""

from __future__ import annotations

from neardup.pipeline.index.proposer import Status
from neardup.workers.run import telemetry


class IndexMetrics:
    """Turns the counts of one index since its start into counters."""

    def __init__(self) -> None:
        self._before = Status()

    def update(self, now: Status) -> None:
        """Set gauges, and move counters by what was added since the last time."""
        before, self._before = self._before, now
        telemetry.INDEX_DESCRIPTORS.labels(now.engine).set(now.searcher)
        telemetry.INDEX_DESCRIPTORS.labels("tail").set(now.tail)
        telemetry.INDEX_DESCRIPTORS.labels("waiting").set(now.waiting)
        telemetry.INDEX_REFUSED.inc(now.refused - before.refused)
        telemetry.INDEX_REPAIRED.inc(now.repaired - before.repaired)
        telemetry.INDEX_BYTES.set(now.bytes)
        telemetry.INDEX_BUILD_SECONDS.set(now.build_seconds)
        telemetry.INDEX_BUILDS.labels("swapped-in").inc(now.builds - before.builds)
        telemetry.INDEX_BUILDS.labels("failed").inc(now.failed - before.failed)
        new, old = now.checked, before.checked
        telemetry.CANARY_SEARCHES.labels("near").inc(new.near - old.near)
        telemetry.CANARY_SEARCHES.labels("far").inc(new.far - old.far)
        telemetry.CANARY_MISSES.labels("near").inc(new.near_missed - old.near_missed)
        telemetry.CANARY_MISSES.labels("far").inc(new.far_missed - old.far_missed)
