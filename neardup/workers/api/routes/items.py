"""Items: publish one to the stream, read what is known of it, its thumbnail, and take it down."""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
import time
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from neardup.pipeline.match.items import Item
from neardup.pipeline.match.state import State
from neardup.pipeline.media.fetch import check
from neardup.pipeline.media.identify import HEAD_BYTES, identify
from neardup.pipeline.messages import Event, Ignored, Redelivered, Removed, Rolling, Verdict
from neardup.workers.api.auth import Admin, Reader
from neardup.workers.api.body import raw_body, read_content
from neardup.workers.api.context import Context, Given
from neardup.workers.api.models import ID_PATTERN, ItemBody, VerdictBody, item_body, verdict_body
from neardup.workers.api.problems import Problem, responses
from neardup.workers.api.uploads import fetch_rules
from neardup.workers.erase import erase
from neardup.workers.ingest import MAX_INLINE_BYTES
from neardup.workers.source import MAX_ID_BYTES, URI_LIST

router = APIRouter(tags=["items"])
MAX_WAIT_SECONDS = 25.0
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_LOOK_SECONDS = 0.01
ItemId = Annotated[str, Path(min_length=1, max_length=256, pattern=ID_PATTERN, description="as the key in `media`")]
Wait = Annotated[float, Query(ge=0, le=MAX_WAIT_SECONDS, description="seconds to wait at most")]


class Published(BaseModel):
    """What became of an item that was sent to the stream."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"id": "cat-2", "status": "accepted", "verdict": None, "detail": ""}}
    )
    id: str
    status: str = Field(
        description="accepted: in `media`; decided: see the verdict; redelivered: it was there; ignored"
    )
    verdict: VerdictBody | None = None
    detail: str = Field(default="", description="why it was ignored")


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
    id: Annotated[str, Query(min_length=1, max_length=256, pattern=ID_PATTERN, description="the item's id")],
    bank: Annotated[str, Query(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$", description="bank to add it to")] = "seen",
    wait: Wait = 0.0,
) -> Published:
    """Send an item to the stream, and perhaps wait for what is said of it."""
    settings = context.settings
    _check_id(id)
    content = await read_content(request, settings.api_max_bytes, settings.api_body_seconds)
    headers = [("bank", bank.encode())]
    traceparent = request.headers.get("traceparent", "")
    if _TRACEPARENT.fullmatch(traceparent):
        headers.append(("traceparent", traceparent.encode()))
    if content.uri is not None:
        check(content.uri, fetch_rules(settings))
        value = content.uri.encode()
        headers.append(("content-type", URI_LIST.encode()))
    else:
        assert content.data is not None
        value = await _inline(context, id, content.data, headers)
    with context.waiting.expect(id) as answer:
        await asyncio.to_thread(context.writes.publish, id, value, headers)
        event = await answer(wait) if wait else None
    told = _published(id, event)
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

    def read(state: State) -> tuple[Item, Item, int]:
        found = _item(state, id)
        return found, state.items.get(found.head) or found, len(state.rows_of(found))

    found, head, frames = await context.look(read)
    verdict = await asyncio.to_thread(context.store.verdict, id)
    return item_body(found, head, frames, f"/v1/items/{id}/thumbnail", verdict)


@router.delete(
    "/v1/items/{id:path}",
    response_model=TakenDown,
    responses={
        202: {"model": TakenDown, "description": "It is in the log; not everyone has said yet that it is gone."},
        **responses("not-ready", "unavailable", "invalid"),
    },
)
async def take_down(response: Response, context: Given, caller: Admin, id: ItemId, wait: Wait = 2.0) -> TakenDown:
    """Take an item down: out of lookups, out of Redis, out of the blob store. Late records do not bring it back."""
    _check_id(id)
    began = time.monotonic()
    held = await context.look(lambda state: id in state.items)
    [offset] = await context.append(Removed(id=id, by=caller.name))
    # The flag worker erases what was known of it; an original that waits in `media` is known to its name alone.
    erased = asyncio.create_task(asyncio.to_thread(erase, context.blobs, [id]))
    left = [] if await context.waiting.reached(offset, wait) else ["lookups"]
    while await asyncio.to_thread(context.store.applied) < offset:
        if time.monotonic() - began > wait:
            left.append("redis")
            break
        await asyncio.sleep(_LOOK_SECONDS)
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


async def _inline(context: Context, id: str, data: bytes, headers: list[tuple[str, bytes]]) -> bytes:
    """Return what travels in the record: the content, or where it lies if it is large."""
    if identify(data[:HEAD_BYTES]) is None:
        begin = data[:8].hex(" ")
        raise Problem("media-type", f"content begins with {begin}, which is no format read here", reason="format")
    if len(data) <= MAX_INLINE_BYTES:
        return data
    sha256 = hashlib.sha256(data).digest()

    def put() -> str:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            return context.blobs.put(id, FilePath(file.name), sha256)

    uri = await asyncio.to_thread(put)
    headers += [("content-type", URI_LIST.encode()), ("sha256", sha256)]
    return uri.encode()


def _published(id: str, event: Event | None) -> Published:
    if isinstance(event, Verdict):
        return Published(id=id, status="decided", verdict=verdict_body(event))
    if isinstance(event, Rolling):
        return Published(id=id, status="decided", verdict=verdict_body(event.verdict))
    if isinstance(event, Redelivered):
        return Published(id=id, status="redelivered")
    if isinstance(event, Ignored):
        return Published(id=id, status="ignored", detail=event.why)
    return Published(id=id, status="accepted")


def _check_id(id: str) -> None:
    if len(id.encode(errors="surrogatepass")) > MAX_ID_BYTES:
        raise Problem("invalid", f"id has more than {MAX_ID_BYTES} bytes")
