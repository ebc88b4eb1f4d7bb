"""Take in described items of the stream, a batch at a time: store rows, search, decide.

All of a batch is searched for at once and then settled in order. An item is compared only with its last part, all of
it, since what came between its parts is earlier too; a live video is compared frame by frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.proofs import ItemProved, ProofExpired, ProofPending
from neardup.pipeline.log.records import Described, Entry, Envelope, Event, Matched, Rolling, Verdict, boxes_of
from neardup.pipeline.log.verdicts import PublishedVerdicts, combine, star_head
from neardup.pipeline.match.apply.findings import Findings
from neardup.pipeline.match.apply.proofs import Proofs
from neardup.pipeline.match.compare.banks import Bank, Banks
from neardup.pipeline.match.compare.candidates import Found, join_pairs
from neardup.pipeline.match.compare.collection import Collection
from neardup.pipeline.match.compare.compare import MAX_MATCHES, Proposal
from neardup.pipeline.match.compare.reviews import Reviews
from neardup.pipeline.match.compare.stars import Stars
from neardup.pipeline.match.data.items import NO_ROW, Item, link
from neardup.pipeline.match.data.pending import Pending, PendingItems, source_of
from neardup.pipeline.match.data.similars import Similars
from neardup.pipeline.match.data.tables import Tables
from neardup.pipeline.match.decide.evidence import Evidence, pictures_of
from neardup.pipeline.match.live.verdicts import LiveVerdicts
from neardup.pipeline.match.live.videos import Live, LiveVideos
from neardup.pipeline.types import Decision, Ids, Kind

Banked = Sequence[tuple[Bank, Found]]


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
        proofs: Proofs,
        findings: Findings,
    ) -> None:
        self._seen = seen
        self._banks = banks
        self._pending = pending
        self._lives = lives
        self._row_writer = row_writer
        self._item_verdicts = item_verdicts
        self._live_verdicts = live_verdicts
        self._proofs = proofs
        self._findings = findings

    def take_in(self, entries: Sequence[Entry]) -> list[Envelope]:
        """Take in described items that do not depend on each other's removal, see `batch`, and proofs between them."""
        described = [(entry, entry.record) for entry in entries if isinstance(entry.record, Described)]
        holders = [self._holder(entry, record) for entry, record in described]
        records = [record for _, record in described]
        offsets = [entry.offset for entry, _ in described]
        rows = self._row_writer.append(records, holders, offsets) if records else []
        compared = [
            (holder.rows if isinstance(holder, Pending) else own, record.kind, offset)
            for record, holder, own, offset in zip(records, holders, rows, offsets, strict=True)
            if _is_compared(record)
        ]
        settling = len(described) < len(entries)
        items = [
            holder.item()
            for record, holder in zip(records, holders, strict=True)
            if self._seen.comparer.looks_ahead and _is_compared(record) and isinstance(holder, Pending)
        ]
        live = any(isinstance(holder, Live) for holder in holders)
        found = self._find(compared, items, settling, live)
        if settling:
            self._proofs.look_ahead(entries)
        envelopes, held = [], zip(holders, rows, strict=True)
        for entry in entries:
            record, events = entry.record, tuple[Event, ...]()
            if isinstance(record, ItemProved | ProofExpired):
                envelopes.append(Envelope(offset=entry.offset, events=self._proofs.apply(entry, record)))
                continue
            assert isinstance(record, Described)
            holder, own = next(held)
            if _is_compared(record):
                of_seen, banked = next(found)
                banked = [(bank, theirs) for bank, theirs in banked if bank.asks_about(record.id)]
                if isinstance(holder, Live):
                    events = self._take_frame(entry, record, holder, own, of_seen, banked)
                else:
                    events = (self._item_verdicts.decide(entry, record, holder, of_seen, banked),)
            envelopes.append(Envelope(offset=entry.offset, events=events))
        self._item_verdicts.flush()
        if settling:
            self._proofs.look_ahead(())
        return envelopes

    def _holder(self, entry: Entry, record: Described) -> Live | Pending:
        """Return what a record is a frame or a part of, the part counted in."""
        live = self._lives.get(record.id)
        return live or self._pending.take(record, entry.timestamp_ms, self._seen.tables.items)

    def _find(
        self, compared: Sequence[tuple[Ids, Kind, int]], items: Sequence[Item], settling: bool, live: bool
    ) -> Iterator[tuple[Found, Banked]]:
        """Yield for each item or frame what is found among what was seen and, by bank, among references.

        Args:
            compared: rows, kind and offset of each. items: all of them, if what is found is to be foreseen.
            live: whether frames of live videos are among them.
        """
        rows, kinds, offsets = (list(column) for column in zip(*compared, strict=True)) if compared else ([], [], [])
        given = self._findings.given(offsets, rows)
        if given is None:
            return self._search(rows, kinds, items, settling)
        of_seen = self._seen.candidates.as_given(rows, kinds, given)
        banks = [bank for bank in self._banks if len(bank.collection.tables.items)] if live else []
        of_banks = [bank.collection.candidates.among(rows, kinds) for bank in banks]
        return ((found, [*zip(banks, theirs, strict=True)]) for found, *theirs in zip(of_seen, *of_banks, strict=True))

    def _search(
        self, rows: Sequence[Ids], kinds: Sequence[Kind], items: Sequence[Item], settling: bool
    ) -> Iterator[tuple[Found, Banked]]:
        borders = np.cumsum([0, *map(len, rows)]).tolist()
        foresee = partial(self._seen.comparer.foresee, items, borders) if items and len(items) == len(rows) else None
        of_seen = self._seen.candidates.of_batch(rows, kinds, foresee, settling)
        banks = [bank for bank in self._banks if len(bank.collection.tables.items)]
        of_banks = [bank.collection.candidates.among(rows, kinds) for bank in banks]
        return ((found, [*zip(banks, theirs, strict=True)]) for found, *theirs in zip(of_seen, *of_banks, strict=True))

    def _take_frame(
        self, entry: Entry, record: Described, live: Live, row: Ids, found: Found, banked: Banked
    ) -> tuple[Rolling, ...]:
        """Take in a frame of a live video."""
        pairs = self._seen.comparer.with_heads(found.pairs)
        self._findings.note(entry.offset, record.kind, Found(pairs, found.cohort, found.neighbours))
        self._seen.tables.rows.shared[row] = self._seen.comparer.sharers(pairs, 1)
        pairs = join_pairs([*(bank.usable_pairs(theirs.pairs, entry.timestamp_ms) for bank, theirs in banked), pairs])
        return self._live_verdicts.take(live, entry, record.pts[0], int(row[0]), source_of(record), pairs)


