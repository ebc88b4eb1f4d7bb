"""Items: publish one to the stream, read what is known of it, its thumbnail, and take it down.

Each call has two forms: the id as a parameter, which carries every id as it is, and for short the id in the path.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from neardup.pipeline.log.answers import Answer
from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.records import Ignored, Redelivered, Referenced, Removed, Rolling, Verdict
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.store.interface import DeadLetter
from neardup.pipeline.types import Decision
from neardup.workers.api import bank_rows
from neardup.workers.api.auth import Admin, Reader
from neardup.workers.api.body import raw_body, read_content
from neardup.workers.api.changes import EXAMPLE_EARLIER, MAX_WAIT_SECONDS, EarlierBody, WhyQuery, earlier_items, shown
from neardup.workers.api.context import Context, Given
from neardup.workers.api.models import (
    EXAMPLE_DEAD_LETTER,
    DeadLetterBody,
    ItemBody,
    VerdictBody,
    item_body,
)
from neardup.workers.api.names import BANK_PATTERN, ItemId, ItemQuery, NewQuery, OfBank, check_known
from neardup.workers.api.problems import Problem, responses
from neardup.workers.api.sending import send
from neardup.workers.flag.erase import Gone, erase

router = APIRouter(tags=["items"])
Wait = Annotated[float, Query(ge=0, le=MAX_WAIT_SECONDS, description="seconds to wait at most")]


class OpenPair(BaseModel):
    """A reference that an item is being proved against."""

    model_config = ConfigDict(json_schema_extra={"example": {"bank": "seen", "reference": "cat-1"}})
    bank: str
    reference: str


class Published(BaseModel):
    """What became of an item that was sent to the stream."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "cat-2",
                "status": "referenced",
                "verdict": None,
                "reason": "",
                "detail": "",
                "earlier": [EXAMPLE_EARLIER],
                "left_out": 0,
                "asked": 0,
                "open": [],
            }
        }
    )
    id: str
    status: Literal["accepted", "pending", "decided", "referenced", "redelivered", "ignored", "dead-letter"] = Field(
        description="in `media`, no answer yet; it waits for proofs, see `open`; decided, see the verdict; "
        "a reference now; it was there with the same bytes, see the verdict on it; see `detail`; it could not be used, "
        "see `reason` and `detail`"
    )
    verdict: VerdictBody | None = None
    reason: str = Field(
        default="",
        description="why it was ignored or could not be used, for programs, such as `taken-down` or `format`",
    )
    detail: str = Field(default="", description="the same in words")
    earlier: list[EarlierBody] = Field(default=[], description="of a new reference: earlier items that match it")
    left_out: int = Field(default=0, description="how many more earlier items there are")
    asked: int = Field(default=0, description="earlier originals that are to be proved; what matches comes in the feed")
    open: list[OpenPair] = Field(default=[], description="pairs that wait for a proof")


class ItemStatus(BaseModel):
    """How far an item is, or a reference of a bank."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"id": "cat-2", "bank": "seen", "status": "dead-letter", "verdict": None, **EXAMPLE_DEAD_LETTER}
        }
    )
    id: str
    bank: str
    status: Literal["decided", "pending", "referenced", "taken-down", "dead-letter"] = Field(
        description="it is there, see the verdict; it waits for proofs, see `open`; a reference; taken down; "
        "its newest record could not be used"
    )
    verdict: VerdictBody | None = Field(default=None, description="what was said of it, while Redis keeps that")
    reason: str = Field(default="", description="of a dead letter")
    detail: str = Field(default="", description="of a dead letter, in words")
    at_ms: int = Field(default=0, description="of a dead letter, milliseconds since 1970")
    open: list[OpenPair] = Field(default=[], description="pairs that wait for a proof")


class TakenDown(BaseModel):
    """How far a takedown got."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"id": "cat-2", "gone": True, "was_held": True, "left_in": [], "offset": 42, "seconds": 0.2}
        }
    )
    id: str
    gone: bool = Field(description="whether it is gone everywhere")
    was_held: bool = Field(description="whether this worker's view had it")
    left_in: list[str] = Field(description="where it may still be: `lookups`, `redis`")
    offset: int = Field(description="of the takedown in the log")
    seconds: float = Field(description="that it took")


