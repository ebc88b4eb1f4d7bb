"""`/docs`: the OpenAPI document as a page to read; without scripts, and nothing comes from elsewhere."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from neardup.workers.api.pages.render import render

router = APIRouter(include_in_schema=False)
_METHODS = ("get", "post", "put", "patch", "delete")


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Show what there is to call."""
    return render(request, "docs.html", calls=calls(request.app.openapi()))


def calls(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the calls of an OpenAPI document, in its order: method, path, and what is said of them."""
    return [
        {"method": method.upper(), "path": path, **operation}
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in _METHODS
    ]
