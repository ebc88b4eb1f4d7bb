"""`/ops`: how the stream is, for those without Grafana; `static/ops.js` asks again every two seconds."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from neardup.workers.api.auth import Reader, Role
from neardup.workers.api.context import Given
from neardup.workers.api.pages.render import needs_login, render

router = APIRouter(include_in_schema=False)


@router.get("/ops")
async def ops(request: Request) -> Response:
    """Show the page."""
    return needs_login(request, Role.READ) or render(request, "ops.html")


@router.get("/ops/figures")
async def figures(context: Given, _: Reader) -> dict[str, Any]:
    """Tell what it shows, see `Operations.figures`."""
    return await asyncio.to_thread(context.operations.figures)
