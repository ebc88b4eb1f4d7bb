"""`/review`: the queues of flagged items, pair by pair, and what its script asks for: tasks, with all that is shown.

A page is a *seat*: two tabs of one person get different items, as two persons do. A seat keeps what it was given for
LEASE_SECONDS, and asks again in time while somebody sits there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.records import Matched
from neardup.pipeline.log.verdicts import is_counted
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.store.interface import FlagStore, Queued, ReviewQueue, reviewer_of, seat_of
from neardup.pipeline.types import Decision, Kind
from neardup.pipeline.where import Relation
from neardup.workers.api.auth import Reviewer, Role
from neardup.workers.api.context import Context, Given
from neardup.workers.api.models import MatchBody
from neardup.workers.api.pages.render import needs_login, render
from neardup.workers.api.routes.reviews import LEASE_SECONDS

router = APIRouter(include_in_schema=False)
MAX_TASKS = 8
_CATCH_UP_SECONDS = 0.5
Seat = Annotated[str, Field(pattern=r"^[a-z0-9]{8,32}$", description="one open page")]
Ids = Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=2000)]


class Ask(BaseModel):
    """What a seat asks for.

    passed: ids that it skipped, or has decided on a moment ago.
    """

    seat: Seat
    count: int = Field(ge=1, le=MAX_TASKS)
    passed: Ids = []
    queue: ReviewQueue = ReviewQueue.UNSURE


class Release(BaseModel):
    """What a seat gives back."""

    seat: Seat
    items: Ids


class Facts(BaseModel):
    """What is known of an item or a reference; all but the id None if the view does not hold it."""

    id: str
    kind: Kind | None = None
    seconds: float = 0.0
    original: str | None = None
    members: int = 1


class Pair(MatchBody):
    """A match. open: nobody judged it. facts: of the reference."""

    open: bool
    facts: Facts


class Task(BaseModel):
    """An item that waits, and its matches: those that nobody judged first, variants last."""

    item: Facts
    decision: Decision
    running: bool
    claimed_by: str
    mine: bool
    matches: list[Pair]


class Tasks(BaseModel):
    """Tasks, and how many items wait in each queue."""

    waiting: dict[ReviewQueue, int]
    results: list[Task]


@router.get("/review")
async def review(request: Request, queue: ReviewQueue = ReviewQueue.UNSURE) -> Response:
    """Show the page; `static/review.js` asks for tasks."""
    shown = {"lease_seconds": round(LEASE_SECONDS), "queue": queue.value}
    return needs_login(request, Role.REVIEW) or render(request, "review.html", **shown)


@router.post("/review/tasks")
async def take(ask: Ask, context: Given, caller: Reviewer) -> Tasks:
    """Give a seat the next items that no other has."""
    seat = seat_of(caller.name, ask.seat)

    def claim(store: FlagStore) -> list[Queued]:
        return store.claim(seat, ask.count, round(LEASE_SECONDS * 1000), ask.passed, ask.queue)

    return await _tasks(context, seat, await asyncio.to_thread(claim, context.store))


@router.post("/review/releases", status_code=204)
async def release(given: Release, context: Given, caller: Reviewer) -> None:
    """Take back what a seat lets go of."""

    seat = seat_of(caller.name, given.seat)

    def let_go() -> None:
        for item in given.items:
            context.store.release(seat, item)

    await asyncio.to_thread(let_go)


@router.get("/review/waiting")
async def waiting(
    context: Given,
    caller: Reviewer,
    seat: Annotated[str, Query(pattern=r"^[a-z0-9]{8,32}$")],
    count: Annotated[int, Query(ge=0, le=100)] = 12,
    queue: ReviewQueue = ReviewQueue.UNSURE,
) -> Tasks:
    """Return what comes next, whoever has it."""
    queued = await asyncio.to_thread(context.store.queue, 0, count, queue)
    return await _tasks(context, seat_of(caller.name, seat), queued)


async def _tasks(context: Context, seat: str, queued: Sequence[Queued]) -> Tasks:
    def look() -> tuple[dict[ReviewQueue, int], int]:
        return {queue: context.store.queued(queue) for queue in ReviewQueue}, context.store.applied()

    waiting, flagged = await asyncio.to_thread(look)
    await _caught_up(context, flagged)
    return Tasks(waiting=waiting, results=await context.look(lambda state: [_task(state, seat, one) for one in queued]))


async def _caught_up(context: Context, offset: int) -> None:
    """Wait for the view, where Redis is ahead of it: what was flagged a moment ago has its facts and pictures there."""
    if context.view is not None and context.applied < offset:
        await context.waiting.reached(offset, _CATCH_UP_SECONDS)


def _task(state: State, seat: str, queued: Queued) -> Task:
    matches = [
        match
        for match in queued.verdict.matches
        if is_counted(match) or _key(match) in queued.open or match.relation is Relation.VARIANT
    ]
    pairs = [_pair(state, match, _key(match) in queued.open) for match in matches]
    return Task(
        item=_facts(queued.item, state.items.named(queued.item), state),
        decision=queued.verdict.decision,
        running=queued.verdict.running,
        claimed_by=reviewer_of(queued.claimed_by),
        mine=queued.claimed_by == seat,
        matches=sorted(pairs, key=lambda pair: (not pair.open, pair.relation is Relation.VARIANT)),
    )


def _key(match: Matched) -> tuple[str, str]:
    return match.bank, match.reference


def _pair(state: State, match: Matched, is_open: bool) -> Pair:
    if match.bank == SEEN:
        facts = _facts(match.reference, state.items.named(match.reference), state)
    else:
        bank = state.banks.named(match.bank)
        held = None if bank is None else bank.collection.tables.items.named(match.reference)
        facts = _facts(match.reference, held)
    return Pair(**MatchBody.model_validate(match).model_dump(), open=is_open, facts=facts)


def _facts(id: str, item: Item | None, state: State | None = None) -> Facts:
    if item is None:
        return Facts(id=id)
    head = (state.items.get(item.head) if state else None) or item
    return Facts(id=id, kind=item.kind, seconds=item.seconds, original=head.id, members=1 + len(head.members))
