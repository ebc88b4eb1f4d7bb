"""What becomes of a record of one space's log in another's: described anew, copied, or left out.

Descriptors are of a space, so items are described from their originals. What people decided is copied, at its place
among the items: it names items by id. Proofs name offsets, and calibrations are of a model; neither is copied.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from neardup.pipeline.log.changes import (
    SEEN,
    BankChanged,
    BankEdit,
    Calibrated,
    ReferenceChanged,
    ReferenceEdit,
    Reviewed,
)
from neardup.pipeline.log.proofs import ItemProved, ProofExpired
from neardup.pipeline.log.records import (
    Changed,
    Described,
    Event,
    Ignored,
    Record,
    Redelivered,
    Referenced,
    Removed,
)
from neardup.workers.space.standing import Key, Standing


@dataclass(frozen=True, slots=True)
class Copied:
    """Records that are copied; none where the record is left out.

    Attributes:
        erased: the upload whose files go once they are written; "" if none.
        calibration: whether it is a calibration that is left out.
    """

    records: tuple[Record, ...] = ()
    erased: str = ""
    calibration: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """An item, reference or frame that is described from its original.

    Attributes:
        record: what the log has of it, without its descriptors.
        first: what comes before it, whether or not there is an original. then: what follows it.
    """

    record: Described
    first: tuple[Record, ...] = ()
    then: tuple[Record, ...] = ()


LEFT_OUT = Copied()


class Plan:
    """Goes through a log from its beginning, or from where an earlier run stopped.

    Args:
        standing: of all that follows. missing: of what earlier runs found no original; kept right by the caller.
    """

    def __init__(self, standing: Standing, missing: Collection[Key]) -> None:
        self._standing = standing
        self._missing = missing
        self._gone: dict[tuple[str, bytes], Described] = {}
        """Uploads that are gone, and of which a reference was made before, by id and content."""

    def step(self, offset: int, record: Record, events: Sequence[Event]) -> Copied | Wanted:
        """Return what becomes of a record, given what was published of it."""
        match record:
            case Described():
                return self._described(offset, record, events)
            case Removed():
                return Copied((record,), erased=record.id)
            case ItemProved() | ProofExpired():
                return LEFT_OUT
        if any(isinstance(event, Changed) and event.refused_for is not None for event in events):
            return LEFT_OUT
        if isinstance(record, Calibrated):
            return Copied(calibration=True)
        if isinstance(record, BankChanged | ReferenceChanged | Reviewed):
            return self._of_bank(offset, record, events)
        return Copied((record,))

    def _described(self, offset: int, record: Described, events: Sequence[Event]) -> Copied | Wanted:
        made = (event.record for event in events if isinstance(event, Changed))  # the bank, which was not there
        first = tuple(made) if self._standing.has_bank(record.bank, offset) else ()
        if not (record.last or record.live) or any(isinstance(event, Ignored) for event in events):
            return Copied(first)
        again = any(isinstance(event, Redelivered) for event in events)
        if again and (record.bank, record.id) not in self._missing:
            return LEFT_OUT
        bare = replace(record, part=0, pts=(), vectors=b"", hashes=b"", detail=b"", boxes=b"", similar=b"")
        if not self._standing.has(record, offset):
            if record.bank == SEEN and record.id in self._standing.added:
                self._gone[record.id, record.sha256] = bare
            return Copied(first)
        if record.live and record.last:
            return Copied((replace(bare, space=""),))
        return Wanted(bare, first)

    def _of_bank(
        self, offset: int, record: BankChanged | ReferenceChanged | Reviewed, events: Sequence[Event]
    ) -> Copied | Wanted:
        if record.bank != SEEN and not self._standing.has_bank(record.bank, offset):
            if isinstance(record, BankChanged) and self._standing.ends_bank(record.bank, offset):
                return Copied((BankChanged(bank=record.bank, edit=BankEdit.CREATE), record))  # late references stay out
            return LEFT_OUT
        if isinstance(record, ReferenceChanged):
            if not self._standing.has_reference(record.bank, record.id, offset):
                return LEFT_OUT
            if record.edit is ReferenceEdit.ADD:
                return self._added(offset, record, events)
        return Copied((record,))

    def _added(self, offset: int, record: ReferenceChanged, events: Sequence[Event]) -> Copied | Wanted:
        """An upload becomes a reference; one that is gone by now is described as that reference."""
        said = replace(record, edit=ReferenceEdit.SET)
        made = next((event for event in events if isinstance(event, Referenced) and event.id == record.id), None)
        if made is None:  # it was a reference before
            return Copied((said,))
        unknown = Described(id=record.id, kind=made.kind, sha256=made.sha256)
        known = replace(self._gone.get((record.id, made.sha256), unknown), bank=record.bank, thumbnail="")
        if not self._standing.has(known, offset):
            return Copied((said,))
        if self._standing.has_upload(record.id, offset) and (SEEN, record.id) not in self._missing:
            return Copied((record,))
        return Wanted(known, then=(said,))
