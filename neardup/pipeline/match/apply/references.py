"""References of curated banks, which are described as uploads are and name their bank."""

from __future__ import annotations

from neardup.pipeline.log.changes import BankChanged, fault_of
from neardup.pipeline.log.reasons import IgnoredReason
from neardup.pipeline.log.records import Changed, Described, Event, Redelivered, ignored
from neardup.pipeline.match.apply.editor import Editor
from neardup.pipeline.match.apply.rows import RowWriter
from neardup.pipeline.match.compare.banks import Bank, Banks
from neardup.pipeline.match.data.entry import Entry
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.match.data.pending import is_no_newer, is_older, source_of
from neardup.pipeline.match.data.tables import Tables

CREATED_BY_REFERENCE = "a reference came for a bank that was not known"


class References:
    """Applies parts of references."""

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
        known, pending = bank.collection.tables.items.named(record.id), bank.pending.get(record.id)
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
        self._row_writer.append([record], [holder])
        if not record.last:
            return ()
        if known is not None:
            bank.remove(known)
            bank.references[record.id].searched = False
        return self._editor.take_in(bank, holder.item(), entry.timestamp_ms, holder.first.thumbnail)
