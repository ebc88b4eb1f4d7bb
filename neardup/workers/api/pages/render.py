"""What all pages share: templates, who looks at them, and where to log in."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.templating import Jinja2Templates

from neardup.workers.api.auth import Role, who
from neardup.workers.api.context import context_of
from neardup.workers.api.pages.words import breakable, clock, percent

STATIC = Path(__file__).with_name("static")
NAV = (
    ("/search", "Search", Role.READ),
    ("/review", "Review", Role.REVIEW),
    ("/ops", "Operations", Role.READ),
    ("/docs", "API", None),
)
"""Pages in the head of every page, and the role that each needs."""
templates = Jinja2Templates(Path(__file__).with_name("templates"))
templates.env.filters |= {"percent": percent, "clock": clock, "breakable": breakable}


def render(request: Request, template: str, **values: Any) -> HTMLResponse:
    """Return a page of the tenant.

    The template also gets `caller`, None before somebody logs in, and `nav`, the pages that they may see.
    """
    caller = who(request)
    nav = [(path, name) for path, name, role in NAV if role is None or (caller is not None and caller.role >= role)]
    shared = {"caller": caller, "nav": nav, "tenant": context_of(request).settings.tenant}
    answer = templates.TemplateResponse(request, template, shared | values)
    assert isinstance(answer, HTMLResponse)
    return answer


def needs_login(request: Request, role: Role) -> Response | None:
    """Return where to log in, or None if the caller has the role."""
    caller = who(request)
    if caller is not None and caller.role >= role:
        return None
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/login?next={quote(path)}", 303)
