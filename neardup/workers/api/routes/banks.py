"""Banks: named sets of references with thresholds and an action of their own. Each change is a record of the log."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from neardup.pipeline.log.changes import Action, BankChanged, BankEdit
from neardup.workers.api import bank_rows
from neardup.workers.api.auth import Admin, Reader
from neardup.workers.api.bank_rows import BankBody, Metadata
from neardup.workers.api.bounded import BoundedRoute
from neardup.workers.api.changes import WAIT, ChangeAnswer, WaitQuery, Why, WhyQuery, answer, change
from neardup.workers.api.context import Given
from neardup.workers.api.names import BANK_PATTERN, BankField, BankName, BankQuery
from neardup.workers.api.problems import responses

router = APIRouter(tags=["banks"], route_class=BoundedRoute)
CHANGED = {
    202: {"model": ChangeAnswer, "description": "It is in the log; this worker has not applied it yet."},
    **responses("malformed", "timeout", "too-large", "invalid", "conflict", "not-found", "not-ready", "unavailable"),
}
_EXAMPLE: dict[str, Any] = {
    "action": "flag",
    "precision": 0.999,
    "enable_ratio": 1.0,
    "note": "known stolen",
    "metadata": {},
}


class Banks(BaseModel):
    """All banks: that of the stream, then the others by name."""

    banks: list[BankBody]


class BankSettings(BaseModel):
    """What is to be set of a bank; what is left out, or null, stays as it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {**_EXAMPLE, "why": "ticket 4711"}})
    action: Action | None = Field(None, description="flag a match, or allow the item and silence what else it matches")
    precision: float | None = Field(None, gt=0, lt=1, description="wanted of `duplicate`")
    enable_ratio: float | None = Field(None, ge=0, le=1, description="share of items that the bank is asked about")
    note: Annotated[str, Field(max_length=10_000)] | None = Field(None, description="for people")
    metadata: Metadata | None = Field(None, description="replaces all that was there")
    why: Why = ""

    def record(self, bank: str, edit: BankEdit, by: str) -> BankChanged:
        """Return the record that says so."""
        return BankChanged(
            bank=bank,
            edit=edit,
            action=self.action,
            precision=self.precision,
            enable_ratio=self.enable_ratio,
            note=self.note,
            metadata=self.metadata,
            by=by,
            why=self.why,
        )


class NewBank(BankSettings):
    """A bank that is to be made."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"bank": "blocked", **_EXAMPLE, "why": ""}})
    bank: BankField = Field(description="its name: letters, digits, dots, dashes, underscores")


@router.get("/v1/banks", response_model=Banks, responses=responses("not-found", "invalid", "not-ready"))
async def list_banks(
    context: Given,
    _: Reader,
    bank: Annotated[str | None, Query(pattern=BANK_PATTERN, description="only this one")] = None,
) -> Banks:
    """Return all banks, the stream's own first, or the one that is named."""
    if bank is not None:
        return Banks(banks=[await context.look(lambda state: bank_rows.bank_body(state, bank))])
    return Banks(banks=await context.look(bank_rows.banks))


@router.post("/v1/banks", response_model=ChangeAnswer, status_code=201, responses=CHANGED)
async def create_bank(
    body: NewBank, response: Response, context: Given, caller: Admin, wait: WaitQuery = WAIT
) -> ChangeAnswer:
    """Make a bank. Refused where there is one of this name."""
    done = await change(context, body.record(body.bank, BankEdit.CREATE, caller.name), wait)
    return answer(done, caller.name, response)


@router.get("/v1/banks/{bank}", response_model=BankBody, responses=responses("not-found", "invalid", "not-ready"))
async def get_bank(bank: BankName, context: Given, _: Reader) -> BankBody:
    """Return a bank; of `seen`, the settings of the stream."""
    return await context.look(lambda state: bank_rows.bank_body(state, bank))


@router.patch("/v1/banks", response_model=ChangeAnswer, responses=CHANGED)
async def set_bank(
    bank: BankQuery, body: BankSettings, response: Response, context: Given, caller: Admin, wait: WaitQuery = WAIT
) -> ChangeAnswer:
    """Change what is given of a bank; of `seen` its precision, note and metadata. It holds from this record on."""
    await context.look(lambda state: bank_rows.bank_body(state, bank))
    done = await change(context, body.record(bank, BankEdit.SET, caller.name), wait)
    return answer(done, caller.name, response)


@router.patch("/v1/banks/{bank}", response_model=ChangeAnswer, responses=CHANGED)
async def set_bank_by_path(
    bank: BankName, body: BankSettings, response: Response, context: Given, caller: Admin, wait: WaitQuery = WAIT
) -> ChangeAnswer:
    """Change what is given of a bank; as `PATCH /v1/banks?bank=`."""
    return await set_bank(bank, body, response, context, caller, wait)


@router.delete("/v1/banks", response_model=ChangeAnswer, responses=CHANGED)
async def delete_bank(
    bank: BankQuery, response: Response, context: Given, caller: Admin, why: WhyQuery = "", wait: WaitQuery = WAIT
) -> ChangeAnswer:
    """Remove a bank with all of its references. What comes late for it does not bring it back."""
    done = await change(context, BankChanged(bank=bank, edit=BankEdit.DELETE, by=caller.name, why=why), wait)
    return answer(done, caller.name, response)


@router.delete("/v1/banks/{bank}", response_model=ChangeAnswer, responses=CHANGED)
async def delete_bank_by_path(
    bank: BankName, response: Response, context: Given, caller: Admin, why: WhyQuery = "", wait: WaitQuery = WAIT
) -> ChangeAnswer:
    """Remove a bank with all of its references; as `DELETE /v1/banks?bank=`."""
    return await delete_bank(bank, response, context, caller, why, wait)
