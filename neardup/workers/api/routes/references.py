"""References of curated banks: added from an upload or from what is held, disabled for a time, removed.

Each call has two forms, as those of `items`: `/v1/references?bank=&id=`, and for short the two in the path.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.changes import FOREVER_MS, ReferenceChanged, ReferenceEdit
from neardup.pipeline.match.apply.state import State
from neardup.workers.api import bank_rows
from neardup.workers.api.auth import Admin, Reader
from neardup.workers.api.bank_rows import Metadata, ReferenceBody
from neardup.workers.api.body import raw_body, read_content
from neardup.workers.api.bounded import BoundedRoute
from neardup.workers.api.changes import (
    EXAMPLE_EARLIER,
    WAIT,
    ChangeAnswer,
    EarlierBody,
    WaitQuery,
    Why,
    WhyQuery,
    answer,
    change,
)
from neardup.workers.api.context import Given
from neardup.workers.api.names import BankName, BankQuery, IdField, ItemId, ItemQuery, NewQuery, check_known
from neardup.workers.api.problems import responses
from neardup.workers.api.routes.banks import CHANGED
from neardup.workers.api.routes.items import dead_letter, published
from neardup.workers.api.sending import send

router = APIRouter(tags=["banks"], route_class=BoundedRoute)
FOUND = responses("not-found", "invalid", "not-ready", "unavailable")
NoteQuery = Annotated[str | None, Query(max_length=2000, description="for people")]
MOST_LISTED = 1000
Start = Annotated[int, Query(ge=0, le=10**9, description="place of the first")]
Count = Annotated[int, Query(ge=1, le=MOST_LISTED, description="how many at most")]
NoteField = Annotated[str, Field(max_length=10_000)]


class References(BaseModel):
    """References of a bank, in order of arrival."""

    references: list[ReferenceBody]
    start: int = Field(description="place of the first of these")
    total: int = Field(description="how many there are")


class ReferenceSettings(BaseModel):
    """What is to be set of a reference; what is left out, or null, stays as it is."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"disabled_until_ms": 1798761600000, "note": "disputed", "metadata": {}, "why": ""}
        },
    )
    disabled_until_ms: int | None = Field(
        None,
        ge=0,
        le=FOREVER_MS,
        description=f"matches nothing before this time, milliseconds since 1970; 0 enables, {FOREVER_MS} is for ever",
    )
    note: NoteField | None = Field(None, description="for people")
    metadata: Metadata | None = Field(None, description="replaces all that was there")
    why: Why = ""


class NewReference(BaseModel):
    """A held item that is to be a reference too."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"item": "cat-1", "note": "ticket 4711", "metadata": {"case": "17"}, "why": ""}},
    )
    item: IdField = Field(description="id of the item; the reference has the same")
    note: NoteField | None = Field(None, description="for people")
    metadata: Metadata | None = None
    why: Why = ""


class ReferenceAnswer(BaseModel):
    """What became of a reference that was sent."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "cat-1",
                "bank": "blocked",
                "event": "42.0",
                "status": "referenced",
                "reason": "",
                "detail": "",
                "earlier": [EXAMPLE_EARLIER],
                "left_out": 0,
                "asked": 0,
            }
        }
    )
    id: str
    bank: str
    event: str = Field(description="of the change in the log and in the audit trail")
    status: Literal["accepted", "referenced", "redelivered", "ignored", "dead-letter"] = Field(
        description="on its way; a reference now; one with these bytes before; see `detail`; it could not be used, see "
        "`reason` and `detail`"
    )
    reason: str = Field(
        default="",
        description="why it was ignored or could not be used, for programs, such as `bank-deleted` or `format`",
    )
    detail: str = Field(default="", description="the same in words")
    earlier: list[EarlierBody] = Field(description="earlier items that match it; they are in the feed too")
    left_out: int = Field(description="how many more earlier items there are")
    asked: int = Field(default=0, description="earlier originals that are to be proved; what matches comes in the feed")


@router.get(
    "/v1/banks/{bank}/references",
    response_model=References,
    responses=responses("not-found", "invalid", "not-ready"),
)
async def list_references(
    bank: BankName, context: Given, _: Reader, start: Start = 0, count: Count = 100
) -> References:
    """Return the references of a bank that are there, in order of arrival."""

    def read(state: State) -> References:
        found = bank_rows.bank_of(state, bank)
        total = len(found.collection.tables.items)
        return References(references=bank_rows.reference_bodies(found, start, count), start=start, total=total)

    return await context.look(read)


@router.post("/v1/banks/{bank}/references", response_model=ChangeAnswer, status_code=201, responses=CHANGED)
async def add_item(
    bank: BankName, body: NewReference, response: Response, context: Given, caller: Admin, wait: WaitQuery = WAIT
) -> ChangeAnswer:
    """Make a held item a reference too, and tell which other earlier items match it. It stays what it was."""
    await check_known(context, body.item)
    record = ReferenceChanged(
        bank=bank,
        id=body.item,
        edit=ReferenceEdit.ADD,
        note=body.note,
        metadata=body.metadata,
        by=caller.name,
        why=body.why,
    )
    return answer(await change(context, record, wait), caller.name, response)


SENT: dict[int | str, dict[str, Any]] = {
    200: {"model": ReferenceAnswer, "description": "It was dealt with: `status` says how."},
    **responses("malformed", "timeout", "too-large", "media-type", "bad-media", "invalid", "conflict", "not-found"),
}


