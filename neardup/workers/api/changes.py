"""Changes that people ask for: checked, appended to the log, and confirmed by what was published of them.

The record names who asked for it, so the log is the audit trail. What is refused is in it too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.answers import Answer
from neardup.pipeline.log.changes import Change, check_changes
from neardup.pipeline.log.reasons import MISSING
from neardup.pipeline.types import Decision
from neardup.workers.api.context import Context
from neardup.workers.api.models import Distance
from neardup.workers.api.problems import Problem

logger = logging.getLogger(__name__)
MAX_WAIT_SECONDS = 25.0
_LOOK_SECONDS = 0.01
Why = Annotated[str, Field(max_length=1000, description="in your words; stands in the audit trail")]
WhyQuery = Annotated[str, Query(max_length=1000, description="in your words; stands in the audit trail")]
WaitQuery = Annotated[
    float, Query(ge=0, le=MAX_WAIT_SECONDS, description="seconds to wait at most, until it is applied")
]
WAIT = 5.0


class EarlierBody(BaseModel):
    """An earlier item that matches a new reference."""

    item: str
    decision: Decision
    probability: float = Field(ge=0, le=1, description="that the two show the same picture")
    distance: Distance
    silenced: bool = Field(description="an allow-list matches it too, so it is not flagged")


EXAMPLE_EARLIER: dict[str, Any] = {
    "item": "cat-2",
    "decision": "duplicate",
    "probability": 0.999,
    "distance": 0.12,
    "silenced": False,
}


class ChangeAnswer(BaseModel):
    """What became of a change."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "event": "42.0",
                "applied": True,
                "by": "ann",
                "waits": False,
                "earlier": [EXAMPLE_EARLIER],
                "left_out": 0,
                "asked": 0,
            }
        }
    )
    event: str = Field(description="its id in the log and in the audit trail")
    applied: bool = Field(description="whether this worker's view has applied it; false where that takes longer")
    by: str = Field(description="who asked for it")
    waits: bool = Field(default=False, description="of a reference that is not there yet: it holds from its arrival on")
    earlier: list[EarlierBody] = Field(default=[], description="of a new reference: earlier items that match it")
    left_out: int = Field(default=0, description="how many more earlier items there are")
    asked: int = Field(default=0, description="earlier originals that are to be proved; what matches comes in the feed")


async def change(context: Context, record: Change, wait: float = WAIT) -> Answer:
    """Append a change and wait for what it leads to, and until the store of flags shows it, where it soon does.

    Raises:
        UsageError: something is wrong with it in itself.
        Problem: it was refused.
    """
    [found] = await change_all(context, [record], wait)
    if refusal := found.refused:
        raise Problem(
            "not-found" if refusal.reason in MISSING else "conflict", refusal.words, reason=refusal.reason.value
        )
    return found


async def change_all(context: Context, records: Sequence[Change], wait: float = WAIT) -> list[Answer]:
    """Append changes and wait for what each leads to.

    Raises:
        UsageError: something is wrong with one in itself; none was appended.
    """
    check_changes(records)
    began = time.monotonic()
    offsets = await context.append(*records)
    found = [await context.waiting.change(one, max(0.0, began + wait - time.monotonic())) for one in offsets]
    if offsets:
        await shown(context, offsets[-1], began + wait)
    return found


async def shown(context: Context, offset: int, deadline: float) -> bool:
    """Return whether the store of flags came to stand for an offset before a time of the monotonic clock.

    That it cannot be asked is no failure of a change: that is in the log.
    """
    try:
        while await asyncio.to_thread(context.store.applied) < offset:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
    except DependencyError as error:
        logger.warning("whether a change is shown is not known offset=%d error=%s", offset, error)
        return False
    return True


def answer(done: Answer, by: str, response: Response) -> ChangeAnswer:
    """Return the answer to a change; 202 where it is not applied yet."""
    if done.events is None:
        response.status_code = 202
    return ChangeAnswer(
        event=f"{done.offset}.0",
        applied=done.events is not None,
        by=by,
        waits=done.waits,
        earlier=earlier_items(done),
        left_out=done.left_out,
        asked=done.asked,
    )


def earlier_items(done: Answer) -> list[EarlierBody]:
    """Return the earlier items that match a new reference."""
    return [
        EarlierBody(
            item=event.id,
            decision=event.match.decision,
            probability=min(max(event.match.probability, 0.0), 1.0),
            distance=event.match.distance,
            silenced=event.match.silenced,
        )
        for event in done.earlier
    ]
