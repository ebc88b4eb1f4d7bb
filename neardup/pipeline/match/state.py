"""The state that the log builds, and `apply`: records in, events out.

`apply` is the whole of matching. The stream's match worker, its standby, the lookup's view and `neardup scan` run it
unchanged. It has no clock and no randomness: equal logs give equal events, however they are cut into batches. An item
is compared only with items of smaller offsets, and among those only with heads of stars; ties go to the earlier one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from neardup.pipeline.changes import SEEN, BankChanged, fault_of
from neardup.pipeline.errors import UsageError
from neardup.pipeline.index.interface import Index
from neardup.pipeline.match.ahead import Ahead
from neardup.pipeline.match.banks import Bank, Banks, BankSettings, Kept
from neardup.pipeline.match.calibration import Calibration
from neardup.pipeline.match.candidates import CANDIDATES, join_pairs, split
from neardup.pipeline.match.compare import MAX_MATCHES, matched
from neardup.pipeline.match.decide import Judge, Pairs, Side
from neardup.pipeline.match.editor import Editor
from neardup.pipeline.match.evidence import Evidence, Pictures
from neardup.pipeline.match.items import NO_ROW, Item, Items, Rows
from neardup.pipeline.match.live import Live, LiveRules, LiveVideos
from neardup.pipeline.match.pending import Pending, UnderWay, is_no_newer, is_older, source_of
from neardup.pipeline.match.retro import Retro
from neardup.pipeline.match.reviews import HasContent, Judged, Reviews
from neardup.pipeline.match.segments import Track
from neardup.pipeline.match.shelf import Shelf, make_shelf
from neardup.pipeline.match.similars import Similars
from neardup.pipeline.match.stars import Stars
from neardup.pipeline.match.tables import Tables, Vectors
from neardup.pipeline.match.watch import Watch
from neardup.pipeline.messages import (
    Changed,
    Described,
    Envelope,
    Event,
    Ignored,
    Matched,
    Record,
    Redelivered,
    ReHeaded,
    Removed,
    RemovedEvent,
    Replaced,
    Rolling,
    Verdict,
    unpack_boxes,
)
from neardup.pipeline.types import Boxes, Decision, Embedded, Ids, Kind
from neardup.pipeline.verdicts import combine, star_head

MIN_DETAIL = 8
"""Below this a picture says nothing (`Embedded.detail`): blank pages, black frames."""
CREATED_BY_REFERENCE = "a reference came for a bank that was not known"
MAX_BATCH_ROWS = 1024
"""Descriptors after which a batch is closed: a batch compares all of its rows with each other."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record at its place in the log; the time is the log's, in milliseconds since 1970."""

    offset: int
    record: Record
    timestamp_ms: int = 0


@dataclass(frozen=True, slots=True)
class Parts:
    """What a state consists of; see `State`."""

    items: Items
    rows: Rows
    pending: dict[str, Pending]
    removed: set[str]
    live: list[Live]
    index: Index
    vectors: Vectors
    settings: BankSettings
    banks: list[Kept]
    deleted: set[str]
    judged: list[Judged]


