"""Take in described items of the stream, a batch at a time.

All of a batch is searched for at once and then settled in order. An item is compared only with its last part, all of
it, since what came between its parts is earlier too; a live video is compared frame by frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from neardup.pipeline.log.records import Described, Envelope, Event, Rolling
from neardup.pipeline.match.apply.rows import RowWriter
from neardup.pipeline.match.apply.verdict import ItemVerdicts
from neardup.pipeline.match.compare.banks import Bank, Banks
from neardup.pipeline.match.compare.candidates import join_pairs
from neardup.pipeline.match.compare.collection import Collection
from neardup.pipeline.match.data.entry import Entry
from neardup.pipeline.match.data.pending import Pending, PendingItems, source_of
from neardup.pipeline.match.decide.decide import Pairs
from neardup.pipeline.match.live.verdicts import LiveVerdicts
from neardup.pipeline.match.live.videos import Live, LiveVideos
from neardup.pipeline.types import Ids, Kind

Banked = Sequence[tuple[Bank, Pairs]]


class Intake:
    """Takes in items and frames that are known to be new."""

    def __init__(
        self,
        seen: Collection,
        banks: Banks,
        pending: PendingItems,
        lives: LiveVideos,
        row_writer: RowWriter,
        item_verdicts: ItemVerdicts,
        live_verdicts: LiveVerdicts,
    ) -> None:
        self._seen = seen
        self._banks = banks
        self._pending = pending
        self._lives = lives
        self._row_writer = row_writer
        self._item_verdicts = item_verdicts
        self._live_verdicts = live_verdicts

    def take_in(self, entries: Sequence[Entry]) -> list[Envelope]:
        """Take in described items that do not depend on each other's removal, see `batch`."""
        records = [entry.record for entry in entries if isinstance(entry.record, Described)]
        if not records:
            return []
        holders = [self._holder(entry, record) for entry, record in zip(entries, records, strict=True)]
        rows = self._row_writer.append(records, holders)
        compared = [
            (holder.rows if isinstance(holder, Pending) else own, record.kind)
            for record, holder, own in zip(records, holders, rows, strict=True)
            if _is_compared(record)
        ]
        found = self._search([rows for rows, _ in compared], [kind for _, kind in compared])
        envelopes = []
        for entry, record, holder, own in zip(entries, records, holders, rows, strict=True):
            events: tuple[Event, ...] = ()
            if _is_compared(record):
                pairs, banked = next(found)
                banked = [(bank, theirs) for bank, theirs in banked if bank.asks_about(record.id)]
                if isinstance(holder, Live):
                    events = self._take_frame(entry, record, holder, own, pairs, banked)
                else:
                    events = (self._item_verdicts.decide(entry, record, holder, pairs, banked),)
            envelopes.append(Envelope(offset=entry.offset, events=events))
        self._item_verdicts.flush()
        return envelopes

    def _holder(self, entry: Entry, record: Described) -> Live | Pending:
        """Return what a record is a frame or a part of, the part counted in."""
        live = self._lives.get(record.id)
        return live or self._pending.take(record, entry.timestamp_ms, self._seen.tables.items)

    def _search(self, rows: Sequence[Ids], kinds: Sequence[Kind]) -> Iterator[tuple[Pairs, Banked]]:
        """Yield for each item its pairs with what was seen and, by bank, with references; all are searched for now."""
        of_seen = self._seen.candidates.of_batch(rows, kinds)
        banks = [bank for bank in self._banks if len(bank.collection.tables.items)]
        of_banks = [bank.collection.candidates.of_batch(rows, kinds, among_themselves=False) for bank in banks]
        return ((pairs, [*zip(banks, theirs, strict=True)]) for pairs, *theirs in zip(of_seen, *of_banks, strict=True))

    def _take_frame(
        self, entry: Entry, record: Described, live: Live, row: Ids, pairs: Pairs, banked: Banked
    ) -> tuple[Rolling, ...]:
        """Take in a frame of a live video."""
        pairs = self._seen.comparer.with_heads(pairs)
        self._seen.tables.rows.shared[row] = self._seen.comparer.sharers(pairs, 1)
        pairs = join_pairs([*(bank.usable_pairs(theirs, entry.timestamp_ms) for bank, theirs in banked), pairs])
        return self._live_verdicts.take(live, entry.offset, record.pts[0], int(row[0]), source_of(record), pairs)


def _is_compared(record: Described) -> bool:
    return record.last or record.live