def _is_compared(record: Described) -> bool:
    return record.last or record.live


class ItemVerdicts:
    """Decides what an item of the stream matches and which star it joins, and takes the item in.

    Args:
        asks: whether an item with candidates waits until they are proved.
    """

    def __init__(
        self,
        seen: Collection,
        reviews: Reviews,
        stars: Stars,
        published: PublishedVerdicts,
        similars: Similars | None,
        proofs: Proofs,
        findings: Findings,
        asks: bool,
    ) -> None:
        self._seen = seen
        self._reviews = reviews
        self._stars = stars
        self._published = published
        self._proofs = proofs
        self._findings = findings
        self._asks = asks
        self._similars = similars

    def decide(
        self, entry: Entry, record: Described, pending: Pending, of_seen: Found, banked: Banked
    ) -> Verdict | ProofPending:
        """Decide on an item whose descriptors are all known, or ask for proofs, unless that was done, and take it in.

        `flush` follows.

        Args:
            record: its last part, of this entry.
            of_seen, banked: what is found among what was seen, and among the references of each bank that is asked.
        """
        item = pending.item()
        item.offset = entry.offset
        relevant = self._relevant(item, pending, of_seen)
        published = self._published.verdict(entry.offset) or self._published.pending(entry.offset)
        event: Verdict | ProofPending
        if published is not None:
            event = self._as_published(entry, item, relevant, published)
        elif self._resembles_nothing(item, relevant, banked):
            self._findings.note(entry.offset, item.kind, relevant)
            event = Verdict(id=item.id, decision=Decision.DISTINCT, quiet=record.quiet)
        elif self._asks:
            proposals = self._proposals(entry, item, relevant, banked)
            self._findings.note(entry.offset, item.kind, relevant, (one for _, some in proposals for one in some.alike))
            waiting = self._proofs.ask(entry, item, proposals)
            event = (
                self._proofs.pending(item, waiting, record.produced_ms)
                if waiting.open
                else self._proofs.verdict(item, waiting, entry.timestamp_ms)
            )
        else:
            self._findings.note(entry.offset, item.kind, relevant)
            matches = self._matches(entry, item, pending, relevant, banked)
            head = self._stars.head_for(item, matches) if matches else None
            event = combine(item.id, matches, head, quiet=record.quiet)
        self._stars.add(item, "" if isinstance(event, ProofPending) else star_head(event) or "")
        if self._similars is not None:
            self._similars.take(item, record)
        if isinstance(event, Verdict):
            self._proofs.take_note(item, event)
        return event

    def _as_published(
        self, entry: Entry, item: Item, relevant: Found, published: Verdict | ProofPending
    ) -> Verdict | ProofPending:
        """Return what was said of an item earlier, having done all else that comes of a decision."""
        if item.kind is Kind.VIDEO:
            self._seen.comparer.note_shared(item, self._seen.tables.side(item), relevant)
        kin = self._findings.kin(entry.offset)
        for reference in kin or ():
            link(item, reference)
        if isinstance(published, ProofPending):
            self._proofs.ask_again(entry, item, published, link_all=kin is None)
        return published

    def flush(self) -> None:
        """Let later searches find all that was taken in."""
        self._seen.heads.flush()
        if self._similars is not None:
            self._similars.flush()

    def _relevant(self, item: Item, pending: Pending, of_seen: Found) -> Found:
        """Return what matters of what was found, and count the frames of a video that it shares with others."""
        tables, comparer = self._seen.tables, self._seen.comparer
        pairs = comparer.likely(item.kind, of_seen)
        if item.kind is Kind.VIDEO:
            pairs = comparer.with_heads(pairs)
            tables.rows.shared[item.rows] = comparer.sharers(pairs, pending.frames)
        return Found(pairs, of_seen.cohort, of_seen.neighbours)

    def _resembles_nothing(self, item: Item, of_seen: Found, banked: Banked) -> bool:
        """Return whether an image has neither a candidate nor a twin, as most: there is nothing to decide."""
        founds = [(self._seen, of_seen), *((bank.collection, theirs) for bank, theirs in banked)]
        return item.kind is Kind.IMAGE and not any(
            len(found.pairs.query) or collection.tables.items.holds(item.sha256, item.pixels_digest)
            for collection, found in founds
        )

    def _matches(self, entry: Entry, item: Item, pending: Pending, of_seen: Found, banked: Banked) -> list[Matched]:
        """Return the matches of an item that its verdict lists."""
        tables, comparer = self._seen.tables, self._seen.comparer
        side = tables.side(item)
        found = self._reviews.respect(item, comparer.matches(pending.first, side, of_seen, item), tables.items)
        matches = [match for match in found[:MAX_MATCHES] if match.listed]
        for bank, theirs in banked:
            found = bank.matches(item, side, theirs, entry.timestamp_ms)
            matches += self._reviews.respect(item, found, bank.collection.tables.items)
        return matches

    def _proposals(self, entry: Entry, item: Item, of_seen: Found, banked: Banked) -> list[tuple[str, Proposal]]:
        """Return by bank what an item is to be compared with; of equals the curated ones are asked about first."""
        side = self._seen.tables.side(item)
        found = [(bank.settings.name, bank.propose(item, side, theirs, entry.timestamp_ms)) for bank, theirs in banked]
        return [*found, (SEEN, self._seen.comparer.propose(item, side, of_seen))]


