"""Clusters: an original and its copies; split, merged, and given another original by hand."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from neardup.pipeline.log.changes import ClusterEdit, ClusterEdited
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.match.query.similar import least_distance
from neardup.pipeline.types import Kind
from neardup.workers.api.auth import Reader, Reviewer
from neardup.workers.api.bounded import BoundedRoute
from neardup.workers.api.changes import WAIT, ChangeAnswer, WaitQuery, Why, answer, change
from neardup.workers.api.context import Given
from neardup.workers.api.models import Distance
from neardup.workers.api.names import IdField, ItemQuery, check_known
from neardup.workers.api.problems import Problem, responses
from neardup.workers.api.routes.banks import CHANGED

router = APIRouter(tags=["clusters"], route_class=BoundedRoute)
MOST_LISTED = 200
_EXAMPLE_MEMBER: dict[str, Any] = {"id": "cat-2", "kind": "image", "seconds": 0.0, "sha256": "9f86…", "distance": 0.12}


class MemberBody(BaseModel):
    """An item of a cluster."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE_MEMBER})
    id: str
    kind: Kind
    seconds: float = Field(description="duration of a video, 0 of an image")
    sha256: str = Field(description="of its content")
    distance: Distance = Field(description="of the closest pair of descriptors, to the original")


class ClusterBody(BaseModel):
    """An original and the items that copy it as a whole."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "original": {**_EXAMPLE_MEMBER, "id": "cat-1", "distance": 0.0},
                "members": [_EXAMPLE_MEMBER],
                "start": 0,
                "total": 1,
            }
        }
    )
    original: MemberBody = Field(description="the head, which later items are compared with")
    members: list[MemberBody] = Field(description="its copies, in order of arrival")
    start: int = Field(description="place of the first of these")
    total: int = Field(description="how many copies there are")


class EditBody(BaseModel):
    """A change of a cluster by hand."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"item": "cat-2", "edit": "merge", "into": "cat-9", "why": ""}}
    )
    item: IdField
    edit: ClusterEdit = Field(
        description="split: it stands alone; merge: its cluster joins that of `into`; head: it is the original"
    )
    into: IdField | None = Field(None, description="with merge: any item of the cluster that the other joins")
    why: Why = ""


@router.get("/v1/clusters", response_model=ClusterBody, responses=responses("not-found", "invalid", "not-ready"))
async def cluster(
    item: ItemQuery,
    context: Given,
    _: Reader,
    start: Annotated[int, Query(ge=0, le=10**9, description="place of the first copy")] = 0,
    count: Annotated[int, Query(ge=1, le=MOST_LISTED, description="how many copies at most")] = 100,
) -> ClusterBody:
    """Return the cluster that an item stands in, alone or not."""
    await check_known(context, item)

    def read(state: State) -> ClusterBody:
        found = state.items.named(item)
        if found is None:
            raise Problem("not-found", f"no item {item!r}")
        head = state.stars.head_of(found)
        numbers = islice(head.members, start, start + count)
        members = [one for number in numbers if (one := state.items.get(number)) is not None]
        return ClusterBody(
            original=_member(state, head, head),
            members=[_member(state, head, one) for one in members],
            start=start,
            total=len(head.members),
        )

    return await context.look(read)


@router.post("/v1/clusters/edits", response_model=ChangeAnswer, responses=CHANGED)
async def edit_cluster(
    body: EditBody, response: Response, context: Given, caller: Reviewer, wait: WaitQuery = WAIT
) -> ChangeAnswer:
    """Split an item off its cluster, merge two clusters, or choose the original."""
    if (body.into is None) == (body.edit is ClusterEdit.MERGE):
        raise Problem("invalid", "`into` goes with merge, and merge with `into`")
    await check_known(context, body.item, *([] if body.into is None else [body.into]))
    record = ClusterEdited(item=body.item, edit=body.edit, into=body.into or "", by=caller.name, why=body.why)
    return answer(await change(context, record, wait), caller.name, response)


def _member(state: State, head: Item, item: Item) -> MemberBody:
    return MemberBody(
        id=item.id,
        kind=item.kind,
        seconds=item.seconds,
        sha256=item.sha256.hex(),
        distance=0.0 if item is head else least_distance(state, head, item),
    )
