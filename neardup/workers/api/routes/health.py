"""`/healthz`, `/readyz`, `/metrics` on the API's own port, and what a kind of problem is."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

from neardup.workers.api.auth import who
from neardup.workers.api.context import Given
from neardup.workers.api.problems import KINDS, Problem, responses

router = APIRouter(tags=["operations"])


class Ready(BaseModel):
    """Whether lookups can be answered, and how fresh they are."""

    ready: bool
    why: str = Field(description="what is waited for")
    offset: int = Field(description="of the log, that the view stands for; -1 before the first")
    behind: int | None = Field(description="records of the log that the view lacks; null while that is not known")
    space: str


class Me(BaseModel):
    """Who the token says you are."""

    name: str
    role: str


class KindBody(BaseModel):
    """What a kind of problem means."""

    type: str
    title: str
    status: int
    remedy: str


@router.get("/healthz", response_class=PlainTextResponse)
async def healthz() -> str:
    """Say that the process answers."""
    return "ok\n"


@router.get(
    "/readyz", response_model=Ready, responses={503: {"model": Ready, "description": "Not ready; `why` says what for."}}
)
async def readyz(context: Given) -> JSONResponse:
    """Say whether lookups can be answered, and how many records behind the log the view is."""
    why = context.unready or await asyncio.to_thread(context.standing_by)
    answer = Ready(
        ready=not why,
        why=why,
        offset=context.applied,
        behind=context.behind(),
        space=context.space,
    )
    return JSONResponse(answer.model_dump(), 200 if answer.ready else 503)


@router.get("/metrics", response_class=PlainTextResponse, include_in_schema=False)
async def metrics(request: Request, context: Given) -> Response:
    """Return the metrics of this process, as NEARDUP_API_METRICS lets."""
    allowed = context.settings.api_metrics
    if allowed == "off":
        raise Problem("not-found", "no metrics here", "Each worker serves them at its own port, see --port.")
    if allowed == "token" and who(request) is None:
        raise Problem("no-token", "metrics are for those with a token (NEARDUP_API_METRICS)")
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/me", response_model=Me, responses=responses())
async def me(request: Request) -> Me:
    """Say whose token this is."""
    caller = who(request)
    if caller is None:
        raise Problem("no-token", "no token, or one that is not known")
    return Me(name=caller.name, role=caller.role.name.lower())


@router.get("/problems/{kind}", response_model=KindBody, responses=responses("not-found"))
async def problem(kind: Annotated[str, Path(max_length=64)]) -> KindBody:
    """Say what a kind of problem means."""
    found = KINDS.get(kind)
    if found is None:
        raise Problem("not-found", "no such kind of problem", f"The kinds are {', '.join(KINDS)}.")
    return KindBody(type=f"/problems/{kind}", title=found.title, status=found.status, remedy=found.remedy)
