"""What of a log still stands, so that a new space need not be filled with what is gone.

Known by exceptions: what was removed, replaced or deleted later. Read from the verdicts, which are small.
"""

from __future__ import annotations

from neardup.pipeline.log.changes import SEEN, BankChanged, BankEdit, ReferenceChanged
from neardup.pipeline.log.records import (
    NOTHING,
    Changed,
    Described,
    Envelope,
    Referenced,
    RemovedEvent,
    Replaced,
    Unreferenced,
)

Key = tuple[str, str]
"""Bank and id."""


class Standing:
    """What stands once all envelopes that were noted are applied.

    Attributes:
        added: ids of uploads that were made references.
    """

    def __init__(self) -> None:
        self.added: set[str] = set()
        self._removed: dict[str, int] = {}
        self._replaced: dict[str, int] = {}
        self._unreferenced: dict[Key, int] = {}
        self._newest: dict[Key, tuple[int, bytes]] = {}
        self._deleted: dict[str, int] = {}
        self._made_again: set[str] = set()

    def note(self, envelope: Envelope) -> None:
        """Take in the next envelope."""
        offset = envelope.offset
        for event in envelope.events:
            match event:
                case RemovedEvent(id=id):
                    self._removed[id] = offset
                case Replaced(id=id):
                    self._replaced[id] = offset
                case Unreferenced(id=id, bank=bank):
                    self._unreferenced[bank, id] = offset
                case Referenced(id=id, bank=bank, sha256=sha256):
                    self._newest[bank, id] = offset, sha256
                case Changed(record=BankChanged(bank=bank, edit=BankEdit.DELETE), refused_for=None):
                    self._deleted[bank] = offset
                    self._made_again.discard(bank)
                case Changed(record=BankChanged(bank=bank), refused_for=None) if bank in self._deleted:
                    self._made_again.add(bank)
                case Changed(record=ReferenceChanged(id=id), refused_for=None):
                    self.added.add(id)
                case _:
                    continue

    def has(self, record: Described, offset: int) -> bool:
        """Return whether an item or reference whose last part has this offset stands, in this version."""
        if record.bank == SEEN:
            return self.has_upload(record.id, offset)
        newest, sha256 = self._newest.get((record.bank, record.id), (NOTHING, record.sha256))
        return self.has_reference(record.bank, record.id, offset) and (offset >= newest or sha256 == record.sha256)

    def has_upload(self, id: str, offset: int) -> bool:
        """Return whether the upload that has this id at this offset stands, in that version."""
        return offset >= max(self._removed.get(id, NOTHING), self._replaced.get(id, NOTHING))

    def has_reference(self, bank: str, id: str, offset: int) -> bool:
        """Return whether what is said of a reference at this offset holds: it was not removed after that."""
        return self.has_bank(bank, offset) and offset > self._unreferenced.get((bank, id), NOTHING)

    def has_bank(self, bank: str, offset: int) -> bool:
        """Return whether what is said of a bank at this offset holds: it was not deleted after that, or by that."""
        return offset > self._deleted.get(bank, NOTHING)

    def ends_bank(self, bank: str, offset: int) -> bool:
        """Return whether a bank is deleted at this offset and never made again."""
        return self._deleted.get(bank) == offset and bank not in self._made_again