@router.post(
    "/v1/items",
    response_model=Published,
    status_code=202,
    openapi_extra=raw_body(with_form=False),
    responses={
        200: {"model": Published, "description": "It was dealt with: `status` says how."},
        **responses("malformed", "timeout", "too-large", "media-type", "bad-media", "invalid", "unavailable"),
    },
)
async def publish(
    request: Request,
    response: Response,
    context: Given,
    _: Admin,
    id: NewQuery,
    bank: Annotated[str, Query(pattern=BANK_PATTERN, description="bank to add it to")] = SEEN,
    wait: Wait = 0.0,
) -> Published:
    """Send an item to the stream, and perhaps wait for what is said of it.

    A bank that is not there is made. To add a reference with a note, and to have it in the audit trail who did, use
    `PUT /v1/references`.
    """
    began = time.monotonic()
    settings = context.settings
    content = await read_content(request, settings.api_max_bytes, settings.api_body_seconds)
    found = await send(context, content, id, bank, wait, request.headers.get("traceparent", ""))
    told = published(id, bank, found)
    if told.status == "redelivered" and bank == SEEN and isinstance(found, Answer):
        told.verdict = await _said_before(context, id, found.offset, began + wait)
    if told.status == "accepted" and wait and bank == SEEN:
        told.open = await context.look(lambda state: open_pairs(state, id))
        told.status = "pending" if told.open else "accepted"
    response.status_code = 202 if told.status in ("accepted", "pending") else 200
    return told


@router.get(
    "/v1/thumbnails",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        **responses("not-found", "not-ready", "unavailable", "invalid"),
    },
)
async def thumbnail(context: Given, _: Reader, id: ItemQuery) -> Response:
    """Return a small JPEG of an item."""
    await check_known(context, id)
    item = await context.look(lambda state: _item(state, id))
    live = item.kind is not None and not item.ranges
    jpeg = await asyncio.to_thread(context.blobs.thumbnail, id, "live" if live else item.sha256.hex())
    if jpeg is None:
        raise Problem("not-found", f"no thumbnail of {id!r}", "Workers make none while NEARDUP_THUMBNAIL_SIDE is 0.")
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=60"})


@router.get(
    "/v1/items/{id:path}/thumbnail",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        **responses("not-found", "not-ready", "unavailable", "invalid"),
    },
)
async def thumbnail_by_path(context: Given, reader: Reader, id: ItemId) -> Response:
    """Return a small JPEG of an item; `GET /v1/thumbnails?id=` for any id."""
    return await thumbnail(context, reader, id)


@router.get(
    "/v1/status",
    response_model=ItemStatus,
    responses=responses("not-found", "not-ready", "unavailable", "invalid"),
)
async def status(context: Given, _: Reader, id: ItemQuery, bank: OfBank = SEEN) -> ItemStatus:
    """Say how far an item is, or a reference of a bank; also of one that could not be used, for some days."""
    await check_known(context, id)
    letter = await dead_letter(context, id, bank)
    if letter is not None:
        told = DeadLetterBody.model_validate(letter).model_dump()
        return ItemStatus(id=id, bank=bank, status="dead-letter", **told)
    verdict = await asyncio.to_thread(context.store.verdict, id) if bank == SEEN else None

    def read(state: State) -> ItemStatus:
        if bank != SEEN:
            if id not in bank_rows.bank_of(state, bank).collection.tables.items:
                raise Problem("not-found", f"bank {bank} has no reference {id!r}")
            return ItemStatus(id=id, bank=bank, status="referenced")
        if id in state.taken_down:
            return ItemStatus(id=id, bank=bank, status="taken-down")
        _item(state, id)
        said = None if verdict is None else VerdictBody.model_validate(verdict)
        waits = [] if said else open_pairs(state, id)
        return ItemStatus(id=id, bank=bank, status="pending" if waits else "decided", verdict=said, open=waits)

    return await context.look(read)


@router.get(
    "/v1/items/{id:path}/status",
    response_model=ItemStatus,
    responses=responses("not-found", "not-ready", "unavailable", "invalid"),
)
async def status_by_path(context: Given, reader: Reader, id: ItemId, bank: OfBank = SEEN) -> ItemStatus:
    """Say how far an item is; `GET /v1/status?id=` for any id."""
    return await status(context, reader, id, bank)


@router.get(
    "/v1/items",
    response_model=ItemBody,
    responses=responses("not-found", "not-ready", "unavailable", "invalid"),
)
async def item(context: Given, _: Reader, id: ItemQuery) -> ItemBody:
    """Return what is known of an item; of one that could not be used a problem with the reason, for some days."""
    await check_known(context, id)
    letter = await dead_letter(context, id, SEEN)
    verdict = await asyncio.to_thread(context.store.verdict, id)

    def read(state: State) -> ItemBody:
        found = state.items.named(id)
        if found is None and letter is not None:
            raise Problem("dead-letter", f"{id!r}: {letter.detail}", reason=letter.reason)
        found = _item(state, id)
        head, frames = state.stars.head_of(found), len(state.rows_of(found))
        banks = [bank.settings.name for bank in state.banks if id in bank.collection.tables.items]
        return item_body(found, head, frames, f"/v1/thumbnails?id={quote(id, safe='')}", banks, verdict, letter)

    return await context.look(read)


