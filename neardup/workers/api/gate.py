"""What every request passes before it reaches a route: who sends it, from where, and whether there is room.

Plain ASGI, since it also stands before streams that last for hours. In this order: the host and origin that it names,
the token, the token's rate, requests under way, the time that one may take. Headers that browsers heed go out with
every answer.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neardup.pipeline import telemetry
from neardup.workers.api.auth import ANYONE, COOKIE, Caller, Tokens
from neardup.workers.api.problems import Problem

logger = logging.getLogger(__name__)
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]", "::1", "testserver"})
_OPEN = ("/healthz", "/readyz", "/metrics", "/static/", "/problems/", "/openapi.json", "/docs", "/login")
"""Paths that ask for no token and are not counted."""
_STREAMS = ("/v1/feed",)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # without any, a form of ours would come from the origin "null"
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
    "Cache-Control": "no-store",
}


_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Last-Event-ID, traceparent",
    "Access-Control-Max-Age": "600",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What is let through.

    Attributes:
        per_second: requests of one token on average, twice as many at once; 0 is no limit.
        at_once: requests under way in this process, streams left out.
        seconds: that one request may take.
        origins: of other sites whose pages may call; none by default.
    """

    per_second: float = 0.0
    at_once: int = 256
    seconds: float = 30.0
    origins: frozenset[str] = frozenset()


class Rates:
    """Token buckets, one for each caller; used by the event loop."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._most = max(1.0, 2 * per_second)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait(self, name: str) -> float:
        """Count a request, and return 0; or do not, and return the seconds until there is room for one."""
        if self._per_second <= 0:
            return 0.0
        now = self._clock()
        left, then = self._buckets.get(name, (self._most, now))
        left = min(self._most, left + (now - then) * self._per_second)
        if left < 1.0:
            self._buckets[name] = (left, now)
            return (1.0 - left) / self._per_second
        self._buckets[name] = (left - 1.0, now)
        return 0.0


class Gate:
    """Wraps an app. See the module."""

    def __init__(self, app: ASGIApp, tokens: Tokens, limits: Limits) -> None:
        self._app = app
        self._tokens = tokens
        self._limits = limits
        self._rates = Rates(limits.per_second)
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), [0]

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                self._allow(scope, headers)
            await send(message)

        try:
            await self._pass(scope, receive, answered, status)
        except Problem as problem:
            await problem.response()(scope, receive, answered)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            telemetry.API_REQUESTS.labels(route, str(status[0])).inc()
            if not _is_stream(scope):
                telemetry.API_SECONDS.labels(route).observe(time.perf_counter() - started)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, status: list[int]) -> None:
        headers = Headers(scope=scope)
        self._check_site(scope, headers)
        if scope["method"] == "OPTIONS" and headers.get("origin") in self._limits.origins:
            await Response(status_code=204, headers=_PREFLIGHT)(scope, receive, send)
            return
        if scope["path"].startswith(_OPEN):
            scope["neardup.caller"] = self._caller(scope, headers)
            await self._app(scope, receive, send)
            return
        caller = scope["neardup.caller"] = self._caller(scope, headers)
        seconds = self._rates.wait(caller.name) if caller is not None else 0.0
        if seconds:
            after = {"Retry-After": str(math.ceil(seconds))}
            raise Problem("too-many", f"more than {self._limits.per_second:g} requests per second", headers=after)
        if _is_stream(scope):
            await self._app(scope, receive, send)
            return
        if self._under_way >= self._limits.at_once:
            raise Problem(
                "busy", f"{self._under_way} requests are under way in this process", headers={"Retry-After": "1"}
            )
        self._under_way += 1
        try:
            with anyio.move_on_after(self._limits.seconds) as limit:
                await self._app(scope, receive, send)
        finally:
            self._under_way -= 1
        if limit.cancelled_caught and not status[0]:
            raise Problem("busy", f"not done within {self._limits.seconds:g} s (NEARDUP_API_REQUEST_SECONDS)")

    def _caller(self, scope: Scope, headers: Headers) -> Caller | None:
        if not self._tokens.required:
            return ANYONE
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme:
            return self._tokens.admit(token.strip(), address_of(scope)) if scheme.lower() == "bearer" else None
        cookie = _cookie(headers)
        return self._tokens.find_session(cookie) if cookie else None

    def _check_site(self, scope: Scope, headers: Headers) -> None:
        """Refuse what another site's page has a browser send: it would bring our cookie, or need none."""
        host = headers.get("host", "")
        if not self._tokens.required and _name(host) not in LOOPBACK:
            raise Problem("forbidden", f"host {host[:100]!r}: without tokens only this machine itself is answered")
        origin = headers.get("origin")
        if origin is None or origin in self._limits.origins or scope["method"] in _SAFE:
            return
        if urlsplit(origin).netloc != host:
            raise Problem(
                "forbidden", f"origin {origin[:100]!r}: pages of other sites may not call (NEARDUP_API_ORIGINS)"
            )

    def _allow(self, scope: Scope, headers: MutableHeaders) -> None:
        """Let pages of the sites that are named read the answer."""
        origin = Headers(scope=scope).get("origin")
        if origin is not None and origin in self._limits.origins:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Cross-Origin-Resource-Policy"] = "cross-origin"
            headers.add_vary_header("Origin")


def address_of(scope: Scope) -> str:
    """Return the address that a request comes from; behind a trusted proxy, the one that it names."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _is_stream(scope: Scope) -> bool:
    return bool(scope["path"] in _STREAMS)


def _name(host: str) -> str:
    return host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value
