"""`GET /v1/audit`: who changed what, and why: each change and each decision, and what was refused.

The entries are records of the log; what is read here is the copy in Redis, which is rebuilt from there.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from neardup.pipeline.log.records import key_of
from neardup.pipeline.store.interface import AuditEntry
from neardup.workers.api.auth import Reviewer
from neardup.workers.api.context import Given
from neardup.workers.api.problems import responses

router = APIRouter(tags=["audit"])
EVENT_ID = r"^([0-9]{1,15}\.[0-9]{1,9})?$"
_SHOWN_APART = ("type", "by", "why", "calibration")


class AuditBody(BaseModel):
    """A change, or one that was refused."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "event": "42.0",
                "at_ms": 1798761600000,
                "kind": "reviewed",
                "about": "cat-2",
                "by": "bob",
                "why": "another cat",
                "refused": "",
                "reason": "",
                "waits": False,
                "change": {"item": "cat-2", "reference": "cat-1", "outcome": "not-a-match"},
            }
        }
    )
    event: str = Field(description="its id in the log")
    at_ms: int = Field(description="when the log took it, milliseconds since 1970")
    kind: str = Field(
        description="bank-changed, reference-changed, reviewed, cluster-edited, calibrated, or removed: a takedown"
    )
    about: str = Field(description="the item, reference or bank")
    by: str = Field(description="who asked for it; empty where that is not known")
    why: str = Field(description="in their words")
    refused: str = Field(description="why it was not made; empty if it was")
    reason: str = Field(description="the same for programs, such as `no-item`; empty if it was made")
    waits: bool = Field(description="of a reference that was not there yet: it holds from its arrival on")
    change: dict[str, Any] = Field(description="what was asked for; see the calls that make such changes")


class Audit(BaseModel):
    """The newest entries before a place."""

    entries: list[AuditBody]
    next: str | None = Field(description="`before` of the entries that come next, which are older; null with the last")


@router.get("/v1/audit", response_model=Audit, responses=responses("invalid", "unavailable"))
async def audit(
    context: Given,
    _: Reviewer,
    before: Annotated[str, Query(pattern=EVENT_ID, description="older than this event; empty is the newest")] = "",
    count: Annotated[int, Query(ge=1, le=500, description="how many at most")] = 50,
) -> Audit:
    """Tell who changed what, the newest first."""
    found = await asyncio.to_thread(context.store.audit, before, count + 1)
    more = len(found) > count
    return Audit(entries=[_body(one) for one in found[:count]], next=found[count - 1].event if more else None)


def _body(entry: AuditEntry) -> AuditBody:
    record = entry.changed.record
    fields = msgspec.to_builtins(record)
    return AuditBody(
        event=entry.event,
        at_ms=entry.at_ms,
        kind=fields["type"],
        about=key_of(record),
        by=record.by,
        why=record.why,
        refused=entry.changed.refused,
        reason=refusal.value if (refusal := entry.changed.refused_for) else "",
        waits=entry.changed.waits,
        change={name: value for name, value in fields.items() if name not in _SHOWN_APART},
    )
