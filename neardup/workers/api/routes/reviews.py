"""The queues of matches that wait for a person, claims on it, and what reviewers decide.

A decision is a record of the log, remembered for ever. A claim is not: it lasts for minutes, and keeps two reviewers,
which are two tokens, from getting the same item; and two seats of one reviewer, which are two open pages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from neardup.pipeline.log.changes import SEEN, Outcome, Reviewed
from neardup.pipeline.store.interface import Queued, ReviewQueue, reviewer_of, seat_of
from neardup.workers.api.auth import Caller, Reviewer
from neardup.workers.api.bounded import BoundedRoute
from neardup.workers.api.changes import WAIT, ChangeAnswer, WaitQuery, Why, answer, change
from neardup.workers.api.context import Context, Given
from neardup.workers.api.models import EXAMPLE_MATCH, VerdictBody
from neardup.workers.api.names import BankField, IdField, ItemQuery, check_known
from neardup.workers.api.problems import Problem, responses
from neardup.workers.api.routes.banks import CHANGED

router = APIRouter(tags=["review"], route_class=BoundedRoute)
LEASE_SECONDS = 300.0
QUEUE = (
    "`unsure`: what a person has to decide; `unproved`: what is unsure for want of a proof, which may still come; "
    "`all`: both, and certain duplicates"
)
SEAT_PATTERN = r"^[a-z0-9]{0,32}$"
_EXAMPLE_QUEUED: dict[str, Any] = {
    "item": "cat-2",
    "offset": 41,
    "claimed_by": "bob",
    "verdict": {
        "id": "cat-2",
        "decision": "unsure",
        "running": False,
        "allowed": "",
        "matches": [{**EXAMPLE_MATCH, "decision": "unsure", "probability": 0.6}],
    },
    "open": [{"bank": "seen", "reference": "cat-1"}],
}


class OpenMatch(BaseModel):
    """A match that nobody has judged."""

    bank: str
    reference: str


class QueuedBody(BaseModel):
    """An item that waits for a reviewer."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE_QUEUED})
    item: str
    offset: int = Field(description="of the record of the log that it was first flagged for")
    claimed_by: str = Field(description="the reviewer who looks at it, empty if nobody does")
    verdict: VerdictBody = Field(description="as of now, with what came later and what was judged")
    open: list[OpenMatch] = Field(description="what there is to decide, best first")


class Queue(BaseModel):
    """Items that wait for a reviewer, those that came first at the head."""

    items: list[QueuedBody]
    total: int = Field(description="how many wait in this queue")


class ClaimBody(BaseModel):
    """A wish for something to review."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"count": 2, "lease_seconds": 300, "passed": ["cat-7"], "seat": "", "queue": "unsure"}
        },
    )
    count: int = Field(1, ge=1, le=100, description="items wanted, those that you have among them")
    lease_seconds: float = Field(LEASE_SECONDS, ge=1, le=3600, description="after which others may have them")
    passed: list[IdField] = Field(default=[], max_length=1000, description="items to pass over, as you skipped them")
    seat: str = Field("", pattern=SEAT_PATTERN, description="one of several places of yours; each gets its own items")
    queue: ReviewQueue = Field(ReviewQueue.UNSURE, description=QUEUE)


class Released(BaseModel):
    """An item that others may have."""

    item: str


class ReviewBody(BaseModel):
    """A decision on an item and a reference that it was matched with."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"item": "cat-2", "reference": "cat-1", "outcome": "not-a-match", "bank": "seen", "why": ""}
        },
    )
    item: IdField
    reference: IdField
    outcome: Outcome = Field(description="match, not-a-match, or undo what was said of the pair before")
    bank: BankField = Field(SEEN, description="that the reference is of")
    why: Why = ""


@router.get("/v1/reviews", response_model=Queue, responses=responses("invalid", "unavailable"))
async def queue(
    context: Given,
    _: Reviewer,
    start: Annotated[int, Query(ge=0, le=10**9, description="place of the first")] = 0,
    count: Annotated[int, Query(ge=1, le=200, description="how many at most")] = 50,
    chosen: Annotated[ReviewQueue, Query(alias="queue", description=QUEUE)] = ReviewQueue.UNSURE,
) -> Queue:
    """Look at a queue, whoever has claimed what."""
    return await _queue(context, lambda: context.store.queue(start, count, chosen), chosen)


@router.post(
    "/v1/reviews/claims",
    response_model=Queue,
    responses=responses("malformed", "timeout", "too-large", "invalid", "unavailable"),
)
async def claim(body: ClaimBody, context: Given, caller: Reviewer) -> Queue:
    """Get the first items of a queue that no other reviewer looks at; what you have is among them, its time renewed."""
    lease_ms = round(1000 * body.lease_seconds)
    seat = seat_of(caller.name, body.seat)

    def take() -> list[Queued]:
        return context.store.claim(seat, body.count, lease_ms, body.passed, body.queue)

    return await _queue(context, take, body.queue)


@router.delete("/v1/reviews/claims", response_model=Released, responses=responses("invalid", "unavailable"))
async def release(
    item: ItemQuery,
    context: Given,
    caller: Reviewer,
    seat: Annotated[str, Query(pattern=SEAT_PATTERN, description="as in the claim")] = "",
) -> Released:
    """Let others have an item that you claimed; without effect if you did not."""
    await asyncio.to_thread(context.store.release, seat_of(caller.name, seat), item)
    return Released(item=item)


@router.post("/v1/reviews", response_model=ChangeAnswer, responses=CHANGED)
async def review(
    body: ReviewBody, response: Response, context: Given, caller: Reviewer, wait: WaitQuery = WAIT
) -> ChangeAnswer:
    """Decide on a match. "Not a match" is respected by every later verdict on the same contents; "undo" takes it back.

    Refused while another reviewer has claimed the item.
    """
    await check_known(context, body.item, body.reference)
    await _check_claim(context, caller, body.item)
    record = Reviewed(
        item=body.item,
        reference=body.reference,
        outcome=body.outcome,
        bank=body.bank,
        by=caller.name,
        why=body.why,
    )
    return answer(await change(context, record, wait), caller.name, response)


async def _check_claim(context: Context, caller: Caller, item: str) -> None:
    claimer = reviewer_of(await asyncio.to_thread(context.store.claimer, item))
    if claimer not in ("", caller.name):
        raise Problem(
            "conflict", f"{claimer} has claimed {item!r}", "Go on with another, or wait until it is released."
        )


async def _queue(context: Context, read: Callable[[], list[Queued]], chosen: ReviewQueue) -> Queue:
    found = await asyncio.to_thread(read)
    return Queue(items=_bodies(found), total=await asyncio.to_thread(context.store.queued, chosen))


def _bodies(found: Sequence[Queued]) -> list[QueuedBody]:
    return [
        QueuedBody(
            item=one.item,
            offset=one.offset,
            claimed_by=reviewer_of(one.claimed_by),
            verdict=VerdictBody.model_validate(one.verdict),
            open=[
                OpenMatch(bank=match.bank, reference=match.reference)
                for match in one.verdict.matches
                if (match.bank, match.reference) in one.open
            ],
        )
        for one in found
    ]
