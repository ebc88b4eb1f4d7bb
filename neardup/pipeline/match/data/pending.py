"""Items of which the last part has not been seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np

from neardup.pipeline.log.records import ARCHIVE, Described
from neardup.pipeline.match.data.items import Item, Items
from neardup.pipeline.types import Ids, doubt_of

MAX_PENDING_SECONDS = 86_400.0
"""An item of which no part came for so long, by the log's time, is given up."""


@dataclass(slots=True)
class Pending:
    """An item under way; `newest_ms` is the log's time at its newest part."""

    first: Described
    number: int
    newest_ms: int = 0
    parts: int = 0
    frames: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list)

    @property
    def rows(self) -> Ids:
        """Rows of its descriptors so far, int64 (n,), in order of time."""
        return np.concatenate([np.arange(a, b, dtype=np.int64) for a, b in self.ranges])

    def item(self) -> Item:
        """Return it as an item with the descriptors so far, in no table yet."""
        first = self.first
        return Item(
            number=self.number,
            id=first.id,
            kind=first.kind,
            sha256=first.sha256,
            pixels_digest=first.pixels_digest,
            source=source_of(first),
            seconds=first.seconds,
            ranges=tuple(self.ranges),
            sound=first.extras.sound,
            doubt=doubt_of(first.extras),
        )


class PendingItems:
    """All of them, by id."""

    def __init__(self, pending: Mapping[str, Pending] | None = None) -> None:
        self.restore(pending or {})

    def restore(self, pending: Mapping[str, Pending]) -> None:
        """Take over what was written down."""
        self.by_id = dict(pending)

    def get(self, item_id: str, now_ms: int) -> Pending | None:
        """Return the item of this id, None if it was given up by this time of the log."""
        pending = self.by_id.get(item_id)
        return None if pending is None or _is_given_up(pending, now_ms) else pending

    def continues(self, record: Described, now_ms: int) -> bool:
        """Whether a part is the next one of its item; part 0 starts afresh. Nothing goes back to an older version."""
        pending = self.get(record.id, now_ms)
        if pending is None:
            return record.part == 0
        if is_older(record, source_of(pending.first)):
            return False
        return record.part == 0 or (record.part == pending.parts and record.sha256 == pending.first.sha256)

    def frames_before(self, record: Described) -> int:
        """Return how many frames of its item came in parts before this one."""
        pending = self.by_id.get(record.id) if record.part > 0 else None
        return 0 if pending is None else pending.frames

    def take(self, record: Described, now_ms: int, items: Items) -> Pending:
        """Return the item that a part belongs to, the part counted in; after its last part it is here no more.

        Args:
            items: of the stream, which gives the first part a number.
        """
        if record.part == 0:
            self._begin(record, items.next_number(), now_ms)
        pending = self.by_id[record.id]
        pending.newest_ms = now_ms
        pending.parts = record.part + 1
        if record.last:
            del self.by_id[record.id]
        return pending

    def _begin(self, record: Described, number: int, now_ms: int) -> None:
        if not record.last:  # it may have to wait: without its arrays, and not together with what never ends
            record = msgspec.structs.replace(record, pts=(), vectors=b"", hashes=b"", detail=b"", boxes=b"")
            self.by_id = {item_id: one for item_id, one in self.by_id.items() if not _is_given_up(one, now_ms)}
        self.by_id[record.id] = Pending(record, number)

    def forget(self, item_id: str) -> None:
        """Give up an item."""
        self.by_id.pop(item_id, None)


def source_of(record: Described) -> tuple[int, int]:
    """Return the partition and offset in `media` that a record came from."""
    return record.source_partition, record.source_offset


def is_older(record: Described, source: tuple[int, int]) -> bool:
    """Whether a record came before what stands at this place of `media`; -1 is older than nothing.

    What comes from an archive is older than all else, so that history never replaces what the stream brought.
    """
    if record.source_partition != source[0]:
        return record.source_partition == ARCHIVE
    return record.source_offset < source[1]


def is_no_newer(record: Described, source: tuple[int, int] | None) -> bool:
    """Whether a record stands at this place of `media` or before it, repeated or late."""
    return source is not None and record.source_partition == source[0] >= 0 and record.source_offset <= source[1]


def _is_given_up(pending: Pending, now_ms: int) -> bool:
    return now_ms - pending.newest_ms > 1000 * MAX_PENDING_SECONDS
