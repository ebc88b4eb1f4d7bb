"""Described items that follow each other in the log and are taken in together.

They do not depend on each other's removal: each is new, and no two records are of one item. So the result is that of
applying the records one at a time.
"""

from __future__ import annotations

from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.records import Described
from neardup.pipeline.match.apply.removals import Removals
from neardup.pipeline.match.data.entry import Entry
from neardup.pipeline.match.data.pending import PendingItems
from neardup.pipeline.match.data.tables import Tables
from neardup.pipeline.match.live.videos import LiveVideos

MAX_BATCH_ROWS = 1024
"""Descriptors after which a batch is closed: a batch compares all of its rows with each other."""


class Batch:
    """Collects entries of the log until they are taken."""

    def __init__(self, tables: Tables, pending: PendingItems, lives: LiveVideos, removals: Removals) -> None:
        self._tables = tables
        self._pending = pending
        self._lives = lives
        self._removals = removals
        self._entries: list[Entry] = []
        self._identities: set[object] = set()
        self._rows = 0
        self._latest_ms = 0

    def may_join(self, entry: Entry) -> bool:
        """Whether a record can be described together with those that are here."""
        record = entry.record
        if not isinstance(record, Described) or record.bank != SEEN:
            return False
        if _identity(record) in self._identities or record.id in self._removals.taken_down:
            return False
        if not record.live:
            # The log's time may run backwards, and by one that is here the item may be given up before its turn comes.
            moments = {entry.timestamp_ms, max(entry.timestamp_ms, self._latest_ms)}
            return record.id not in self._tables.items and all(self._pending.continues(record, at) for at in moments)
        live = self._lives.get(record.id)
        return live is not None and not record.last and self._lives.expects(live, record.pts[0], len(self._identities))

    def has_room(self, entry: Entry) -> bool:
        """Whether the rows are not too many with those of a record that may join."""
        return self._rows + self._rows_with(_described(entry)) <= MAX_BATCH_ROWS

    def add(self, entry: Entry) -> None:
        """Have a record join."""
        record = _described(entry)
        self._lives.note_time(record.id, entry.timestamp_ms)
        self._entries.append(entry)
        self._identities.add(_identity(record))
        self._rows += self._rows_with(record)
        self._latest_ms = max(self._latest_ms, entry.timestamp_ms)

    def take(self) -> list[Entry]:
        """Return the entries in order; none is here any more."""
        taken, self._entries, self._identities = self._entries, [], set()
        self._rows = self._latest_ms = 0
        return taken

    def _rows_with(self, record: Described) -> int:
        """Return how many rows a batch compares because of this part: with the last one, those of all parts."""
        return len(record.pts) + (self._pending.frames_before(record) if record.last else 0)


def _described(entry: Entry) -> Described:
    assert isinstance(entry.record, Described)
    return entry.record


def _identity(record: Described) -> object:
    """Return what two records of one batch must not have in common."""
    return (record.id, record.pts) if record.live else record.id
