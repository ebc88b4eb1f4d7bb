"""Items: publish one to the stream, read what is known of it, its thumbnail, and take it down."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from neardup.pipeline.changes import SEEN
from neardup.pipeline.match.items import Item
from neardup.pipeline.match.state import State
from neardup.pipeline.messages import Envelope, Ignored, Redelivered, Referenced, Removed, Rolling, Verdict
from neardup.workers.api.auth import Admin, Reader
from neardup.workers.api.body import raw_body, read_content
from neardup.workers.api.changes import EXAMPLE_EARLIER, MAX_WAIT_SECONDS, EarlierBody, WhyQuery, earlier_items, shown
from neardup.workers.api.context import Given
from neardup.workers.api.models import ItemBody, VerdictBody, item_body, verdict_body
from neardup.workers.api.names import BANK_PATTERN, ItemId, ItemQuery
from neardup.workers.api.problems import Problem, responses
from neardup.workers.api.sending import send
from neardup.workers.erase import erase

router = APIRouter(tags=["items"])
Wait = Annotated[float, Query(ge=0, le=MAX_WAIT_SECONDS, description="seconds to wait at most")]


class Published(BaseModel):
    """What became of an item that was sent to the stream."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "cat-2",
                "status": "referenced",
                "verdict": None,
                "detail": "",
                "earlier": [EXAMPLE_EARLIER],
                "left_out": 0,
            }
        }
    )
    id: str
    status: Literal["accepted", "decided", "referenced", "redelivered", "ignored"] = Field(
        description="in `media`, no answer yet; decided, see the verdict; a reference now; it was there; see `detail`"
    )
    verdict: VerdictBody | None = None
    detail: str = Field(default="", description="why it was ignored, in words")
    reason: str = Field(default="", description="why it was ignored, for programs, such as `taken-down`")
    earlier: list[EarlierBody] = Field(default=[], description="of a new reference: earlier items that match it")
    left_out: int = Field(default=0, description="how many more earlier items there are")


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
        200: {"model": Published, "description": "The verdict is there."},
        **responses("malformed", "timeout", "too-large", "media-type", "bad-media", "invalid", "unavailable"),
    },
)
async def publish(
    request: Request,
    response: Response,
    context: Given,
    _: Admin,
    id: ItemQuery,
    bank: Annotated[str, Query(pattern=BANK_PATTERN, description="bank to add it to")] = SEEN,
    wait: Wait = 0.0,
) -> Published:
    """Send an item to the stream, and perhaps wait for what is said of it.

    A bank that is not there is made. To add a reference with a note, and to have it in the audit trail who did, use
    `PUT /v1/banks/{bank}/references/{id}`.
    """
    settings = context.settings
    content = await read_content(request, settings.api_max_bytes, settings.api_body_seconds)
    told = published(id, bank, await send(context, content, id, bank, wait, request.headers.get("traceparent", "")))
    response.status_code = 202 if told.status == "accepted" else 200
    return told


@router.get(
    "/v1/items/{id:path}/thumbnail",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        **responses("not-found", "not-ready", "unavailable", "invalid"),
    },
)
async def thumbnail(context: Given, _: Reader, id: ItemId) -> Response:
    """Return a small JPEG of an item."""
    item = await context.look(lambda state: _item(state, id))
    live = item.kind is not None and not item.ranges
    jpeg = await asyncio.to_thread(context.blobs.thumbnail, id, "live" if live else item.sha256.hex())
    if jpeg is None:
        raise Problem("not-found", f"no thumbnail of {id!r}", "Workers make none while NEARDUP_THUMBNAIL_SIDE is 0.")
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=60"})


@router.get(
    "/v1/items/{id:path}",
    response_model=ItemBody,
    responses=responses("not-found", "not-ready", "unavailable", "invalid"),
)
async def item(context: Given, _: Reader, id: ItemId) -> ItemBody:
    """Return what is known of an item."""

    verdict = await asyncio.to_thread(context.store.verdict, id)

    def read(state: State) -> ItemBody:
        found = _item(state, id)
        head, frames = state.stars.head_of(found), len(state.rows_of(found))
        banks = [bank.settings.name for bank in state.banks if id in bank.shelf.tables.items]
        return item_body(found, head, frames, f"/v1/items/{quote(id)}/thumbnail", banks, verdict)

    return await context.look(read)


@router.delete(
    "/v1/items/{id:path}",
    response_model=TakenDown,
    responses={
        202: {"model": TakenDown, "description": "It is in the log; not everyone has said yet that it is gone."},
        **responses("not-found", "not-ready", "unavailable", "invalid"),
    },
)
async def take_down(
    response: Response, context: Given, caller: Admin, id: ItemId, why: WhyQuery = "", wait: Wait = 2.0
) -> TakenDown:
    """Take an item down: out of lookups, out of Redis, out of the blob store. Late records do not bring it back."""
    began = time.monotonic()
    held = await context.look(lambda state: id in state.items)
    [offset] = await context.append(Removed(id=id, by=caller.name, why=why))
    # The flag worker erases what was known of it; an original that waits in `media` is known to its name alone.
    erased = asyncio.create_task(asyncio.to_thread(erase, context.blobs, [id]))
    left = [] if await context.waiting.reached(offset, wait) else ["lookups"]
    if not await shown(context, offset, began + wait):
        left.append("redis")
    await erased
    response.status_code = 202 if left else 200
    return TakenDown(
        id=id, gone=not left, was_held=held, left_in=left, offset=offset, seconds=round(time.monotonic() - began, 3)
    )


def _item(state: State, id: str) -> Item:
    found = state.items.named(id)
    if found is None:
        raise Problem("not-found", f"no item {id!r}")
    return found


def published(id: str, bank: str, envelope: Envelope | None) -> Published:
    """Return what became of an item, given what it was answered with; None if that took too long."""
    for event in () if envelope is None else envelope.events:
        if isinstance(event, Verdict) and event.id == id and bank == SEEN:
            return Published(id=id, status="decided", verdict=verdict_body(event))
        if isinstance(event, Rolling) and event.verdict.id == id and bank == SEEN:
            return Published(id=id, status="decided", verdict=verdict_body(event.verdict))
        if isinstance(event, Referenced) and (event.id, event.bank) == (id, bank):
            earlier, left_out = earlier_items(envelope) if envelope else ([], 0)
            return Published(id=id, status="referenced", earlier=earlier, left_out=left_out)
        if isinstance(event, Redelivered) and event.id == id:
            return Published(id=id, status="redelivered")
        if isinstance(event, Ignored) and event.id == id:
            return Published(id=id, status="ignored", detail=event.why, reason=event.ignored_for.value)
    return Published(id=id, status="accepted")