class RowWriter:
    """Writes descriptors into the tables: those of records, and again those of an item that becomes a reference."""

    def __init__(self, tables: Tables, lives: LiveVideos, evidence: Evidence) -> None:
        self._tables = tables
        self._lives = lives
        self._evidence = evidence

    def append(
        self, records: Sequence[Described], holders: Sequence[Pending | Live], offsets: Sequence[int]
    ) -> list[Ids]:
        """Keep the descriptors of records, and return the rows of each.

        Args:
            holders: what each record is a part or a frame of. offsets: of the records, in the log.
        """
        pictures, speaks = pictures_of(records, self._evidence)
        counts = [len(record.pts) for record in records]
        before = [holder.frames if isinstance(holder, Pending) else 0 for holder in holders]
        rows = self._tables.rows.append(
            sum(counts),
            offset=np.repeat(np.array(offsets, dtype=np.int64), counts),
            item=np.repeat([holder.number for holder in holders], counts),
            frame=[place for b, n in zip(before, counts, strict=True) for place in range(b, b + n)],
            pts=[seconds for record in records for seconds in record.pts],
            hash=pictures.hashes,
            box=boxes_of(records),
            speaks=speaks,
            searched=speaks,
            cohort=pictures.cohort.items,
            cohort_similarity=pictures.cohort.similarity,
        )
        self._tables.vectors.append(rows, pictures.vectors)
        stop = int(rows[0]) if len(rows) else 0
        for holder, count in zip(holders, counts, strict=True):
            first, stop = stop, stop + count
            if isinstance(holder, Live):
                self._lives.pass_over_still(holder, first)
            else:
                holder.frames += count
                holder.ranges.append((first, stop))
        return np.split(rows, np.cumsum(counts)[:-1])

    def copy(self, item: Item, offset: int) -> Item:
        """Return a new item, in no table yet, with the descriptors of one that is held.

        Args:
            offset: in the log, of the record that asks for it.
        """
        tables = self._tables
        rows = tables.rows_of(item)
        number = tables.items.next_number()
        columns = tables.rows.columns()
        values = {name: column[rows] for name, column in columns.items() if name not in ("offset", "item", "shared")}
        copied = tables.rows.append(len(rows), offset=offset, item=number, **values)
        tables.vectors.append(copied, tables.vectors.read(rows))
        ranges = ((int(copied[0]), int(copied[-1]) + 1),)
        return replace(
            item,
            number=number,
            source=(-1, -1),
            ranges=ranges,
            head=-1,
            members=[],
            shares=(),
            similar=NO_ROW,
            offset=offset,
        )
