"""References that follow each other in the log are searched for at once.

A search among what was seen costs about as much for one descriptor as for many, and nothing is taken in between
references: so the answers are those that each would have had by itself. They hold only for the run they belong to.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import numpy as np

from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.records import Described
from neardup.pipeline.match.compare.candidates import CANDIDATES, SEARCHED_AT_ONCE
from neardup.pipeline.match.compare.collection import Collection
from neardup.pipeline.match.data.entry import Entry
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.match.decide.pictures import MIN_DETAIL
from neardup.pipeline.types import Neighbours


class Prefetch:
    """Looks ahead in the log."""

    def __init__(self, seen: Collection) -> None:
        self._seen = seen
        self._until = 0
        self._found: dict[tuple[str, str, bytes], Neighbours] = {}

    def forget(self) -> None:
        """Drop all answers: what was seen may have changed."""
        self._until = 0
        self._found.clear()

    def look(self, entries: Sequence[Entry], place: int) -> None:
        """Search for the references from this place of a batch on, unless that was done."""
        if place < self._until:
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
