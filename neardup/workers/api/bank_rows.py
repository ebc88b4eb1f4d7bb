"""Banks and references as the view's state has them, as answers tell of them.

The view and not Redis, so that whoever changed something reads it back, and banks can be read while Redis is away.
"""

from __future__ import annotations

from itertools import islice
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from neardup.pipeline.log.changes import SEEN, Action
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.compare.banks import Bank, BankSettings, ReferenceSettings
from neardup.pipeline.store.interface import BankRow, DeadLetter, ReferenceRow
from neardup.pipeline.types import Kind
from neardup.workers.api.models import DeadLetterBody
from neardup.workers.api.problems import Problem

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=200)], Annotated[str, Field(max_length=1000)]],
    Field(max_length=100, description="names and values, for programs"),
]


class BankBody(BaseModel):
    """A bank: a named set of references with thresholds and an action of their own."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "bank": "blocked",
                "action": "flag",
                "precision": 0.999,
                "enable_ratio": 1.0,
                "note": "known stolen",
                "metadata": {"owner": "trust"},
                "references": 2,
            }
        }
    )
    bank: str = Field(description="its name; `seen` is the stream itself")
    action: Action = Field(description="flag a match, or allow the item and silence what else it matches")
    precision: float | None = Field(description="wanted of `duplicate`; null is that of `seen`, or the match worker's")
    enable_ratio: float = Field(description="share of items that the bank is asked about")
    note: str = Field(description="for people")
    metadata: Metadata
    references: int = Field(description="that are there, disabled ones too; of `seen`, the items")


class ReferenceBody(BaseModel):
    """A reference of a bank."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "cat-1",
                "bank": "blocked",
                "here": True,
                "kind": "image",
                "sha256": "9f86…",
                "disabled_until_ms": 0,
                "note": "ticket 4711",
                "metadata": {"case": "17"},
                "dead_letter": None,
            }
        }
    )
    id: str = Field(description="within the bank")
    bank: str
    here: bool = Field(description="false while it is on its way: what is said of it holds from its arrival on")
    kind: Kind
    sha256: str = Field(description="of its content; empty while it is on its way")
    disabled_until_ms: int = Field(
        description="it matches nothing before this time, milliseconds since 1970; 0: it does"
    )
    note: str = Field(description="for people")
    metadata: Metadata
    dead_letter: DeadLetterBody | None = Field(None, description="a newer version of it that could not be used")


def bank_of(state: State, name: str) -> Bank:
    """Return a curated bank.

    Raises:
        Problem: there is none of this name.
    """
    bank = state.banks.named(name)
    if bank is None:
        known = ", ".join(one.settings.name for one in islice(state.banks, 20)) or "none"
        raise Problem("not-found", f"no bank {name!r}", f"There is {known}; `POST /v1/banks` makes one.")
    return bank


def banks(state: State) -> list[BankBody]:
    """Return all banks: that of the stream, then the others by name."""
    curated = sorted((_body(row_of(bank)) for bank in state.banks), key=lambda body: body.bank)
    return [bank_body(state, SEEN), *curated]


def bank_body(state: State, name: str) -> BankBody:
    """Return a bank, that of the stream too.

    Raises:
        Problem: there is none of this name.
    """
    if name == SEEN:
        return _body(_row(state.banks.settings, len(state.items)))
    return _body(row_of(bank_of(state, name)))


def row_of(bank: Bank) -> BankRow:
    """Return a curated bank as a store would."""
    return _row(bank.settings, len(bank.collection.tables.items))


def reference_rows(bank: Bank, start: int, count: int) -> list[ReferenceRow]:
    """Return references that are there as a store would, in order of arrival, from the one at this place on."""
    found = islice(bank.collection.tables.items, start, start + count)
    return [_reference_row(bank, item.id, item.kind, item.sha256) for item in found]


def reference_bodies(bank: Bank, start: int, count: int) -> list[ReferenceBody]:
    """Return references that are there, in order of arrival, from the one at this place on."""
    return [_reference_body(row, here=True) for row in reference_rows(bank, start, count)]


def reference_body(bank: Bank, id: str, letter: DeadLetter | None = None) -> ReferenceBody:
    """Return a reference, or what was said of one that is on its way or became a dead letter.

    Raises:
        Problem: there is none of this id.
    """
    item = bank.collection.tables.items.named(id)
    if item is None and id not in bank.references and letter is not None:
        raise Problem("dead-letter", f"{id!r}: {letter.detail}", reason=letter.reason)
    if item is None and id not in bank.references:
        raise Problem("not-found", f"bank {bank.settings.name} has no reference {id!r}")
    if item is None:
        return _reference_body(_reference_row(bank, id, Kind.IMAGE, b""), here=False, letter=letter)
    return _reference_body(_reference_row(bank, id, item.kind, item.sha256), here=True, letter=letter)


def _reference_row(bank: Bank, id: str, kind: Kind, sha256: bytes) -> ReferenceRow:
    said = bank.references.get(id) or ReferenceSettings()
    return ReferenceRow(
        id,
        bank.settings.name,
        offset=-1,  # the state does not keep it
        kind=kind,
        sha256=sha256.hex(),
        disabled_until_ms=said.disabled_until_ms,
        note=said.note,
        metadata=dict(said.metadata),
    )


def _reference_body(row: ReferenceRow, here: bool, letter: DeadLetter | None = None) -> ReferenceBody:
    return ReferenceBody(
        id=row.id,
        bank=row.bank,
        here=here,
        kind=row.kind,
        sha256=row.sha256,
        disabled_until_ms=row.disabled_until_ms,
        note=row.note,
        metadata=dict(row.metadata),
        dead_letter=None if letter is None else DeadLetterBody.model_validate(letter),
    )


def _row(settings: BankSettings, references: int) -> BankRow:
    return BankRow(
        settings.name,
        settings.action,
        settings.precision,
        settings.enable_ratio,
        settings.note,
        dict(settings.metadata),
        references,
    )


def _body(row: BankRow) -> BankBody:
    return BankBody(
        bank=row.name,
        action=row.action,
        precision=row.precision,
        enable_ratio=row.enable_ratio,
        note=row.note,
        metadata=dict(row.metadata),
        references=row.references,
    )
