"""What the changes of people do to a state.

Each is answered with a `Changed`, which says why where it was refused, and with what followed from it. Nothing is
refused because of what an approximate search found: equal logs give equal answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.log.changes import (
    SEEN,
    BankChanged,
    BankEdit,
    Calibrated,
    Change,
    ClusterEdit,
    ClusterEdited,
    Outcome,
    ReferenceChanged,
    ReferenceEdit,
    Reviewed,
    fault_of,
)
from neardup.pipeline.log.reasons import Refusal
from neardup.pipeline.log.records import Changed, Event, Referenced, ReHeaded, Unreferenced
from neardup.pipeline.match.apply.backward import BackwardSearch
from neardup.pipeline.match.apply.findings import Findings
from neardup.pipeline.match.compare.banks import Bank, Banks, decode_calibration
from neardup.pipeline.match.compare.collection import Collection
from neardup.pipeline.match.compare.reviews import Reviews
from neardup.pipeline.match.compare.stars import Stars
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.types import Kind


class ChangeRefused(Exception):
    """A change cannot be made; the text says why in words."""

    def __init__(self, reason: Refusal, words: str) -> None:
        super().__init__(words)
        self.reason = reason


class Editor:
    """Makes changes.

    Args:
        copy: returns a new item, in no table yet, with the descriptors of one that is held, by a record of this offset.
    """

    def __init__(
        self,
        seen: Collection,
        banks: Banks,
        stars: Stars,
        reviews: Reviews,
        backward: BackwardSearch,
        findings: Findings,
        copy: Callable[[Item, int], Item],
    ) -> None:
        self._seen = seen
        self._banks = banks
        self._stars = stars
        self.reviews = reviews
        self._backward = backward
        self._findings = findings
        self._copy = copy

    def apply(self, change: Change, offset: int, now_ms: int) -> tuple[Event, ...]:
        """Make a change, of a record at this place of the log, and return all that happened."""
        try:
            if fault := fault_of(change):
                raise ChangeRefused(Refusal.INVALID, fault)
            followed = tuple(self._apply(change, offset, now_ms))
        except ChangeRefused as refused:
            return (Changed(record=change, refused=str(refused), refusal=refused.reason),)
        return (Changed(record=change, waits=self._waits(change)), *followed)

    def take_in(self, bank: Bank, item: Item, offset: int, now_ms: int, thumbnail: str) -> tuple[Event, ...]:
        """Add a new reference to a bank, and return which earlier items are like it, or may be."""
        kin = self._findings.kin(offset)
        kin = bank.alike(item) if kin is None else kin
        self._findings.note_kin(offset, kin)
        bank.add(item, kin)
        found, left_out, asked = self._backward.search(bank, item, offset, now_ms)
        referenced = Referenced(
            id=item.id,
            bank=bank.settings.name,
            kind=item.kind,
            sha256=item.sha256,
            thumbnail=thumbnail,
            found=len(found),
            left_out=left_out,
            asked=asked,
        )
        return (referenced, *found)

    def _apply(self, change: Change, offset: int, now_ms: int) -> Iterator[Event]:
        match change:
            case BankChanged():
                yield from self._change_bank(change)
            case ReferenceChanged():
                yield from self._change_reference(change, offset, now_ms)
            case Reviewed():
                yield from self._review(change)
            case ClusterEdited():
                yield from self._edit_cluster(change)
            case Calibrated():
                self._calibrate(change)

    # -- banks ---------------------------------------------------------------------------------------------------

    def _change_bank(self, change: BankChanged) -> Iterator[Event]:
        bank = None if change.bank == SEEN else self._banks.named(change.bank)
        if change.edit is BankEdit.DELETE:
            self._banks.delete(self._known(change.bank))
            return
        if bank is not None and change.edit is BankEdit.CREATE:
            raise ChangeRefused(Refusal.BANK_EXISTS, f"there is a bank {change.bank} already")
        if bank is None and change.bank != SEEN:
            bank = self._banks.create(change.bank)
        (bank.settings if bank else self._banks.settings).change(change)
        self._banks.take_hold()
        yield from ()

    def _change_reference(self, change: ReferenceChanged, offset: int, now_ms: int) -> Iterator[Event]:
        bank = self._known(change.bank)
        known = bank.collection.tables.items.named(change.id)
        if change.edit is ReferenceEdit.REMOVE:
            if known is None:
                raise ChangeRefused(Refusal.NO_REFERENCE, f"bank {change.bank} has no reference {change.id!r}")
            bank.remove(known)
            bank.removed[known.id] = known.source
            del bank.references[known.id]
            yield Unreferenced(id=known.id, bank=change.bank)
            return
        if change.edit is ReferenceEdit.ADD and known is None:
            item = self._held(change.id)
            if self._is_live(item):
                raise ChangeRefused(Refusal.LIVE, "a live video can be no reference")
            bank.removed.pop(change.id, None)
            bank.change_reference(change)
            yield from self.take_in(bank, self._copy(item, offset), offset, now_ms, "")
            return
        bank.change_reference(change)
        if known is not None and not bank.references[known.id].searched:
            found, left_out, asked = self._backward.search(bank, known, offset, now_ms)
            if found or asked:
                yield Referenced(
                    id=known.id,
                    bank=change.bank,
                    kind=known.kind,
                    sha256=known.sha256,
                    found=len(found),
                    left_out=left_out,
                    asked=asked,
                )
                yield from found

    def _calibrate(self, change: Calibrated) -> None:
        bank = None if change.bank == SEEN else self._known(change.bank)
        try:
            calibration = decode_calibration(change.calibration)
        except (msgspec.MsgspecError, ConfigError) as error:
            raise ChangeRefused(Refusal.CALIBRATION, f"no calibration: {error}") from None
        weights = self._seen.judge.calibration.weights
        if calibration.weights != weights:
            raise ChangeRefused(
                Refusal.CALIBRATION,
                f"the calibration weighs hash and cohort by {calibration.weights}, evidence is made with {weights}",
            )
        (bank.settings if bank else self._banks.settings).calibration = change.calibration
        self._banks.take_hold()

    # -- reviews and clusters --------------------------------------------------------------------------------------

    def _review(self, change: Reviewed) -> Iterator[ReHeaded]:
        item = self._held(change.item)
        reference = self._reference(change)
        if item is reference:
            raise ChangeRefused(Refusal.ITSELF, "an item is not judged against itself")
        before = self.reviews.forget(item, reference)
        if before is not None and before.moved >= 0:
            yield from self._move_back(before.moved, before.head, before.outcome)
        if change.outcome is Outcome.UNDO:
            if before is None:
                raise ChangeRefused(Refusal.NOT_JUDGED, "nothing was said of this pair")
            return
        judged = self.reviews.set(item, reference, change.outcome)
        if change.bank != SEEN:
            return
        if change.outcome is Outcome.NOT_A_MATCH and item.head == reference.head:
            mover = reference if item.is_head else item
            judged.moved, judged.head = mover.number, mover.head
            yield from self._stars.leave(mover)
        elif change.outcome is Outcome.MATCH and item.head != reference.head and self._is_whole(item, reference):
            judged.moved, judged.head = item.number, reference.head
            yield from self._stars.join(item, reference)

    def _move_back(self, number: int, head_number: int, outcome: Outcome) -> Iterator[ReHeaded]:
        """Undo what a review did to a cluster, unless that was changed again since."""
        item, head = self._seen.tables.items.get(number), self._seen.tables.items.get(head_number)
        if item is None or head is None or not head.is_head:
            return
        if outcome is Outcome.NOT_A_MATCH and item.is_head and not item.members and item is not head:
            yield from self._stars.join(item, head)
        elif outcome is Outcome.MATCH and item.head == head_number and item is not head:
            yield from self._stars.leave(item)

    def _is_whole(self, item: Item, reference: Item) -> bool:
        """Whether two items can be copies as a whole; of videos that follows from their segments."""
        if self._is_live(item) or self._is_live(reference) or item.kind is not reference.kind:
            return False
        return item.kind is Kind.IMAGE or self._seen.comparer.one(item, reference).where.whole

    def _edit_cluster(self, change: ClusterEdited) -> Iterator[ReHeaded]:
        item = self._held(change.item)
        other = self._held(change.into) if change.edit is ClusterEdit.MERGE else item
        if self._is_live(item) or self._is_live(other):
            raise ChangeRefused(Refusal.LIVE, "a live video stands alone")
        match change.edit:
            case ClusterEdit.SPLIT:
                if item.is_head and not item.members:
                    raise ChangeRefused(Refusal.ALONE, f"{item.id!r} stands alone")
                yield from self._stars.leave(item)
            case ClusterEdit.MERGE:
                if item.head == other.head:
                    raise ChangeRefused(Refusal.SAME_CLUSTER, f"{item.id!r} and {other.id!r} are in one cluster")
                yield from self._stars.merge(item, other)
            case ClusterEdit.HEAD:
                if item.is_head:
                    raise ChangeRefused(Refusal.IS_HEAD, f"{item.id!r} is the head of its cluster")
                yield from self._stars.lead(item)

    # -- what is known -------------------------------------------------------------------------------------------

    def _is_live(self, item: Item) -> bool:
        return item.number in self._seen.tables.live

    def _waits(self, change: Change) -> bool:
        """Whether a change was made of a reference that is not there yet."""
        if not isinstance(change, ReferenceChanged) or change.edit is not ReferenceEdit.SET:
            return False
        return self._known(change.bank).collection.tables.items.named(change.id) is None

    def _known(self, name: str) -> Bank:
        bank = self._banks.named(name)
        if bank is None:
            raise ChangeRefused(Refusal.NO_BANK, f"there is no bank {name}")
        return bank

    def _held(self, item_id: str) -> Item:
        item = self._seen.tables.items.named(item_id)
        if item is None:
            raise ChangeRefused(Refusal.NO_ITEM, f"there is no item {item_id!r}")
        return item

    def _reference(self, change: Reviewed) -> Item:
        if change.bank == SEEN:
            return self._held(change.reference)
        item = self._known(change.bank).collection.tables.items.named(change.reference)
        if item is None:
            raise ChangeRefused(Refusal.NO_REFERENCE, f"bank {change.bank} has no reference {change.reference!r}")
        return item