@router.get("/v1/references", response_model=ReferenceBody, responses=FOUND)
async def get_reference(bank: BankQuery, id: ItemQuery, context: Given, _: Reader) -> ReferenceBody:
    """Return a reference, or what was said of one that is on its way or could not be used."""
    await check_known(context, id)
    letter = None
    with suppress(DependencyError):  # banks are read while Redis is away, too
        letter = await dead_letter(context, id, bank)
    return await context.look(lambda state: bank_rows.reference_body(bank_rows.bank_of(state, bank), id, letter))


@router.get("/v1/banks/{bank}/references/{id:path}", response_model=ReferenceBody, responses=FOUND)
async def get_reference_by_path(bank: BankName, id: ItemId, context: Given, reader: Reader) -> ReferenceBody:
    """Return a reference; `GET /v1/references?bank=&id=` for any id."""
    return await get_reference(bank, id, context, reader)


@router.put(
    "/v1/references",
    response_model=ReferenceAnswer,
    status_code=202,
    openapi_extra=raw_body(with_form=False),
    responses=SENT,
)
async def upload_reference(
    bank: BankQuery,
    id: NewQuery,
    request: Request,
    response: Response,
    context: Given,
    caller: Admin,
    note: NoteQuery = None,
    why: WhyQuery = "",
    wait: WaitQuery = WAIT,
) -> ReferenceAnswer:
    """Add an upload to a bank under an id, or put it in the place of what has this id; tell which earlier items match.

    Who did it is in the audit trail before the reference comes.
    """
    settings = context.settings
    content = await read_content(request, settings.api_max_bytes, settings.api_body_seconds)
    if content.data is not None:
        await context.describe(content.data, caller)  # what cannot be used is reported here, and not in a dead letter
    done = await change(context, ReferenceChanged(bank=bank, id=id, note=note, by=caller.name, why=why), wait)
    traceparent = request.headers.get("traceparent", "")
    told = published(id, bank, await send(context, content, id, bank, wait, traceparent))
    assert told.status != "decided"  # that is said of uploads to `seen` alone
    response.status_code = 202 if told.status == "accepted" else 200
    return ReferenceAnswer(bank=bank, event=f"{done.offset}.0", **told.model_dump(exclude={"verdict"}))


@router.put(
    "/v1/banks/{bank}/references/{id:path}",
    response_model=ReferenceAnswer,
    status_code=202,
    openapi_extra=raw_body(with_form=False),
    responses=SENT,
)
async def upload_reference_by_path(
    bank: BankName,
    id: ItemId,
    request: Request,
    response: Response,
    context: Given,
    caller: Admin,
    note: NoteQuery = None,
    why: WhyQuery = "",
    wait: WaitQuery = WAIT,
) -> ReferenceAnswer:
    """Add an upload to a bank; as `PUT /v1/references?bank=&id=`."""
    return await upload_reference(bank, id, request, response, context, caller, note, why, wait)


@router.patch("/v1/references", response_model=ChangeAnswer, responses=CHANGED)
async def set_reference(
    bank: BankQuery,
    id: ItemQuery,
    body: ReferenceSettings,
    response: Response,
    context: Given,
    caller: Admin,
    wait: WaitQuery = WAIT,
) -> ChangeAnswer:
    """Change what is given of a reference: disable it until a date, enable it, note something.

    Of a reference that is on its way it holds from its arrival on; `waits` says so.
    """
    await check_known(context, id)
    record = ReferenceChanged(
        bank=bank,
        id=id,
        disabled_until_ms=body.disabled_until_ms,
        note=body.note,
        metadata=body.metadata,
        by=caller.name,
        why=body.why,
    )
    return answer(await change(context, record, wait), caller.name, response)


@router.patch("/v1/banks/{bank}/references/{id:path}", response_model=ChangeAnswer, responses=CHANGED)
async def set_reference_by_path(
    bank: BankName,
    id: ItemId,
    body: ReferenceSettings,
    response: Response,
    context: Given,
    caller: Admin,
    wait: WaitQuery = WAIT,
) -> ChangeAnswer:
    """Change what is given of a reference; `PATCH /v1/references?bank=&id=` for any id."""
    return await set_reference(bank, id, body, response, context, caller, wait)


@router.delete("/v1/references", response_model=ChangeAnswer, responses=CHANGED)
async def remove_reference(
    bank: BankQuery,
    id: ItemQuery,
    response: Response,
    context: Given,
    caller: Admin,
    why: WhyQuery = "",
    wait: WaitQuery = WAIT,
) -> ChangeAnswer:
    """Take a reference out of a bank; an upload of the same id stays."""
    await check_known(context, id)
    record = ReferenceChanged(bank=bank, id=id, edit=ReferenceEdit.REMOVE, by=caller.name, why=why)
    return answer(await change(context, record, wait), caller.name, response)


@router.delete("/v1/banks/{bank}/references/{id:path}", response_model=ChangeAnswer, responses=CHANGED)
async def remove_reference_by_path(
    bank: BankName,
    id: ItemId,
    response: Response,
    context: Given,
    caller: Admin,
    why: WhyQuery = "",
    wait: WaitQuery = WAIT,
) -> ChangeAnswer:
    """Take a reference out of a bank; use `DELETE /v1/references?bank=&id=` where others chose the id."""
    return await remove_reference(bank, id, response, context, caller, why, wait)
