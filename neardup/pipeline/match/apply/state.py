"""The state that the log builds, and `apply`: records in, events out.

`apply` is the whole of matching. The stream's match worker, its standby, the lookup's view and `neardup scan` run it
unchanged. It has no clock and no randomness: equal logs give equal events, however they are cut into batches. An item
is compared only with items of smaller offsets, and among those only with heads of stars; ties go to the earlier one.

What becomes of a record stands in `uploads`, `intake` and `verdict`, `references`, `editor` and `removals`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from neardup.pipeline.index import Index, IndexOptions, drop_indexes, make_index
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.proofs import ItemProved, ProofExpired
from neardup.pipeline.log.records import Described, Entry, Envelope, Event, Removed, unpack
from neardup.pipeline.log.verdicts import PublishedVerdicts
from neardup.pipeline.match.apply.backward import BackwardSearch
from neardup.pipeline.match.apply.batch import Batch, Prefetch
from neardup.pipeline.match.apply.editor import Editor
from neardup.pipeline.match.apply.findings import Findings
from neardup.pipeline.match.apply.intake import Intake, ItemVerdicts, RowWriter
from neardup.pipeline.match.apply.proofs import Proofs
from neardup.pipeline.match.apply.removals import Removals
from neardup.pipeline.match.apply.uploads import References, Uploads
from neardup.pipeline.match.compare.banks import Banks, BankSettings, Kept
from neardup.pipeline.match.compare.collection import index_name, make_bank_collection, make_collection
from neardup.pipeline.match.compare.reviews import Judged, Reviews
from neardup.pipeline.match.compare.stars import Stars
from neardup.pipeline.match.data.items import Item, Items, Rows
from neardup.pipeline.match.data.pending import Pending, PendingItems
from neardup.pipeline.match.data.similars import Similars
from neardup.pipeline.match.data.tables import Tables, Vectors
from neardup.pipeline.match.data.undecided import LaterAsk, LaterAsks, Undecided, UndecidedItems
from neardup.pipeline.match.decide.calibration import Calibration
from neardup.pipeline.match.decide.decide import Judge
from neardup.pipeline.match.decide.evidence import MIN_DETAIL, Evidence
from neardup.pipeline.match.live.verdicts import LiveVerdicts
from neardup.pipeline.match.live.videos import Live, LiveRules, LiveVideos
from neardup.pipeline.types import Ids

if TYPE_CHECKING:
    from neardup.pipeline.prove.prover import Prover


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
    undecided: list[Undecided]
    later: list[LaterAsk]


class State:
    """Everything that a verdict depends on.

    Args:
        options: of the indexes over descriptors of heads, one for what was seen and one for each bank.
        vectors: holds all descriptors; row numbers are those of `Rows`.
        evidence: turns pairs into evidence.
        calibration: gives thresholds.
        precision: wanted of `duplicate`, 0 to 1.
        stars: whether copies of an item join it as members; without, every item stays a reference of its own.
        live: of live videos.
        similars: where vectors of the similar head are kept; None keeps none.
        prover: proves what is proposed, from pictures that are at hand; None where there are none.
        asks: whether what is proposed waits for proofs that come with the log.
        max_pending: see `proofs.Proofs`.

    Attributes:
        seen: what was seen, with what searches it.
        banks: the curated banks.
        reviews: what reviewers said.
        stars: who stands under which head.
        findings: what was searched for and found, for the envelopes.
    """

    def __init__(
        self,
        options: IndexOptions,
        vectors: VectorFile,
        evidence: Evidence,
        calibration: Calibration,
        precision: float = 0.99,
        stars: bool = True,
        live: LiveRules = LiveRules(),  # noqa: B008 (frozen)
        similars: Similars | None = None,
        prover: Prover | None = None,
        asks: bool = False,
        max_pending: int = 100_000,
    ) -> None:
        self.evidence = evidence
        self.similars = similars
        self._tables = tables = Tables(vectors)
        options = replace(options, names=tables)
        self._drop_indexes = partial(drop_indexes, vectors, options)
        self._leads = False
        index = make_index(vectors, SEEN, options)
        judge = Judge(calibration, precision, proves=asks or prover is not None)
        self.seen = seen = make_collection(SEEN, tables, index, evidence, judge, prover)
        self.banks = Banks(seen, partial(make_bank_collection, seen, vectors, options, evidence, prover))
        self.reviews = Reviews()
        self.stars = Stars(tables, seen.heads, seen.comparer, self.reviews, stars)
        self._pending = PendingItems()
        self._lives = LiveVideos(tables, seen.heads, live)
        self._published = PublishedVerdicts()
        self._prefetch = Prefetch(seen, self._published)
        self.findings = Findings(tables, self.banks, self._published)
        self._backward = BackwardSearch(seen, self.banks, self.reviews, evidence, self._prefetch, self._published, asks)
        undecided = UndecidedItems()
        self._live_verdicts = LiveVerdicts(
            seen,
            self.banks,
            self._lives,
            self.reviews,
            evidence,
            self._published,
            undecided,
            max_pending if asks else 0,
        )
        self._proofs = Proofs(
            seen,
            self.banks,
            self.reviews,
            self.stars,
            self._lives,
            self._published,
            self._backward,
            undecided,
            self._live_verdicts,
            max_pending,
        )
        self._removals = Removals(tables, self.stars, self._lives, self._pending, self._proofs.undecided, similars)
        row_writer = RowWriter(tables, self._lives, evidence)
        item_verdicts = ItemVerdicts(
            seen, self.reviews, self.stars, self._published, similars, self._proofs, self.findings, asks
        )
        self._intake = Intake(
            seen,
            self.banks,
            self._pending,
            self._lives,
            row_writer,
            item_verdicts,
            self._live_verdicts,
            self._proofs,
            self.findings,
        )
        self._uploads = Uploads(tables, self._pending, self._lives, self._removals, self._intake, self._live_verdicts)
        self._editor = Editor(
            seen, self.banks, self.stars, self.reviews, self._backward, self.findings, row_writer.copy
        )
        self._references = References(tables, self.banks, row_writer, self._editor)

    @property
    def items(self) -> Items:
        """The items that are held."""
        return self._tables.items

    @property
    def rows(self) -> Rows:
        """The columns of all descriptors."""
        return self._tables.rows

    @property
    def undecided(self) -> UndecidedItems:
        """The items whose verdict waits for proofs."""
        return self._proofs.undecided

    @property
    def later(self) -> LaterAsks:
        """The heads that are asked about for references that banks got after them."""
        return self._backward.later

    @property
    def unwritten_bytes(self) -> int:
        """Memory of vectors that a full disk did not take."""
        files = [self._tables.vectors, *([] if self.similars is None else [self.similars.vectors])]
        return sum(one.unwritten_bytes for one in files)

    def rows_of(self, item: Item) -> Ids:
        """Return the rows of a held item's descriptors, int64 (n,), in order of time."""
        return self._tables.rows_of(item)

    def look_ahead(self, entries: Sequence[Entry]) -> None:
        """Have the index begin with records that will be applied after the next; nothing depends on it but time."""
        coming = [one.record for one in entries if isinstance(one.record, Described) and _stands_alone(one.record)]
        if coming:
            embedded = unpack(coming)
            vectors = embedded.vectors[embedded.detail >= MIN_DETAIL]
            self.seen.candidates.follow_with(self._tables.vectors.as_stored(vectors))

    def apply(self, entries: Sequence[Entry], published: Mapping[int, Envelope] | None = None) -> list[Envelope]:
        """Take in records of the log, in order, and return one envelope for each.

        Described items are embedded, searched and compared as one batch as far as they do not depend on each other's
        removal; the result is that of applying the records one at a time.

        Args:
            published: what was said earlier, by offset. It takes the place of what would be found now, for an
                approximate search need not find the same again; where it says what was found, nothing is searched for.
        """
        self._published.begin(published or {})
        self._prefetch.forget()
        envelopes: list[Envelope] = []
        batch = Batch(self._tables, self._pending, self._lives, self._removals, self._published)
        for place, entry in enumerate(entries):
            idle = self._lives.idle(entry.timestamp_ms)
            joins = not idle and batch.may_join(entry)
            if not joins or not batch.has_room(entry):
                envelopes += self._intake.take_in(batch.take())
            if joins:
                batch.add(entry)
            else:
                ended = [event for live in idle for event in self._live_verdicts.end(live, entry)]
                if idle:
                    self._prefetch.forget()
                self._prefetch.look(entries, place)
                self._proofs.look_ahead(())  # what it changes may have been computed for the batch before
                envelopes.append(Envelope(offset=entry.offset, events=(*ended, *self._apply_alone(entry))))
        return self.findings.written(envelopes + self._intake.take_in(batch.take()))

    def _apply_alone(self, entry: Entry) -> tuple[Event, ...]:
        record = entry.record
        if isinstance(record, Removed):
            return tuple(self._removals.take_down(record))
        if isinstance(record, ItemProved | ProofExpired):
            return self._proofs.apply(entry, record)
        if not isinstance(record, Described):
            return self._editor.apply(record, entry.offset, entry.timestamp_ms)
        if record.bank != SEEN:
            return self._references.apply(entry, record)
        return self._uploads.apply(entry, record)

    def settle(self, offset: int, leads: bool) -> None:
        """Take it that what was applied is published up to an offset of the log; see `Proposer.settle`."""
        if leads and not self._leads:  # whoever led before may have ended between a deletion and this
            self._drop_indexes([index_name(bank) for bank in sorted(self.banks.deleted)])
        self._leads = leads
        for index in self._indexes():
            index.settle(offset, leads)

    def ready(self) -> bool:
        """Return whether no search has to wait, after a moment of work on it; see `Proposer.ready`."""
        return all(index.ready() for index in self._indexes())

    def _indexes(self) -> list[Index]:
        return [self.seen.heads.index, *(bank.collection.heads.index for bank in self.banks)]

    @property
    def taken_down(self) -> Set[str]:
        """Ids of items that do not come back with a later record."""
        return self._removals.taken_down

    def knows(self, item_id: str) -> bool:
        """Return whether an item or a reference of this id is there, or one was taken down."""
        held = item_id in self._tables.items or item_id in self.taken_down
        return held or any(item_id in bank.collection.tables.items for bank in self.banks)

    def parts(self) -> Parts:
        """Return what the state consists of, to be written down; not a copy."""
        return Parts(
            items=self._tables.items,
            rows=self._tables.rows,
            pending=self._pending.by_id,
            removed=self._removals.taken_down,
            live=list(self._lives),
            index=self.seen.heads.index,
            vectors=self._tables.vectors,
            settings=self.banks.settings,
            banks=[bank.kept() for bank in self.banks],
            deleted=self.banks.deleted,
            judged=list(self.reviews),
            undecided=list(self._proofs.undecided),
            later=list(self.later),
        )

    def restore(self, parts: Parts) -> None:
        """Take over what was written down; the index and the vectors hold what belongs to it already."""
        self._tables.items, self._tables.rows = parts.items, parts.rows
        self._pending.restore(parts.pending)
        self._removals.taken_down = parts.removed
        self._lives.restore(parts.live)
        self._proofs.undecided.restore(parts.undecided)
        self.later.restore(parts.later)
        self.seen.heads.count_again()
        self.reviews.restore(parts.judged)
        self.banks.restore(parts.settings, parts.banks, parts.deleted)

    def close(self) -> None:
        """Let go of files, memory and processes; the state is of no use afterwards."""
        self.seen.heads.close()
        for bank in self.banks:
            bank.collection.heads.close()
        self._tables.vectors.close()
        if self.similars is not None:
            self.similars.close()


def _stands_alone(record: Described) -> bool:
    """Return whether a record is all of an item of the stream."""
    return record.bank == SEEN and record.part == 0 and record.last and not record.live
