"""`/search`: drop a picture or name an item, and see what it copies and what is most like it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from neardup.workers.api.auth import Role
from neardup.workers.api.pages.render import needs_login, render

router = APIRouter(include_in_schema=False)


@router.get("/search")
async def search(request: Request) -> Response:
    """Show the page; `static/search.js` asks the API, with `?item=` at once."""
    return needs_login(request, Role.READ) or render(request, "search.html")