@router.get(
    "/v1/items/{id:path}",
    response_model=ItemBody,
    responses=responses("not-found", "not-ready", "unavailable", "invalid"),
)
async def item_by_path(context: Given, reader: Reader, id: ItemId) -> ItemBody:
    """Return what is known of an item; `GET /v1/items?id=` for any id."""
    return await item(context, reader, id)


@router.delete(
    "/v1/items",
    response_model=TakenDown,
    responses={
        202: {"model": TakenDown, "description": "It is in the log; not everyone has said yet that it is gone."},
        **responses("not-found", "not-ready", "unavailable", "invalid"),
    },
)
async def take_down(
    response: Response, context: Given, caller: Admin, id: ItemQuery, why: WhyQuery = "", wait: Wait = 2.0
) -> TakenDown:
    """Take an item down: out of lookups, out of Redis, out of the blob store. Late records do not bring it back."""
    await check_known(context, id)
    began = time.monotonic()
    held = await context.look(lambda state: id in state.items)
    [offset] = await context.append(Removed(id=id, by=caller.name, why=why))
    # The flag worker erases what was known of it; an original that waits in `media` is known to its name alone.
    erased = asyncio.create_task(asyncio.to_thread(erase, context.blobs, Gone(frozenset([id]))))
    left = [] if await context.waiting.reached(offset, wait) else ["lookups"]
    if not await shown(context, offset, began + wait):
        left.append("redis")
    await erased
    response.status_code = 202 if left else 200
    return TakenDown(
        id=id, gone=not left, was_held=held, left_in=left, offset=offset, seconds=round(time.monotonic() - began, 3)
    )


@router.delete(
    "/v1/items/{id:path}",
    response_model=TakenDown,
    responses={
        202: {"model": TakenDown, "description": "It is in the log; not everyone has said yet that it is gone."},
        **responses("not-found", "not-ready", "unavailable", "invalid"),
    },
)
async def take_down_by_path(
    response: Response, context: Given, caller: Admin, id: ItemId, why: WhyQuery = "", wait: Wait = 2.0
) -> TakenDown:
    """Take an item down; use `DELETE /v1/items?id=` where others chose the id: clients and proxies rewrite paths."""
    return await take_down(response, context, caller, id, why, wait)


async def dead_letter(context: Context, id: str, bank: str) -> DeadLetter | None:
    """Return the dead letter of an item, or of a reference of a bank, unless something newer of it is known."""
    letter = await asyncio.to_thread(context.store.dead_letter, id, bank)
    if letter is None:
        return None
    place = letter.partition, letter.offset

    def is_newest(state: State) -> bool:
        collection = state.seen if bank == SEEN else None
        known = state.banks.named(bank)
        if known is not None:
            collection = known.collection
        found = None if collection is None else collection.tables.items.named(id)
        return found is None or (found.source[0] == place[0] and found.source[1] < place[1])

    return letter if await context.look(is_newest) else None


async def _said_before(context: Context, id: str, offset: int, deadline: float) -> VerdictBody | None:
    """Return what was said of an item that came again by a record of the log; None if Redis is not that far."""
    if not await shown(context, offset, deadline):
        return None
    verdict = await asyncio.to_thread(context.store.verdict, id)
    # What Redis forgets is distinct and has been for long, see `NEARDUP_KEEP_DISTINCT_DAYS`.
    return VerdictBody.model_validate(verdict or Verdict(id=id, decision=Decision.DISTINCT))


def open_pairs(state: State, id: str) -> list[OpenPair]:
    """Return what an item is being proved against; nothing if it does not wait."""
    found = state.items.named(id)
    waiting = None if found is None else state.undecided.get(found.offset, found.number)
    pairs = () if waiting is None else waiting.pairs
    return [OpenPair(bank=one.candidate.bank, reference=one.candidate.reference) for one in pairs if one.open]


def _item(state: State, id: str) -> Item:
    found = state.items.named(id)
    if found is None:
        raise Problem("not-found", f"no item {id!r}")
    return found


def published(id: str, bank: str, answer: Answer | DeadLetter | None) -> Published:
    """Return what became of an item, given what it was answered with; None if that took too long."""
    if isinstance(answer, DeadLetter):
        return Published(id=id, status="dead-letter", reason=answer.reason, detail=answer.detail)
    event = answer.to_item(id, bank) if answer else None
    if isinstance(event, Rolling):
        event = event.verdict
    if isinstance(event, Verdict):
        return Published(id=id, status="decided", verdict=VerdictBody.model_validate(event))
    if isinstance(event, Referenced) and answer:
        earlier = earlier_items(answer)
        return Published(id=id, status="referenced", earlier=earlier, left_out=answer.left_out, asked=answer.asked)
    if isinstance(event, Redelivered):
        return Published(id=id, status="redelivered")
    if isinstance(event, Ignored):
        return Published(id=id, status="ignored", detail=event.why, reason=event.ignored_for.value)
    return Published(id=id, status="accepted")
