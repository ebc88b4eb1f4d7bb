"""Curated banks: named sets of references that uploads are matched against before all that was seen.

A bank has an index of its own, of the stream's kind, and decides with thresholds of its own. What is disabled is passed
over by the id table, from the record on that disables it: the index is not asked. Dates are compared with the time of
the record that a verdict is given on; the share of items that a bank is asked about follows from a hash of their ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np

from neardup.pipeline.log.changes import SEEN, Action, BankChanged, ReferenceChanged
from neardup.pipeline.log.records import Described, Matched
from neardup.pipeline.match.compare.candidates import Found
from neardup.pipeline.match.compare.collection import Collection
from neardup.pipeline.match.compare.compare import MAX_MATCHES, Proposal
from neardup.pipeline.match.data.items import Item, link
from neardup.pipeline.match.data.pending import Pending, PendingItems
from neardup.pipeline.match.decide.calibration import Calibration
from neardup.pipeline.match.decide.decide import Pairs, Side
from neardup.pipeline.types import Decision


@dataclass(slots=True)
class ReferenceSettings:
    """What people said of a reference; of one that is still on its way too.

    Attributes:
        searched: earlier items were compared with it.
    """

    disabled_until_ms: int = 0
    note: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    searched: bool = False


@dataclass(slots=True)
class BankSettings:
    """What people said of a bank; see `changes.BankChanged`.

    Attributes:
        precision: None is that of `seen`, whose own is that of the match worker.
        calibration: see `changes.Calibrated`; b"" is that of `seen`, whose own is that of the checkpoint.
    """

    name: str
    action: Action = Action.FLAG
    precision: float | None = None
    enable_ratio: float = 1.0
    note: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    calibration: bytes = b""

    def change(self, change: BankChanged) -> None:
        """Take over what is given."""
        for name in ("action", "precision", "enable_ratio", "note", "metadata"):
            if (value := getattr(change, name)) is not None:
                setattr(self, name, value)


@dataclass(slots=True)
class Kept:
    """A bank as a snapshot keeps it; items in the order in which they were taken in."""

    settings: BankSettings
    references: dict[str, ReferenceSettings]
    removed: dict[str, tuple[int, int]]
    items: list[Item]
    pending: dict[str, Pending]


class Bank:
    """A curated bank.

    Attributes:
        removed: source of the last version of references that were removed, by id: a late record does not bring one
            back.
    """

    def __init__(self, settings: BankSettings, collection: Collection) -> None:
        self.settings = settings
        self.collection = collection
        self.references: dict[str, ReferenceSettings] = {}
        self.removed: dict[str, tuple[int, int]] = {}
        self.pending = PendingItems()

    def asks_about(self, item_id: str) -> bool:
        """Whether an item is among those that the bank is asked about."""
        return self.settings.enable_ratio >= 1.0 or share_of(self.settings.name, item_id) < self.settings.enable_ratio

    def usable(self, now_ms: int) -> Callable[[Item], bool]:
        """Return whether a reference may be matched by a record of this time."""

        def is_usable(reference: Item) -> bool:
            settings = self.references.get(reference.id)
            return settings is None or settings.disabled_until_ms <= now_ms

        return is_usable

    def matches(self, item: Item | Described, side: Side, found: Found, now_ms: int) -> list[Matched]:
        """Return what an item matches here, best first, given what was found here, at this time of the log."""
        matches = self.collection.comparer.matches(item, side, found, usable=self.usable(now_ms))
        kept = [match for match in matches[:MAX_MATCHES] if match.listed]
        return [msgspec.structs.replace(match, action=self.settings.action) for match in kept]

    def propose(self, item: Item, side: Side, found: Found, now_ms: int) -> Proposal:
        """Return what an item is to be compared with here, given what was found here, at this time of the log."""
        return self.collection.comparer.propose(item, side, found, self.usable(now_ms))

    def usable_pairs(self, pairs: Pairs, now_ms: int) -> Pairs:
        """Return the pairs with references that may be matched by a record of this time."""
        usable, items = self.usable(now_ms), self.collection.tables.items
        held = [items.get(number) for number in self.collection.tables.rows.item[pairs.reference].tolist()]
        return pairs.take(np.array([n for n, item in enumerate(held) if item and usable(item)], dtype=np.int64))

    def change_reference(self, change: ReferenceChanged) -> None:
        """Take over what is given of a reference."""
        settings = self.references.setdefault(change.id, ReferenceSettings())
        for name in ("disabled_until_ms", "note", "metadata"):
            if (value := getattr(change, name)) is not None:
                setattr(settings, name, value)

    def add(self, item: Item, kin: Iterable[Item]) -> None:
        """Take in a reference, which is searched from now on, and have cohorts know which others resemble it."""
        for other in kin:
            link(item, other)
        self.collection.heads.add(item)
        self.collection.tables.items.add(item)
        self.references.setdefault(item.id, ReferenceSettings())

    def alike(self, item: Item) -> list[Item]:
        """Return the references that resemble a new one: versions and twins of it."""
        collection, alike = self.collection, []
        (found,) = collection.candidates.among([collection.tables.rows_of(item)], [item.kind])
        for match in collection.comparer.matches(item, collection.tables.side(item), found):
            other = collection.tables.items.named(match.reference)
            if match.decision is not Decision.DISTINCT and other is not None:
                alike.append(other)
        return alike

    def remove(self, item: Item) -> None:
        """Take a reference out; its settings stay, for a new version of it."""
        self.collection.heads.remove(item)
        self.collection.tables.items.remove(item)

    def kept(self) -> Kept:
        """Return what a snapshot keeps; not a copy."""
        items = list(self.collection.tables.items)
        return Kept(self.settings, self.references, self.removed, items, self.pending.by_id)


class Banks:
    """All curated banks, in order of their creation.

    Args:
        seen: the collection of the stream. make: returns an empty one of this name.

    Attributes:
        settings: of `seen`.
        deleted: names of banks that were deleted.
    """

    def __init__(self, seen: Collection, make: Callable[[str], Collection]) -> None:
        self._seen = seen
        self._make = make
        self._default = seen.judge.calibration, seen.judge.precision
        self._banks: dict[str, Bank] = {}
        self.settings = BankSettings(SEEN)
        self.deleted: set[str] = set()

    def __iter__(self) -> Iterator[Bank]:
        return iter(self._banks.values())

    def named(self, name: str) -> Bank | None:
        """Return the bank of this name."""
        return self._banks.get(name)

    def create(self, name: str) -> Bank:
        """Return a new bank with all settings at their defaults."""
        self.deleted.discard(name)
        bank = self._banks[name] = Bank(BankSettings(name), self._make(name))
        self.take_hold()
        return bank

    def take_hold(self) -> None:
        """Have all banks decide as their settings say."""
        collections = [(self.settings, self._seen), *((bank.settings, bank.collection) for bank in self)]
        calibration, precision = self._default
        for settings, collection in collections:
            own = decode_calibration(settings.calibration) if settings.calibration else calibration
            collection.judge.change(own, settings.precision or precision)
            collection.action = settings.action
            if collection is self._seen:
                calibration, precision = collection.judge.calibration, collection.judge.precision

    def delete(self, bank: Bank) -> None:
        """Forget a bank with all that is in it. Late records of references do not bring it back."""
        self._banks.pop(bank.settings.name)
        bank.collection.heads.delete()
        self.deleted.add(bank.settings.name)

    def find(self, number: int) -> tuple[Bank, Item] | None:
        """Return the reference of this number."""
        for bank in self:
            if (item := bank.collection.tables.items.get(number)) is not None:
                return bank, item
        return None

    def asked(self, item_id: str) -> list[Bank]:
        """Return the banks that an item is matched against."""
        return [bank for bank in self if len(bank.collection.tables.items) and bank.asks_about(item_id)]

    def restore(self, settings: BankSettings, kept: Iterable[Kept], deleted: Iterable[str]) -> None:
        """Take over, while empty, what was written down."""
        self.settings = settings
        for one in kept:
            bank = self.create(one.settings.name)
            bank.settings = one.settings
            bank.references, bank.removed, bank.pending = one.references, one.removed, PendingItems(one.pending)
            for item in one.items:
                bank.collection.heads.add(item)
                bank.collection.tables.items.add(item)
        self.deleted = set(deleted)
        self.take_hold()


def decode_calibration(encoded: bytes) -> Calibration:
    """Return the calibration of a `Calibrated`.

    Raises:
        msgspec.MsgspecError, ConfigError: it is none.
    """
    return msgspec.msgpack.decode(encoded, type=Calibration)


def share_of(bank: str, item_id: str) -> float:
    """Return a number from 0 to below 1, always the same for an item in a bank, and evenly spread over items."""
    digest = hashlib.blake2b(f"{bank}\n{item_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
