"""Described items, one at a time: uploads of the stream and references of curated banks.

What is late, repeated or without what should have come before is passed over; a new version takes the place of the
one before it; all else is taken in.
"""

from __future__ import annotations

from neardup.pipeline.log.changes import BankChanged, fault_of
from neardup.pipeline.log.reasons import IgnoredReason
from neardup.pipeline.log.records import Changed, Described, Entry, Event, Redelivered, Replaced, ignored
from neardup.pipeline.match.apply.editor import Editor
from neardup.pipeline.match.apply.intake import Intake, RowWriter
from neardup.pipeline.match.apply.removals import Removals
from neardup.pipeline.match.compare.banks import Bank, Banks
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.match.data.pending import PendingItems, is_no_newer, is_older, source_of
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
        known, pending = self._tables.items.named(record.id), self._pending.get(record.id, entry.timestamp_ms)
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
            return self._live_verdicts.end(live, entry) if live.running else ()
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


CREATED_BY_REFERENCE = "a reference came for a bank that was not known"


class References:
    """Applies parts of references of curated banks, which are described as uploads are and name their bank."""

    def __init__(self, tables: Tables, banks: Banks, row_writer: RowWriter, editor: Editor) -> None:
        self._tables = tables
        self._banks = banks
        self._row_writer = row_writer
        self._editor = editor

    def apply(self, entry: Entry, record: Described) -> tuple[Event, ...]:
        """Apply a part of a reference; one of a bank that is not known creates it."""
        bank = self._banks.named(record.bank)
        if record.live:
            return (ignored(record.id, IgnoredReason.LIVE_REFERENCE),)
        if bank is None and record.bank in self._banks.deleted:
            return (ignored(record.id, IgnoredReason.BANK_DELETED, f"bank {record.bank} was deleted"),)
        if fault := fault_of(BankChanged(bank=record.bank)):
            return (ignored(record.id, IgnoredReason.BANK_NAME, fault),)
        created: tuple[Event, ...] = ()
        if bank is None and record.part > 0:
            return (ignored(record.id, IgnoredReason.PART_MISSING),)
        if bank is None:
            bank = self._banks.create(record.bank)
            created = (Changed(record=BankChanged(bank=record.bank, why=CREATED_BY_REFERENCE)),)
        known, pending = bank.collection.tables.items.named(record.id), bank.pending.get(record.id, entry.timestamp_ms)
        if is_no_newer(record, bank.removed.get(record.id)):
            return (ignored(record.id, IgnoredReason.REFERENCE_REMOVED, f"was removed from bank {record.bank}"),)
        latest = known.source if known is not None else source_of(pending.first) if pending is not None else None
        if latest is not None and is_older(record, latest):
            return (ignored(record.id, IgnoredReason.OLDER_VERSION),)
        if known is not None and record.sha256 == known.sha256:
            known.source = source_of(record)
            return (Redelivered(id=record.id),) if record.last else ()
        if not bank.pending.continues(record, entry.timestamp_ms):
            return (ignored(record.id, IgnoredReason.PART_MISSING),)
        return (*created, *self._take(entry, record, bank, known))

    def _take(self, entry: Entry, record: Described, bank: Bank, known: Item | None) -> tuple[Event, ...]:
        """Take in a part; with the last one the reference takes the place of its version before, if one is known."""
        holder = bank.pending.take(record, entry.timestamp_ms, self._tables.items)
        self._row_writer.append([record], [holder], [entry.offset])
        if not record.last:
            return ()
        if known is not None:
            bank.remove(known)
            bank.references[record.id].searched = False
        item = holder.item()
        item.offset = entry.offset
        return self._editor.take_in(bank, item, entry.offset, entry.timestamp_ms, holder.first.thumbnail)
