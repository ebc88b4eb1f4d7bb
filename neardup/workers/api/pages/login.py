"""`/login`, `/logout` and `/`: a person's way in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from neardup.workers.api.bounded import BoundedRoute
from neardup.workers.api.context import Given
from neardup.workers.api.gate import address_of
from neardup.workers.api.pages.render import render
from neardup.workers.api.sessions import SESSION_SECONDS

router = APIRouter(include_in_schema=False, route_class=BoundedRoute)


@router.get("/login")
async def login(request: Request, next: str = "/") -> HTMLResponse:
    """Ask for the token."""
    return render(request, "login.html", next=_own(next), wrong=False)


@router.post("/login")
async def log_in(
    request: Request, context: Given, token: Annotated[str, Form()] = "", next: Annotated[str, Form()] = "/"
) -> Response:
    """Set a cookie that scripts cannot read and other sites cannot use; the token is not in it."""
    answer = RedirectResponse(_own(next), 303)
    if not context.tokens.required:
        return answer
    if context.tokens.admit(token.strip(), address_of(request.scope)) is None:
        page = render(request, "login.html", next=_own(next), wrong=True)
        page.status_code = 401
        return page
    secure = request.url.scheme == "https"
    session = context.tokens.make_session(token.strip())
    answer.set_cookie(
        context.tokens.cookie, session, max_age=SESSION_SECONDS, httponly=True, samesite="strict", secure=secure
    )
    return answer


@router.post("/logout")
async def log_out(context: Given) -> Response:
    """Forget the token."""
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(context.tokens.cookie)
    return answer


@router.get("/")
async def home(request: Request) -> HTMLResponse:
    """Say what there is."""
    return render(request, "home.html")


def _own(path: str) -> str:
    """Return a path of ours; another site's address is none."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"
