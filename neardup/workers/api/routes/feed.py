"""`GET /v1/feed`: flagged items as they come, as server-sent events.

An event's id is its event's in the log; a browser sends the last one that it saw when it connects again. Delivery is at
least once, and the ids make it once.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from neardup.pipeline.store.interface import FeedEntry, counts_in
from neardup.pipeline.types import Decision
from neardup.workers.api.auth import Reader
from neardup.workers.api.context import Given
from neardup.workers.api.models import VerdictBody
from neardup.workers.api.problems import responses

router = APIRouter(tags=["feed"])
IDLE_SECONDS = 15.0
EVENT_ID = r"^([0-9]{1,15}\.[0-9]{1,9}|0)?$"


@router.get(
    "/v1/feed",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events: `id`, `event` (the decision), `data` (JSON: a verdict; `at_ms`, the log's time; "
            "`retro`, whether it was flagged for a reference that came later), for as long as you stay.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **responses("invalid", "unavailable"),
    },
)
async def feed(
    context: Given,
    _: Reader,
    last_event_id: Annotated[str, Header(pattern=EVENT_ID, description="go on after this event")] = "",
    after: Annotated[
        str, Query(pattern=EVENT_ID, description="the same; 0 is the beginning, without it: from now on")
    ] = "",
    bank: Annotated[str, Query(max_length=64, description="only where a match of this bank counts")] = "",
    decision: Annotated[Decision | None, Query(description="only these")] = None,
    limit: Annotated[int, Query(ge=0, le=100_000, description="end after so many; 0 does not end")] = 0,
    idle: Annotated[
        float, Query(gt=0, le=60, description="seconds after which a comment says that all is well")
    ] = IDLE_SECONDS,
) -> StreamingResponse:
    """Tell what is flagged, as it is flagged."""
    begin = last_event_id or after
    begin = "" if begin == "0" else begin or await context.hub.now()

    async def events() -> AsyncIterator[str]:
        sent = 0
        yield "retry: 2000\n\n"
        async for entry in context.hub.entries(begin, idle):
            if entry is None:
                yield ": nothing new\n\n"
            elif counts_in(entry, bank, decision):
                told_of = {**VerdictBody.model_validate(entry.verdict).model_dump(mode="json"), **_when(entry)}
                data = json.dumps(told_of, separators=(",", ":"))
                yield f"id: {entry.event}\nevent: {entry.verdict.decision.value}\ndata: {data}\n\n"
                sent += 1
                if sent == limit:
                    return

    return StreamingResponse(events(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _when(entry: FeedEntry) -> dict[str, Any]:
    return {"at_ms": entry.at_ms, "retro": entry.retro}
