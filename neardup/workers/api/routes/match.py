"""`POST /v1/match`: what an upload copies, in one call; nothing is taken in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
from fastapi import APIRouter, Query, Request

from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.records import Described, Matched, Verdict, join_parts
from neardup.pipeline.log.verdicts import is_counted
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.query.lookup import ask_all, lookup
from neardup.pipeline.types import Exact
from neardup.workers.api.auth import Reader
from neardup.workers.api.body import raw_body, read_content
from neardup.workers.api.context import Given
from neardup.workers.api.models import MatchAnswer, MatchBody, media_body
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
    caller: Reader,
    all: Annotated[bool, Query(description="list the nearest references also where they are distinct")] = False,
) -> MatchAnswer:
    """Say what an upload copies, where, and how sure that is: in curated banks, and of all that was seen.

    Nothing is proved here: a match may be `unsure` that the stream, which proves its matches, calls a `duplicate`.
    """
    settings = context.settings
    content = await read_content(request, settings.api_max_bytes, settings.api_body_seconds)
    query = msgspec.structs.replace(join_parts(await context.describe(content.source, caller)), id="")
    verdict = await context.ask(answers, Asked(query, round(1000 * time.time()), all))
    best = next((one for one in verdict.matches if is_counted(one)), None)
    return MatchAnswer(
        decision=verdict.decision,
        original=best.reference if best else None,
        bank=best.bank if best else None,
        exact=best.exact if best else Exact.NO,
        distance=best.distance if best else None,
        probability=min(max(best.probability, 0.0), 1.0) if best else 0.0,
        allowed=verdict.allowed,
        matches=[MatchBody.model_validate(one) for one in verdict.matches],
        media=media_body(query),
        space=context.space,
        offset=context.applied,
    )


class Asked(NamedTuple):
    """An upload, when it is asked about, and whether to tell of what is distinct too."""

    query: Described
    now_ms: int
    distinct: bool


def answers(state: State, asked: Sequence[Asked]) -> list[Verdict]:
    """Return what would be said of each upload, see `ask_all`; of those that came together, at one moment."""
    verdicts = ask_all(state, [one.query for one in asked], max(one.now_ms for one in asked), MAX_MATCHES)
    told = [one.query for one in asked if one.distinct]
    nearest = iter(lookup(state, told, MAX_MATCHES))
    return [
        _with_distinct(verdict, next(nearest)) if one.distinct else verdict
        for one, verdict in zip(asked, verdicts, strict=True)
    ]


def _with_distinct(verdict: Verdict, nearest: Sequence[Matched]) -> Verdict:
    known = {match.reference for match in verdict.matches if match.bank == SEEN}
    more = [match for match in nearest if match.reference not in known and not match.listed]
    return msgspec.structs.replace(verdict, matches=(*verdict.matches, *more))
