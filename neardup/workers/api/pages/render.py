"""What all pages share: templates, who looks at them, and where to log in."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.templating import Jinja2Templates

from neardup.workers.api.auth import Role, who

STATIC = Path(__file__).with_name("static")
templates = Jinja2Templates(Path(__file__).with_name("templates"))


def render(request: Request, template: str, **values: Any) -> HTMLResponse:
    """Return a page; the template also gets `caller`, None before somebody logs in."""
    answer = templates.TemplateResponse(request, template, {"caller": who(request), **values})
    assert isinstance(answer, HTMLResponse)
    return answer


def needs_login(request: Request, role: Role) -> Response | None:
    """Return where to log in, or None if the caller has the role."""
    caller = who(request)
    if caller is not None and caller.role >= role:
        return None
    return RedirectResponse(f"/login?next={quote(request.url.path)}", 303)
