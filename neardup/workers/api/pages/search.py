"""`/search`: drop a picture or name an item, and see what it copies and what is most like it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from neardup.pipeline.log.changes import SEEN
from neardup.workers.api.auth import Role
from neardup.workers.api.context import Given
from neardup.workers.api.pages.render import needs_login, render

router = APIRouter(include_in_schema=False)


@router.get("/search")
async def search(request: Request, context: Given) -> Response:
    """Show the page; `static/search.js` asks the API, with `?item=` at once."""
    if (away := needs_login(request, Role.READ)) is not None:
        return away
    banks = [SEEN]
    if context.view is not None:  # else the page says so when it is asked for something
        banks += await context.look(lambda state: [bank.settings.name for bank in state.banks])
    return render(request, "search.html", banks=banks, has_content=bool(context.similar_space))
