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
from neardup.workers.api.pages.words import breakable, clock, percent, prose
from neardup.workers.api.problems import KINDS, Problem

STATIC = Path(__file__).with_name("static")
NAV = (
    ("/search", "Search", Role.READ),
    ("/review", "Review", Role.REVIEW),
    ("/clusters", "Clusters", Role.READ),
    ("/ops", "Operations", Role.READ),
    ("/docs", "API", None),
)
"""Pages in the head of every page, and the role that each needs."""
templates = Jinja2Templates(Path(__file__).with_name("templates"))
templates.env.filters |= {"percent": percent, "clock": clock, "breakable": breakable, "prose": prose}


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


def problem_page(request: Request, problem: Problem) -> Response:
    """Return the page that a browser shows of a problem; one that needs a token leads to the login."""
    if problem.kind == "no-token" and (away := needs_login(request, Role.READ)) is not None:
        return away
    is_address = problem.kind == "not-found" and request.scope.get("route") is None
    title = "There is no page at this address" if is_address else KINDS[problem.kind].title
    answer = render(
        request, "problem.html", title=title, problem=problem, remedy=KINDS[problem.kind].remedy, is_address=is_address
    )
    answer.status_code = problem.status
    answer.headers.update(problem.answer_headers())
    return answer
