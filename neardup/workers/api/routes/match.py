"""`POST /v1/match`: what an upload copies, in one call; nothing is taken in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request

from neardup.pipeline.match.state import State
from neardup.pipeline.messages import Described, Matched, join_parts
from neardup.pipeline.types import Decision, Exact
from neardup.workers.api.auth import Reader
from neardup.workers.api.body import raw_body, read_content
from neardup.workers.api.context import Given
from neardup.workers.api.models import MatchAnswer, match_body, media_body
from neardup.workers.api.problems import responses

router = APIRouter(tags=["match"])
MAX_MATCHES = 16


@router.post(
    "/v1/match",
    response_model=MatchAnswer,
    openapi_extra=raw_body(),
    responses=responses("malformed", "timeout", "too-large", "media-type", "bad-media"),
)
async def match(
    request: Request,
    context: Given,
    _: Reader,
    all: Annotated[bool, Query(description="list the nearest references also where they are distinct")] = False,
) -> MatchAnswer:
    """Say what an upload copies, where, and how sure that is."""
    settings = context.settings
    content = await read_content(request, settings.api_max_bytes, settings.api_body_seconds)
    query = msgspec.structs.replace(join_parts(await context.describe(content.source)), id="")
    found = await context.ask(lookup, query)
    matches = [one for one in found if all or one.decision is not Decision.DISTINCT]
    best = matches[0] if matches and matches[0].decision is not Decision.DISTINCT else None
    return MatchAnswer(
        decision=best.decision if best else Decision.DISTINCT,
        original=best.reference if best else None,
        bank=best.bank if best else None,
        exact=best.exact if best else Exact.NO,
        distance=best.distance if best else None,
        probability=best.probability if best else 0.0,
        matches=[match_body(one) for one in matches],
        media=media_body(query),
        space=context.space,
        offset=context.applied,
    )


def lookup(state: State, queries: Sequence[Described]) -> list[list[Matched]]:
    """Return the matches of each query, see `State.lookup`."""
    return state.lookup(queries, MAX_MATCHES)