class State:
    """Everything that a verdict depends on.

    Args:
        index: holds the descriptors of heads; empty at the start.
        vectors: holds all descriptors; row numbers are those of `Rows`.
        evidence: turns pairs into evidence.
        calibration: gives thresholds.
        precision: wanted of `duplicate`, 0 to 1.
        stars: whether copies of an item join it as members; without, every item stays a reference of its own.
        live: of live videos.
        similars: where vectors of the similar head are kept; None keeps none.
    """

    def __init__(
        self,
        index: Index,
        vectors: Vectors,
        evidence: Evidence,
        calibration: Calibration,
        precision: float = 0.99,
        stars: bool = True,
        live: LiveRules = LiveRules(),  # noqa: B008 (frozen)
        similars: Similars | None = None,
    ) -> None:
        self.similars = similars
        self._evidence = evidence
        self._judge = Judge(calibration, precision)
        self._tables = Tables(vectors)
        self._seen = make_shelf(SEEN, self._tables, index, evidence, self._judge)
        self._heads, self._candidates, self._comparer = self._seen.heads, self._seen.candidates, self._seen.comparer
        self._banks = Banks(self._seen, self._new_shelf)
        self._reviews = Reviews()
        self._stars = Stars(self._tables, self._heads, self._comparer, self._reviews, stars)
        self._ahead = Ahead(self._seen, MIN_DETAIL)
        self._retro = Retro(self._seen, self._banks, self._reviews, evidence, self._ahead)
        self._editor = Editor(self._seen, self._banks, self._stars, self._reviews, self._retro, self._copy)
        self._pending = UnderWay()
        self._removed: set[str] = set()
        self._live = LiveVideos(self._tables, self._heads, live)
        self._watch = Watch(self._seen, self._banks, self._live, self._reviews, evidence)
        self._published: Mapping[int, Envelope] = {}

    @property
    def items(self) -> Items:
        """The items that are held."""
        return self._tables.items

    @property
    def banks(self) -> Banks:
        """The curated banks."""
        return self._banks

    @property
    def seen(self) -> Shelf:
        """What was seen, with what searches it."""
        return self._seen

    @property
    def stars(self) -> Stars:
        """Who stands under which head."""
        return self._stars

    @property
    def rows(self) -> Rows:
        """The columns of all descriptors."""
        return self._tables.rows

    def apply(self, entries: Sequence[Entry], published: Mapping[int, Envelope] | None = None) -> list[Envelope]:
        """Take in records of the log, in order, and return one envelope for each.

        Described items are embedded, searched and compared as one batch as far as they do not depend on each other's
        removal; the result is that of applying the records one at a time.

        Args:
            published: what was said earlier, by offset; it takes the place of what is found now, for an approximate
                search need not find the same again.
        """
        self._published = published or {}
        self._ahead.forget()
        envelopes: list[Envelope] = []
        run: list[Entry] = []
        done: set[object] = set()
        size = 0
        for place, entry in enumerate(entries):
            record = entry.record
            idle = self._live.idle(entry.timestamp_ms)
            plain = (
                not idle and isinstance(record, Described) and record.bank == SEEN and self._is_new(entry, record, done)
            )
            rows = self._rows_with(record) if isinstance(record, Described) else 0
            if not plain or size + rows > MAX_BATCH_ROWS:
                envelopes += self._describe(run)
                run, done, size = [], set(), 0
            if isinstance(record, Described) and plain:
                run.append(entry)
                done.add(_identity(record))
                size += rows
                self._note_time(entry)
            else:
                ended = [event for live in idle for event in self._watch.end(live, self._told(entry, live))]
                if idle:
                    self._ahead.forget()
                self._ahead.look(entries, place)
                envelope = self._apply_alone(entry)
                envelopes.append(Envelope(offset=entry.offset, events=(*ended, *envelope.events)))
        return envelopes + self._describe(run)

    def lookup(self, queries: Sequence[Described], k: int) -> list[list[Matched]]:
        """Return for each whole item the k references most like it, best first, whatever the decision.

        Nothing is taken in. Parts of one item are joined first, see `messages.join_parts`.
        """
        prepared = self._prepare(queries, k)
        return [self._comparer.matches(query, side, pairs)[:k] for query, side, _, _, pairs in prepared]

    def ask(self, query: Described, now_ms: int, k: int = MAX_MATCHES) -> Verdict:
        """Return what would be said of a whole item at this time of the log, curated banks included.

        Nothing is taken in; the verdict's head is unknown. A query without an id is asked about by its content where a
        bank is asked about a share of the items.
        """
        return self.ask_all([query], now_ms, k)[0]

    def ask_all(self, queries: Sequence[Described], now_ms: int, k: int = MAX_MATCHES) -> list[Verdict]:
        """Return what `ask` would for each of these."""
        verdicts = []
        for query, side, pictures, speaks, pairs in self._prepare(queries, k):
            found = self._comparer.matches(query, side, self._likely(query.kind, pairs))[:k]
            matches = self._respected(query, self._seen, [m for m in found if m.decision is not Decision.DISTINCT])
            for bank in self._banks.asked(query.id or query.sha256.hex()):
                theirs = bank.shelf.candidates.search(pictures, speaks, CANDIDATES, np.full(len(speaks), -np.inf))
                matches += self._respected(query, bank.shelf, bank.matches(query, side, theirs, now_ms))
            verdicts.append(combine(query.id, matches))
        return verdicts

    def _prepare(
        self, queries: Sequence[Described], k: int
    ) -> list[tuple[Described, Side, Pictures, npt.NDArray[np.bool_], Pairs]]:
        """Return each query as a comparison needs it, with its pairs among what was seen."""
        if not queries:
            return []
        embedded = _concatenate([query.embedded() for query in queries])
        pictures = Pictures(embedded.vectors, embedded.hashes, self._evidence.background(embedded.vectors))
        speaks = embedded.detail >= MIN_DETAIL
        pairs = self._candidates.search(pictures, speaks, max(CANDIDATES, 4 * k), np.full(len(speaks), -np.inf))
        prepared = []
        start = 0
        for query, mine in zip(queries, split(pairs, [len(query.pts) for query in queries]), strict=True):
            here = slice(start, start + len(query.pts))
            own = Pictures(embedded.vectors[here], embedded.hashes[here], pictures.background[here])
            track = Track(
                pts=np.asarray(query.pts),
                vectors=own.vectors,
                hashes=own.hashes,
                background=own.background,
                speaks=speaks[here],
                shared=self._sharers(query, mine),
                seconds=query.seconds,
            )
            prepared.append(
                (query, Side(query.kind, partial(_same, track), boxes=boxes_of(query)), own, speaks[here], mine)
            )
            start = here.stop
        return prepared

    def _sharers(self, query: Described, pairs: Pairs) -> Ids:
        """Return with how many items each frame is in common; an image is no intro, whoever has it too."""
        if query.kind is Kind.IMAGE:
            return np.zeros(len(query.pts), dtype=np.int64)
        return self._comparer.sharers(pairs, len(query.pts))

    def compare(self, query_id: str, reference_id: str) -> Matched:
        """Compare two items that are held, with all that is known by now.

        Raises:
            UsageError: one of them is not held.
        """
        query, reference = self.items.named(query_id), self.items.named(reference_id)
        if query is None or reference is None:
            raise UsageError(f"no item {query_id if query is None else reference_id!r}")
        return matched(reference, self._comparer.pair(query, reference))

    def parts(self) -> Parts:
        """Return what the state consists of, to be written down; not a copy."""
        tables = self._tables
        return Parts(
            items=tables.items,
            rows=tables.rows,
            pending=self._pending.by_id,
            removed=self._removed,
            live=list(self._live),
            index=self._heads.index,
            vectors=tables.vectors,
            settings=self._banks.settings,
            banks=[bank.kept() for bank in self._banks],
            deleted=self._banks.deleted,
            judged=list(self._reviews),
        )

    def rows_of(self, item: Item) -> Ids:
        """Return the rows of a held item's descriptors, int64 (n,), in order of time."""
        return self._tables.rows_of(item)

    def restore(self, parts: Parts) -> None:
        """Take over what was written down; the index and the vectors hold what belongs to it already."""
        self._tables.items, self._tables.rows = parts.items, parts.rows
        self._pending, self._removed = UnderWay(parts.pending), parts.removed
        self._live.restore(parts.live)
        self._heads.count_again()
        self._reviews.restore(parts.judged)
        self._banks.restore(parts.settings, parts.banks, parts.deleted)

    def close(self) -> None:
        """Let go of files, memory and processes; the state is of no use afterwards."""
        self._heads.index.close()
        for bank in self._banks:
            bank.shelf.heads.index.close()
        self._tables.vectors.close()
        if self.similars is not None:
            self.similars.close()

    # -- records one at a time -----------------------------------------------------------------------------------

    def _is_new(self, entry: Entry, record: Described, done: set[object]) -> bool:
        """Whether a record can be described in one batch with those that are done."""
        if _identity(record) in done or record.id in self._removed:
            return False
        if not record.live:
            return record.id not in self.items and self._pending.continues(record, entry.timestamp_ms)
        live = self._live.get(record.id)
        return live is not None and not record.last and self._live.expects(live, record.pts[0], len(done))

    def _rows_with(self, record: Described) -> int:
        """Return how many rows a batch compares because of this part: with the last one, those of all parts."""
        return len(record.pts) + (self._pending.frames_before(record) if record.last else 0)

    def _apply_alone(self, entry: Entry) -> Envelope:
        record = entry.record
        if isinstance(record, Removed):
            return Envelope(offset=entry.offset, events=tuple(self._take_down(record)))
        if not isinstance(record, Described):
            return Envelope(offset=entry.offset, events=self._editor.apply(record, entry.timestamp_ms))
        if record.bank != SEEN:
            return self._apply_reference(entry, record)
        if record.live and (live := self._live.get(record.id)) is not None:
            return self._apply_live(entry, record, live)
        known, pending = self.items.named(record.id), self._pending.get(record.id)
        if record.id in self._removed:
            return _ignored(entry, record.id, "was taken down")
        latest = known.source if known is not None else source_of(pending.first) if pending is not None else None
        if latest is not None and is_older(record, latest):
            return _ignored(entry, record.id, "older than the version that is known")
        if record.live and record.last:
            return _ignored(entry, record.id, "the end of a live video that is not known")
        is_live = record.live or record.id in self._live
        if known is not None and record.sha256 == known.sha256 and not is_live:
            known.source = source_of(record)
            return Envelope(offset=entry.offset, events=(Redelivered(id=record.id),) if record.last else ())
        if not record.live and not self._pending.continues(record, entry.timestamp_ms):
            return _ignored(entry, record.id, "a part without the parts before it")
        events_before: tuple[Event, ...] = () if known is None else (Replaced(id=record.id), *self._forget(known))
        if record.live:
            self._pending.forget(record.id)
            self._live.begin(record.id, source_of(record))
            self._note_time(entry)
        envelope = self._describe([entry])[0]
        return Envelope(offset=entry.offset, events=(*events_before, *envelope.events))

    def _apply_live(self, entry: Entry, record: Described, live: Live) -> Envelope:
        """Apply what is not simply the next frame of a live video."""
        if record.last and not live.ended:
            live.ended = True
            said = self._watch.end(live, self._told(entry, live)) if live.running else ()
            return Envelope(offset=entry.offset, events=said)
        if record.last or record.pts[0] in self._live.frames(live):
            return Envelope(offset=entry.offset, events=(Redelivered(id=live.id),))
        if live.ended:
            return _ignored(entry, live.id, "after the end of the live video")
        if record.pts[0] < live.oldest:
            return _ignored(entry, live.id, "older than the frames that are kept")
        self._live.resume(live)
        self._live.make_room(live)
        self._note_time(entry)
        return self._describe([entry])[0]

    def _note_time(self, entry: Entry) -> None:
        if isinstance(entry.record, Described) and (live := self._live.get(entry.record.id)) is not None:
            live.newest_ms = max(live.newest_ms, entry.timestamp_ms)

    def _told(self, entry: Entry, live: Live, running: bool = False) -> list[Rolling] | None:
        """Return what was published of a live video's frame or, not running, of its end; None if it is not known."""
        published = self._published.get(entry.offset)
        if published is None:
            return None
        rolling = [event for event in published.events if isinstance(event, Rolling)]
        return [one for one in rolling if (one.verdict.id, one.verdict.running) == (live.id, running)]

    def _forget(self, item: Item) -> list[ReHeaded]:
        self._tables.unshare(item)
        events = self._stars.remove(item)
        self._live.forget(item)
        if self.similars is not None:
            self.similars.forget(item)
        return events

    def _take_down(self, record: Removed) -> Iterator[Event]:
        if record.by or record.why:
            yield Changed(record=record)
        self._removed.add(record.id)
        self._pending.forget(record.id)
        known = self.items.named(record.id)
        if known is not None:
            yield from self._forget(known)
        yield RemovedEvent(id=record.id)  # also of what is not held: there may be files of it

    # -- references of curated banks ---------------------------------------------------------------------------------

    def _apply_reference(self, entry: Entry, record: Described) -> Envelope:
        """Apply a part of a reference; one of a bank that is not known creates it."""
        bank = self._banks.named(record.bank)
        if record.live:
            return _ignored(entry, record.id, "a live video can be no reference")
        if bank is None and record.bank in self._banks.deleted:
            return _ignored(entry, record.id, f"bank {record.bank} was deleted")
        if fault := fault_of(BankChanged(bank=record.bank)):
            return _ignored(entry, record.id, fault)
        events: tuple[Event, ...] = ()
        if bank is None:
            bank = self._banks.create(record.bank)
            events = (Changed(record=BankChanged(bank=record.bank, why=CREATED_BY_REFERENCE)),)
        known, pending = bank.shelf.tables.items.named(record.id), bank.pending.get(record.id)
        if is_no_newer(record, bank.removed.get(record.id)):
            return _ignored(entry, record.id, f"was removed from bank {record.bank}")
        latest = known.source if known is not None else source_of(pending.first) if pending is not None else None
        if latest is not None and is_older(record, latest):
            return _ignored(entry, record.id, "older than the version that is known")
        if known is not None and record.sha256 == known.sha256:
            known.source = source_of(record)
            return Envelope(offset=entry.offset, events=(Redelivered(id=record.id),) if record.last else ())
        if not bank.pending.continues(record, entry.timestamp_ms):
            return _ignored(entry, record.id, "a part without the parts before it")
        if record.part == 0:
            bank.pending.begin(record, self.items.next_number(), entry.timestamp_ms)
        holder = bank.pending.part(record, entry.timestamp_ms)
        self._append([record], [holder])
        if record.last:
            if known is not None:
                bank.remove(known)
                bank.references[record.id].searched = False
            item = _item_of(holder)
            events += self._editor.take_in(bank, item, entry.timestamp_ms, holder.first.thumbnail)
        return Envelope(offset=entry.offset, events=events)

    def _copy(self, item: Item) -> Item:
        """Return a new item, in no table yet, with the descriptors of one that is held."""
        rows = self._tables.rows_of(item)
        number = self.items.next_number()
        columns = self.rows.columns()
        values = {name: column[rows] for name, column in columns.items() if name not in ("item", "shared")}
        copied = self.rows.append(len(rows), item=number, **values)
        self._tables.vectors.append(copied, self._tables.vectors.read(rows))
        ranges = ((int(copied[0]), int(copied[-1]) + 1),)
        return replace(
            item, number=number, source=(-1, -1), ranges=ranges, head=-1, members=[], shares=(), similar=NO_ROW
        )

    def _new_shelf(self, name: str) -> Shelf:
        from neardup.pipeline.index.exact import ExactIndex  # loads torch

        tables = Tables(self._tables.vectors)
        tables.rows, tables.live = self._tables.rows, self._tables.live
        index = self._heads.index
        judge = Judge(self._judge.calibration, self._judge.precision)
        return make_shelf(name, tables, ExactIndex(index.dimension, index.space), self._evidence, judge)

    # -- described items, a batch at a time ----------------------------------------------------------------------

    def _describe(self, entries: Sequence[Entry]) -> list[Envelope]:
        records = [entry.record for entry in entries if isinstance(entry.record, Described)]
        if not records:
            return []
        holders = [
            self._live.get(record.id) or self._part(record, entry.timestamp_ms)
            for entry, record in zip(entries, records, strict=True)
        ]
        rows = self._append(records, holders)
        # Only with the last part an item is compared, all of it, since what came between its parts is earlier too.
        compared = [
            holder.rows if isinstance(holder, Pending) else own
            for record, holder, own in zip(records, holders, rows, strict=True)
            if record.last or record.live
        ]
        kinds = [record.kind for record in records if record.last or record.live]
        found = iter(self._candidates.of_batch(compared, kinds))
        of_banks = [
            (bank, iter(bank.shelf.candidates.of_batch(compared, kinds, among_themselves=False)))
            for bank in self._banks
            if len(bank.shelf.tables.items)
        ]
        envelopes = []
        for entry, record, holder, own in zip(entries, records, holders, rows, strict=True):
            events: tuple[Event, ...] = ()
            if record.last or record.live:
                pairs, banked = next(found), [(bank, next(theirs)) for bank, theirs in of_banks]
                banked = [(bank, theirs) for bank, theirs in banked if bank.asks_about(record.id)]
                if isinstance(holder, Live):
                    events = self._take_frame(entry, record, holder, own, pairs, banked)
                else:
                    events = (self._settle(entry, holder, pairs, banked),)
            envelopes.append(Envelope(offset=entry.offset, events=events))
        self._heads.flush()
        return envelopes

    def _part(self, record: Described, now_ms: int) -> Pending:
        """Return the item that a part belongs to, the part counted in."""
        if record.part == 0:
            self._pending.begin(record, self.items.next_number(), now_ms)
        return self._pending.part(record, now_ms)

    def _append(self, records: Sequence[Described], holders: Sequence[Pending | Live]) -> list[Ids]:
        """Keep the descriptors of records, and return the rows of each."""
        embedded = _concatenate([record.embedded() for record in records])
        counts = [len(record.pts) for record in records]
        before = [holder.frames if isinstance(holder, Pending) else 0 for holder in holders]
        rows = self.rows.append(
            sum(counts),
            item=np.repeat([holder.number for holder in holders], counts),
            frame=np.concatenate([b + np.arange(n) for b, n in zip(before, counts, strict=True)]),
            pts=np.concatenate([record.pts for record in records]),
            hash=embedded.hashes,
            box=np.concatenate([unpack_boxes(record.boxes, len(record.pts)) for record in records]),
            speaks=embedded.detail >= MIN_DETAIL,
            searched=embedded.detail >= MIN_DETAIL,
            background=self._evidence.background(embedded.vectors),
        )
        self._tables.vectors.append(rows, embedded.vectors)
        stop = int(rows[0]) if len(rows) else 0
        for holder, count in zip(holders, counts, strict=True):
            first, stop = stop, stop + count
            if isinstance(holder, Live):
                self._live.pass_over_still(holder, first)
            else:
                holder.frames += count
                holder.ranges.append((first, stop))
        return np.split(rows, np.cumsum(counts)[:-1])

    def _take_frame(
        self, entry: Entry, record: Described, live: Live, row: Ids, pairs: Pairs, banked: Sequence[tuple[Bank, Pairs]]
    ) -> tuple[Rolling, ...]:
        """Take in a frame of a live video."""
        pairs = self._comparer.with_heads(pairs)
        self.rows.shared[row] = self._comparer.sharers(pairs, 1)
        pairs = join_pairs([*(bank.usable_pairs(theirs, entry.timestamp_ms) for bank, theirs in banked), pairs])
        told = self._told(entry, live, running=True)
        return self._watch.take(live, record.pts[0], int(row[0]), source_of(record), pairs, told)

    def _settle(self, entry: Entry, pending: Pending, pairs: Pairs, banked: Sequence[tuple[Bank, Pairs]]) -> Verdict:
        """Decide on an item whose descriptors are all known, unless that was done, and take it in."""
        first, item = pending.first, _item_of(pending)
        published = self._published.get(entry.offset)
        pairs = self._likely(item.kind, pairs)
        if item.kind is Kind.VIDEO:
            pairs = self._comparer.with_heads(pairs)
            self.rows.shared[item.rows] = self._comparer.sharers(pairs, pending.frames)
        side = self._tables.side(item)
        found = self._respected(item, self._seen, self._comparer.matches(first, side, pairs, item))
        matches = [match for match in found[:MAX_MATCHES] if match.decision is not Decision.DISTINCT]
        for bank, theirs in banked:
            matches += self._respected(item, bank.shelf, bank.matches(item, side, theirs, entry.timestamp_ms))
        said = next((event for event in published.events if isinstance(event, Verdict)), None) if published else None
        verdict = said or combine(item.id, matches, self._stars.head_for(item, matches) if matches else None)
        self._stars.add(item, star_head(verdict) or "")
        if self.similars is not None and isinstance(entry.record, Described):
            self.similars.take(item, entry.record)
        for match in verdict.matches:
            if match.bank == SEEN:
                self._live.note_copy(match.reference, item.number)
        return verdict

    def _likely(self, kind: Kind, pairs: Pairs) -> Pairs:
        """Leave out, of an image's pairs, those that make it distinct; most are, and comparing each costs time."""
        if kind is not Kind.IMAGE or not len(pairs.evidence):
            return pairs
        least = self._judge.thresholds(self._heads.chances).min_unsure
        if float(pairs.evidence.min()) >= least:
            return pairs
        return pairs.take(np.flatnonzero(pairs.evidence.astype(np.float64) >= least))

    def _respected(self, item: HasContent, shelf: Shelf, matches: Sequence[Matched]) -> list[Matched]:
        """Return matches as reviewers left them."""
        if not self._reviews:
            return list(matches)
        references = ((shelf.tables.items.named(match.reference), match) for match in matches)
        found = (self._reviews.respected(item, one, match) for one, match in references if one is not None)
        return [match for match in found if match is not None]


def _item_of(pending: Pending) -> Item:
    first = pending.first
    return Item(
        number=pending.number,
        id=first.id,
        kind=first.kind,
        sha256=first.sha256,
        pixels_digest=first.pixels_digest,
        source=source_of(first),
        seconds=first.seconds,
        ranges=tuple(pending.ranges),
    )


def boxes_of(query: Described) -> Boxes | None:
    """Return which parts of an image its descriptors show; None if all show all of it."""
    return unpack_boxes(query.boxes, len(query.pts)) if query.boxes else None


def _same(track: Track) -> Track:
    return track


def _identity(record: Described) -> object:
    """Return what two records of one batch must not have in common."""
    return (record.id, record.pts) if record.live else record.id


def _ignored(entry: Entry, item_id: str, why: str) -> Envelope:
    return Envelope(offset=entry.offset, events=(Ignored(id=item_id, why=why),))


def _concatenate(parts: Sequence[Embedded]) -> Embedded:
    return Embedded(
        vectors=np.concatenate([part.vectors for part in parts]),
        hashes=np.concatenate([part.hashes for part in parts]),
        detail=np.concatenate([part.detail for part in parts]),
    )
