"""`GET /v1/pictures`: what an item looks like, at a size and, of a video, at a time; for people.

The id is a parameter, since no path can hold every id. References of curated banks have pictures too.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Response

from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.data.items import Item
from neardup.workers.api.auth import Reader
from neardup.workers.api.context import Context, Given
from neardup.workers.api.names import ItemQuery, OfBank, check_known
from neardup.workers.api.originals import WantedContent
from neardup.workers.api.problems import Problem, responses

router = APIRouter(tags=["items"])
MAX_SIDE = 2048
_CACHED = "private, max-age=300"


@dataclass(frozen=True, slots=True)
class Found:
    """The content that shows an item, and whether that is a live video."""

    place: WantedContent
    live: bool


@router.get(
    "/v1/pictures",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        **responses("not-found", "not-ready", "unavailable", "invalid"),
    },
)
async def picture(
    context: Given,
    _: Reader,
    id: ItemQuery,
    bank: OfBank = SEEN,
    side: Annotated[int, Query(ge=16, le=MAX_SIDE, description="longer side at most, in pixels")] = 320,
    at: Annotated[float | None, Query(ge=0, le=1e6, description="second of a video")] = None,
) -> Response:
    """Return a JPEG of an item: of the original while it is held, else its thumbnail."""
    await check_known(context, id)
    found = await context.look(lambda state: find(state, bank, id))
    jpeg = None
    if at is None and (found.live or side <= context.settings.thumbnail_side):
        jpeg = await _thumbnail(context, found)
    if jpeg is None and context.originals is not None and not found.live:
        jpeg = await asyncio.wrap_future(context.originals.picture(found.place, at or 0.0, side))
    if jpeg is None and at is None:
        jpeg = await _thumbnail(context, found)
    if jpeg is None:
        raise Problem(
            "not-found", f"no picture of {id!r}", "Its original is not held any more, and it has no thumbnail."
        )
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": _CACHED})


def find(state: State, bank: str, id: str) -> Found:
    """Return which content shows an item, or a reference of a bank."""
    held = state.items.named(id)
    item = held if bank == SEEN else _reference(state, bank, id)
    if item is None:
        raise Problem("not-found", f"no item {id!r}" if bank == SEEN else f"no reference {id!r} in bank {bank}")
    # A reference that was made of an upload has no record of its own in `media`.
    same = [one.source for one in (item, held) if one is not None and one.sha256 == item.sha256]
    return Found(WantedContent(id, item.sha256, tuple(dict.fromkeys(same))), _is_live(item))


def _reference(state: State, bank: str, id: str) -> Item | None:
    known = state.banks.named(bank)
    return None if known is None else known.collection.tables.items.named(id)


def _is_live(item: Item) -> bool:
    return not item.ranges


async def _thumbnail(context: Context, found: Found) -> bytes | None:
    version = "live" if found.live else found.place.sha256.hex()
    return await asyncio.to_thread(context.blobs.thumbnail, found.place.id, version)
