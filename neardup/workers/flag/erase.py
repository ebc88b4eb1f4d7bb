"""Files of items that were taken down go from the blob store, also those that are written late.

The flag worker erases before Redis notes that an envelope was applied, so nothing is left out by a crash; to erase what
is gone does no harm. A worker that has an item in flight while it is taken down may still store its thumbnail; but then
its record follows in the log, is ignored there, and that is the moment to erase again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from neardup.pipeline.log.reasons import IgnoredReason
from neardup.pipeline.log.records import Envelope, Ignored, RemovedEvent
from neardup.pipeline.media.blobs import Blobs

_AT_ONCE = 16


def gone(envelopes: Sequence[Envelope]) -> set[str]:
    """Return the ids of items that are taken down, or of which a late record was ignored."""
    return {
        event.id
        for envelope in envelopes
        for event in envelope.events
        if isinstance(event, RemovedEvent)
        or (isinstance(event, Ignored) and event.ignored_for is IgnoredReason.TAKEN_DOWN)
    }


def erase(blobs: Blobs, ids: Collection[str]) -> int:
    """Remove all files of items, and return how many that were.

    Raises:
        DependencyError: the blob store failed; some may be left.
    """
    if not ids:
        return 0
    with ThreadPoolExecutor(min(len(ids), _AT_ONCE), thread_name_prefix="erase") as pool:
        return sum(pool.map(blobs.erase, ids))
