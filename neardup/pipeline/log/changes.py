"""The records that people cause: banks, references, review decisions, clusters, calibrations.

They stand in the log among the descriptions of items, and take effect at their place there: what is said of later items
follows them, and a rebuild repeats them. Each says who asked for it and why, which is what the audit trail shows.
`Changed` in `messages` tells that one was applied, or why it was refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import TypeAlias

import msgspec

from neardup.pipeline.errors import UsageError
from neardup.pipeline.log.ids import fault_of_bank

SEEN = "seen"
"""The bank that is the stream itself: every upload that came before."""
FOREVER_MS = 2**53 - 1
"""A date that does not come; the highest whole number that every reader of JSON knows."""


class Action(str, Enum):
    """What a match with a bank means."""

    FLAG = "flag"
    """Tell of it."""
    ALLOW = "allow"
    """Let it pass, and silence what else the item matches."""


class Outcome(str, Enum):
    """What a reviewer says of a pair."""

    MATCH = "match"
    NOT_A_MATCH = "not-a-match"
    UNDO = "undo"
    """What was said of the pair before holds no more."""


class BankEdit(str, Enum):
    """What is done to a bank."""

    CREATE = "create"
    """Create it; refused where there is one of this name."""
    SET = "set"
    """Create it, or change what is given."""
    DELETE = "delete"
    """Remove it with all of its references."""


class ReferenceEdit(str, Enum):
    """What is done to a reference of a bank."""

    SET = "set"
    """Change what is given; of a reference that is still on its way, it holds from its arrival on."""
    ADD = "add"
    """Make an item that is held, an upload, a reference too. It stays what it was."""
    REMOVE = "remove"


class ClusterEdit(str, Enum):
    """What is done to a cluster."""

    SPLIT = "split"
    """Take an item out of its cluster."""
    MERGE = "merge"
    """Put all of an item's cluster under the head of another's."""
    HEAD = "head"
    """Make an item the head of its cluster: the original."""


class BankChanged(msgspec.Struct, frozen=True, kw_only=True, tag="bank-changed", omit_defaults=True):
    """A bank is created, changed or deleted. None leaves a setting as it is, or at its default in a new bank.

    Attributes:
        bank: its name, see `ids.fault_of_bank`. Of `seen` only the precision can be set.
        action: default "flag".
        precision: wanted of `duplicate`, between 0 and 1; default that of the match worker.
        enable_ratio: share of items that the bank is asked about, 0 to 1, chosen by a hash of the id; default 1. One
            that is chosen stays so while the share grows.
        note: for people. metadata: names and values, for programs; replaces all that was there.
        by: who asked for it. why: in their words.
    """

    bank: str
    edit: BankEdit = BankEdit.SET
    action: Action | None = None
    precision: float | None = None
    enable_ratio: float | None = None
    note: str | None = None
    metadata: Mapping[str, str] | None = None
    by: str = ""
    why: str = ""


class ReferenceChanged(msgspec.Struct, frozen=True, kw_only=True, tag="reference-changed", omit_defaults=True):
    """A reference of a curated bank is added from what is held, changed or removed; None leaves a thing as it is.

    Attributes:
        id: of the reference, within the bank; of the item that is to become one.
        disabled_until_ms: it matches nothing in records before this time, in milliseconds since 1970, by the log's
            clock; 0 enables it, FOREVER_MS disables it until further notice.
    """

    bank: str
    id: str
    edit: ReferenceEdit = ReferenceEdit.SET
    disabled_until_ms: int | None = None
    note: str | None = None
    metadata: Mapping[str, str] | None = None
    by: str = ""
    why: str = ""


class Reviewed(msgspec.Struct, frozen=True, kw_only=True, tag="reviewed", omit_defaults=True):
    """A reviewer decided on an item and a reference that it was matched with.

    Attributes:
        item: id of the upload. reference: id of the earlier item, or of a reference of `bank`.
    """

    item: str
    reference: str
    outcome: Outcome
    bank: str = SEEN
    by: str = ""
    why: str = ""


class ClusterEdited(msgspec.Struct, frozen=True, kw_only=True, tag="cluster-edited", omit_defaults=True):
    """A cluster was changed by hand.

    Attributes:
        into: with "merge", an item of the cluster that the other joins.
    """

    item: str
    edit: ClusterEdit
    into: str = ""
    by: str = ""
    why: str = ""


class Calibrated(msgspec.Struct, frozen=True, kw_only=True, tag="calibrated", omit_defaults=True):
    """Evidence is turned into decisions by other curves from here on.

    Attributes:
        bank: of which; "seen" also stands for all banks that have none of their own.
        calibration: MessagePack of a `match.calibration.Calibration`.
    """

    calibration: bytes
    bank: str = SEEN
    by: str = ""
    why: str = ""


Change: TypeAlias = BankChanged | ReferenceChanged | Reviewed | ClusterEdited | Calibrated


def fault_of(change: Change) -> str:
    """Return what is wrong with a change in itself, whatever the state; "" if nothing is."""
    if not isinstance(change, ClusterEdited) and (fault := fault_of_bank(change.bank)):
        return f"bank {change.bank[:80]!r}: {fault}"
    if isinstance(change, ReferenceChanged) and change.bank == SEEN:
        return "bank 'seen' is the stream: its items come and go by `media` and takedowns"
    if not isinstance(change, BankChanged):
        return ""
    if change.bank == SEEN and (change.edit is not BankEdit.SET or change.action or change.enable_ratio is not None):
        return "bank 'seen' is the stream: only its precision, note and metadata can be set"
    if change.precision is not None and not 0.0 < change.precision < 1.0:
        return f"precision is {change.precision:g}; it must lie between 0 and 1, for instance 0.99"
    if change.enable_ratio is not None and not 0.0 <= change.enable_ratio <= 1.0:
        return f"enable ratio is {change.enable_ratio:g}; wanted 0 to 1"
    return ""


def check_changes(changes: Iterable[Change]) -> None:
    """Raise UsageError if one is wrong in itself; see `fault_of`."""
    for change in changes:
        if fault := fault_of(change):
            raise UsageError(fault)
