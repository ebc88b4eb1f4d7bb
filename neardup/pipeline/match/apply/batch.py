"""Described items that follow each other in the log and are taken in together, with proofs that come between them.

They do not depend on each other's removal: each is new, and no two records are of one item. So the result is that of
applying the records one at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import numpy as np

from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.proofs import ItemProved, ProofExpired
from neardup.pipeline.log.records import Described, Entry
from neardup.pipeline.log.verdicts import PublishedVerdicts
from neardup.pipeline.match.apply.removals import Removals
from neardup.pipeline.match.compare.candidates import CANDIDATES, SEARCHED_AT_ONCE
from neardup.pipeline.match.compare.collection import Collection
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.match.data.pending import PendingItems
from neardup.pipeline.match.data.tables import Tables
from neardup.pipeline.match.decide.evidence import MIN_DETAIL
from neardup.pipeline.match.live.videos import LiveVideos
from neardup.pipeline.types import Neighbours

MAX_BATCH_ROWS = 1024
"""Descriptors after which a batch is closed: a batch compares all of its rows with each other."""


class Batch:
    """Collects entries of the log until they are taken."""

    def __init__(
        self,
        tables: Tables,
        pending: PendingItems,
        lives: LiveVideos,
        removals: Removals,
        published: PublishedVerdicts,
    ) -> None:
        self._tables = tables
        self._pending = pending
        self._lives = lives
        self._removals = removals
        self._published = published
        self._is_found: bool | None = None
        self._entries: list[Entry] = []
        self._identities: set[object] = set()
        self._rows = 0
        self._latest_ms = 0

    def may_join(self, entry: Entry) -> bool:
        """Whether a record can be described together with those that are here."""
        record = entry.record
        if isinstance(record, ItemProved | ProofExpired):
            return True
        if not isinstance(record, Described) or record.bank != SEEN:
            return False
        if _identity(record) in self._identities or record.id in self._removals.taken_down:
            return False
        is_found = self._found(entry.offset, record)
        if None not in (is_found, self._is_found) and is_found != self._is_found:
            return False  # a batch is searched for, all of it, or none
        if not record.live:
            # The log's time may run backwards, and by one that is here the item may be given up before its turn comes.
            moments = {entry.timestamp_ms, max(entry.timestamp_ms, self._latest_ms)}
            return record.id not in self._tables.items and all(self._pending.continues(record, at) for at in moments)
        live = self._lives.get(record.id)
        return live is not None and not record.last and self._lives.expects(live, record.pts[0], len(self._identities))

    def has_room(self, entry: Entry) -> bool:
        """Whether the rows are not too many with those of a record that may join."""
        record = entry.record
        return not isinstance(record, Described) or self._rows + self._rows_with(record) <= MAX_BATCH_ROWS

    def add(self, entry: Entry) -> None:
        """Have a record join."""
        self._entries.append(entry)
        self._latest_ms = max(self._latest_ms, entry.timestamp_ms)
        record = entry.record
        if not isinstance(record, Described):
            return
        self._is_found = self._found(entry.offset, record) if self._is_found is None else self._is_found
        self._lives.note_time(record.id, entry.timestamp_ms)
        self._identities.add(_identity(record))
        self._rows += self._rows_with(record)

    def take(self) -> list[Entry]:
        """Return the entries in order; none is here any more."""
        taken, self._entries, self._identities = self._entries, [], set()
        self._rows = self._latest_ms = 0
        self._is_found = None
        return taken

    def _found(self, offset: int, record: Described) -> bool | None:
        """Return whether what a record finds was published; None of a part that is not the last."""
        return self._published.says_what_was_found(offset) if record.last or record.live else None

    def _rows_with(self, record: Described) -> int:
        """Return how many rows a batch compares because of this part: with the last one, those of all parts."""
        return len(record.pts) + (self._pending.frames_before(record) if record.last else 0)


def _identity(record: Described) -> object:
    """Return what two records of one batch must not have in common."""
    return (record.id, record.pts) if record.live else record.id


class Prefetch:
    """Searches at once for references that follow each other in the log.

    A search among what was seen costs about as much for one descriptor as for many, and nothing is taken in between
    references: so the answers are those that each would have had by itself. They hold only for the run they belong to.
    """

    def __init__(self, seen: Collection, published: PublishedVerdicts) -> None:
        self._seen = seen
        self._published = published
        self._until = 0
        self._found: dict[tuple[str, str, bytes], Neighbours] = {}

    def forget(self) -> None:
        """Drop all answers: what was seen may have changed."""
        self._until = 0
        self._found.clear()

    def look(self, entries: Sequence[Entry], place: int) -> None:
        """Search for the references from this place of a batch on, unless that was done, or need not be."""
        if place < self._until or entries[place].offset in self._published:
            return
        self.forget()
        run = []
        rows = 0
        for entry in takewhile(_is_reference, entries[place : place + SEARCHED_AT_ONCE]):
            rows += len(entry.record.pts) if isinstance(entry.record, Described) else 0
            if rows > SEARCHED_AT_ONCE:
                break
            run.append(entry.record)
        self._until = place + len(run)
        whole = [one for one in run if isinstance(one, Described) and one.part == 0 and one.last]
        if len(whole) > 1 and len(self._seen.heads.index):
            self._search(whole)

    def take(self, bank: str, item: Item, count: int) -> Neighbours | None:
        """Return the CANDIDATES nearest to a reference's descriptors, `count` of which are searched for, if known."""
        found = self._found.pop((bank, item.id, item.sha256), None)
        return found if found is not None and len(found.ids) == count else None

    def _search(self, references: Sequence[Described]) -> None:
        embedded = [one.embedded() for one in references]
        vectors = [one.vectors[one.detail >= MIN_DETAIL] for one in embedded]
        together = np.concatenate(vectors)
        if not len(together):
            return
        index = self._seen.heads.index
        found = index.search(together, min(CANDIDATES, len(index)))
        borders = np.cumsum([0, *map(len, vectors)]).tolist()
        for one, start, stop in zip(references, borders, borders[1:], strict=False):
            self._found[one.bank, one.id, one.sha256] = Neighbours(found.ids[start:stop], found.distances[start:stop])


def _is_reference(entry: Entry) -> bool:
    record = entry.record
    return isinstance(record, Described) and record.bank != SEEN
