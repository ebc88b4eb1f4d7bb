"""`/clusters`: an original and its copies; take one out, choose another original, put two clusters together.

Plain forms: the page works without its script, which adds keys and a closer look at a pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import unquote, urlencode

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from neardup.pipeline.errors import UsageError
from neardup.pipeline.log.changes import ClusterEdit, ClusterEdited
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.match.query.lookup import compare_stored
from neardup.pipeline.match.query.similar import Query as SimilarQuery
from neardup.pipeline.match.query.similar import Similar, similar, vectors_of_item
from neardup.workers.api.auth import Role, who
from neardup.workers.api.changes import WAIT, change
from neardup.workers.api.context import Given
from neardup.workers.api.models import MatchBody
from neardup.workers.api.names import check_known
from neardup.workers.api.pages.render import needs_login, render
from neardup.workers.api.problems import Problem

router = APIRouter(include_in_schema=False)
PAGE = 24
NEAR = 8
Id = Annotated[str, Query(max_length=256)]
Told = Annotated[str, Query(max_length=256)]


@dataclass(frozen=True, slots=True)
class _Cluster:
    """What is shown. members: of one page, with what a comparison with the original says now."""

    head: Item
    count: int
    members: list[tuple[Item, dict[str, object]]]
    near: list[Similar]


@router.get("/clusters")
async def cluster(
    request: Request,
    context: Given,
    item: Id = "",
    start: Annotated[int, Query(ge=0)] = 0,
    done: Annotated[ClusterEdit | None, Query()] = None,
    moved: Told = "",
    before: Told = "",
    later: bool = False,
) -> Response:
    """Show the cluster of an item.

    Args:
        done: what was just done, to `moved`, which stood under `before`; `later`: it is not to be seen here yet.
    """
    if (away := needs_login(request, Role.READ)) is not None:
        return away
    parameters = {"done": done, "moved": moved, "before": before, "later": later}
    return await _page(request, context, item, start, **parameters)


@router.post("/clusters/edits")
async def edit(
    request: Request,
    context: Given,
    item: Annotated[str, Form(min_length=1, max_length=768)],
    edit: Annotated[ClusterEdit, Form()],
    into: Annotated[str, Form(max_length=256)] = "",
    back: Annotated[str, Form(max_length=768)] = "",
) -> Response:
    """Change a cluster, and show that of `back` or of the item.

    Both are percent-encoded: a form would change the line end that an old id may hold.
    """
    if (away := needs_login(request, Role.REVIEW)) is not None:
        return away
    caller = who(request)
    assert caller is not None
    item, back = unquote(item), unquote(back)
    before = await context.look(lambda state: _head_id(state, item))
    record = ClusterEdited(item=item, edit=edit, into=into.strip(), by=caller.name)
    try:
        await check_known(context, item, *filter(None, [record.into]))
        done = await change(context, record, WAIT)
    except Problem as problem:
        page = await _page(request, context, back or item, 0, problem=problem.detail)
        page.status_code = problem.status
        return page
    parameters = {"item": back or item, "done": edit.value, "moved": item, "before": before}
    if done.events is None:
        parameters["later"] = "1"
    return RedirectResponse(f"/clusters?{urlencode(parameters)}", 303)


async def _page(request: Request, context: Given, item: str, start: int, **parameters: object) -> Response:
    try:
        found = await context.look(lambda state: _look(state, item, start)) if item else None
    except UsageError as error:
        page = render(request, "clusters.html", item=item, found=None, problem=str(error))
        page.status_code = 404
        return page
    data = {} if found is None else _data(found)
    return render(request, "clusters.html", item=item, found=found, start=start, page=PAGE, data=data, **parameters)


def _look(state: State, id: str, start: int) -> _Cluster:
    item = state.items.named(id)
    if item is None:
        raise UsageError(f"There is no item {id!r}.")
    head = state.items.get(item.head) or item
    members = [one for one in map(state.items.get, head.members[start : start + PAGE]) if one is not None]
    compared = [(one, _compared(state, one, head)) for one in members]
    [near] = similar(state, [SimilarQuery(vectors_of_item(state, head.id), NEAR, item=head.id)])
    return _Cluster(head, len(head.members), compared, near)


def _compared(state: State, one: Item, head: Item) -> dict[str, object]:
    """Return what is said of a copy and its original by now."""
    return MatchBody.model_validate(compare_stored(state, one.id, head.id)).model_dump(mode="json")


def _data(found: _Cluster) -> dict[str, object]:
    """Return what the script shows a pair with."""
    return {
        one.id: {"item": _facts(one), "match": {**match, "facts": _facts(found.head)}} for one, match in found.members
    }


def _facts(item: Item) -> dict[str, object]:
    return {"id": item.id, "kind": item.kind.value, "seconds": item.seconds, "members": 1 + len(item.members)}


def _head_id(state: State, id: str) -> str:
    item = state.items.named(id)
    head = None if item is None else state.items.get(item.head)
    return "" if head is None else head.id
