"""Described items of the stream, one at a time.

What is late, told again or without what should have come before is passed over; a new version takes the place of the
one before it; all else is taken in.
"""

from __future__ import annotations

from neardup.pipeline.log.reasons import IgnoredReason
from neardup.pipeline.log.records import Described, Event, Redelivered, Replaced, ignored
from neardup.pipeline.match.apply.intake import Intake
from neardup.pipeline.match.apply.removals import Removals
from neardup.pipeline.match.data.entry import Entry
from neardup.pipeline.match.data.pending import PendingItems, is_older, source_of
from neardup.pipeline.match.data.tables import Tables
from neardup.pipeline.match.live.verdicts import LiveVerdicts
from neardup.pipeline.match.live.videos import Live, LiveVideos


class Uploads:
    """Applies what may depend on any record before it."""

    def __init__(
        self,
        tables: Tables,
        pending: PendingItems,
        lives: LiveVideos,
        removals: Removals,
        intake: Intake,
        live_verdicts: LiveVerdicts,
    ) -> None:
        self._tables = tables
        self._pending = pending
        self._lives = lives
        self._removals = removals
        self._intake = intake
        self._live_verdicts = live_verdicts

    def apply(self, entry: Entry, record: Described) -> tuple[Event, ...]:
        """Apply a part of an item or a frame of a live video and return all that happened."""
        if record.live and (live := self._lives.get(record.id)) is not None:
            return self._apply_live(entry, record, live)
        known, pending = self._tables.items.named(record.id), self._pending.get(record.id)
        if record.id in self._removals.taken_down:
            return (ignored(record.id, IgnoredReason.TAKEN_DOWN),)
        latest = known.source if known is not None else source_of(pending.first) if pending is not None else None
        if latest is not None and is_older(record, latest):
            return (ignored(record.id, IgnoredReason.OLDER_VERSION),)
        if record.live and record.last:
            return (ignored(record.id, IgnoredReason.UNKNOWN_LIVE),)
        is_live = record.live or record.id in self._lives
        if known is not None and record.sha256 == known.sha256 and not is_live:
            known.source = source_of(record)
            return (Redelivered(id=record.id),) if record.last else ()
        if not record.live and not self._pending.continues(record, entry.timestamp_ms):
            return (ignored(record.id, IgnoredReason.PART_MISSING),)
        replaced: tuple[Event, ...] = ()
        if known is not None:
            replaced = (Replaced(id=record.id), *self._removals.forget(known))
        if record.live:
            self._pending.forget(record.id)
            self._lives.begin(record.id, source_of(record))
            self._lives.note_time(record.id, entry.timestamp_ms)
        return (*replaced, *self._intake.take_in([entry])[0].events)

    def _apply_live(self, entry: Entry, record: Described, live: Live) -> tuple[Event, ...]:
        """Apply what is not simply the next frame of a live video."""
        if record.last and not live.ended:
            live.ended = True
            return self._live_verdicts.end(live, entry.offset) if live.running else ()
        if record.last or record.pts[0] in self._lives.frames(live):
            return (Redelivered(id=live.id),)
        if live.ended:
            return (ignored(live.id, IgnoredReason.LIVE_ENDED),)
        if record.pts[0] < live.oldest:
            return (ignored(live.id, IgnoredReason.FRAME_TOO_OLD),)
        self._lives.resume(live)
        self._lives.make_room(live)
        self._lives.note_time(live.id, entry.timestamp_ms)
        return self._intake.take_in([entry])[0].events
