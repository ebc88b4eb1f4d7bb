"""Items that leave: taken down for good, or replaced by a new version of themselves."""

from __future__ import annotations

from collections.abc import Iterator

from neardup.pipeline.log.records import Changed, Event, ReHeaded, Removed, RemovedEvent
from neardup.pipeline.match.compare.stars import Stars
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.match.data.pending import PendingItems
from neardup.pipeline.match.data.similars import Similars
from neardup.pipeline.match.data.tables import Tables
from neardup.pipeline.match.data.undecided import UndecidedItems
from neardup.pipeline.match.live.videos import LiveVideos


class Removals:
    """Takes items out.

    Attributes:
        taken_down: ids of what does not come back with a later record.
    """

    def __init__(
        self,
        tables: Tables,
        stars: Stars,
        lives: LiveVideos,
        pending: PendingItems,
        undecided: UndecidedItems,
        similars: Similars | None,
    ) -> None:
        self.taken_down: set[str] = set()
        self._tables = tables
        self._stars = stars
        self._lives = lives
        self._pending = pending
        self._undecided = undecided
        self._similars = similars

    def take_down(self, record: Removed) -> Iterator[Event]:
        """Have an item leave for good, and tell of it whether it was held or not: there may be files of it."""
        if record.by or record.why:
            yield Changed(record=record)
        self.taken_down.add(record.id)
        self._pending.forget(record.id)
        known = self._tables.items.named(record.id)
        if known is not None:
            yield from self.forget(known)
        yield RemovedEvent(id=record.id)

    def forget(self, item: Item) -> list[ReHeaded]:
        """Have an item leave, and return where its members went."""
        if (waiting := self._undecided.get(item.offset, item.number)) is not None:
            self._undecided.forget(waiting)
        if item.number in self._tables.live:
            self._undecided.forget_live(item.number)
        self._tables.unshare(item)
        events = self._stars.remove(item)
        self._lives.forget(item)
        if self._similars is not None:
            self._similars.forget(item)
        return events
