"""What every request passes before it reaches a route: who sends it, from where, and whether there is room.

Plain ASGI, since it also stands before streams that last for hours. In this order: the host and origin that it names,
the token, the token's rate, requests under way, the time that one may take. Who only looks and leaves ends the work.
Headers that browsers heed go out with every answer.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neardup.workers.api.auth import ANYONE, Caller, Role, Tokens
from neardup.workers.api.places import Places, Shares, Upload
from neardup.workers.api.problems import Problem
from neardup.workers.run import telemetry

logger = logging.getLogger(__name__)
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]", "::1", "testserver"})
_HEALTH = ("/healthz", "/readyz", "/metrics")
"""Paths that are answered whatever else is under way."""
_OPEN = ("/static/", "/problems/", "/openapi.json", "/docs", "/login")
"""Paths that ask for no token, and have no rate."""
_STREAMS = ("/v1/feed",)
_LOOKS = frozenset({"/v1/match", "/v1/search", "/v1/compare", "/v1/items"})
"""Paths where a POST may be given up at any moment: it changes nothing, or only waits once it has."""
LEFT = 499
"""Status, in metrics alone, of a request whose client did not wait for the answer."""
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
class RequestLimits:
    """What is let through.

    Attributes:
        per_second: requests of one token on average, twice as many at once; 0 is no limit.
        at_once: requests under way in this process, streams left out.
        seconds: that one request may take.
        origins: of other sites whose pages may call; none by default.
        feeds: streams at once. upload_bytes: of all requests under way.
        shares: of one token, and of administrators.
    """

    per_second: float = 0.0
    at_once: int = 256
    seconds: float = 30.0
    origins: frozenset[str] = frozenset()
    feeds: int = 256
    upload_bytes: int = 512 * 2**20
    shares: Shares = field(default_factory=Shares)


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


@dataclass(slots=True)
class _Status:
    """How far the answer is: its status, 0 before it begins."""

    code: int = 0
    complete: bool = False


class _Client:
    """Reads on behalf of an app, and ahead once the body is there, to notice who leaves.

    Args:
        left: called when the client leaves.
    """

    def __init__(self, receive: Receive, left: Callable[[], object]) -> None:
        self._receive = receive
        self._left = left
        self._first: Message | None = None
        self._watching: asyncio.Task[None] | None = None
        self.gone = False

    async def begin(self, headers: Headers) -> None:
        """Read what there is where no body is announced: the app may never ask."""
        if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
            self._first = await self.receive()

    async def receive(self) -> Message:
        """See ASGI."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._watching is not None:
            await asyncio.shield(self._watching)
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.gone = True
        elif not message.get("more_body"):
            self._watching = asyncio.create_task(self._watch())
        return message

    def close(self) -> None:
        """Read no more."""
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        if (await self._receive())["type"] == "http.disconnect":
            self.gone = True
            self._left()


class Gate:
    """Wraps an app. See the module."""

    def __init__(self, app: ASGIApp, tokens: Tokens, limits: RequestLimits) -> None:
        self._app = app
        self._tokens = tokens
        self._limits = limits
        self._rates = Rates(limits.per_second)
        self._requests = Places("requests", "NEARDUP_API_MAX_REQUESTS", limits.at_once, limits.shares)
        self._feeds = Places("feeds", "NEARDUP_API_MAX_FEEDS", limits.feeds, limits.shares)
        self._bytes = Places("bytes", "NEARDUP_API_MAX_UPLOAD_BYTES", limits.upload_bytes, limits.shares)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), _Status()

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start":
                status.code = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                self._allow(scope, headers)
            elif not message.get("more_body"):
                status.complete = True
            await send(message)

        try:
            await self._pass(scope, receive, answered, status)
        except Problem as problem:
            await problem.response()(scope, receive, answered)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            telemetry.API_REQUESTS.labels(route, str(status.code)).inc()
            if not _is_stream(scope):
                telemetry.API_SECONDS.labels(route).observe(time.perf_counter() - started)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, status: _Status) -> None:
        headers = Headers(scope=scope)
        self._check_site(scope, headers)
        if scope["method"] == "OPTIONS" and headers.get("origin") in self._limits.origins:
            await Response(status_code=204, headers=_PREFLIGHT)(scope, receive, send)
            return
        caller = scope["neardup.caller"] = self._caller(scope, headers)
        if scope["path"].startswith(_HEALTH):
            await self._app(scope, receive, send)
            return
        is_rated = not scope["path"].startswith(_OPEN)
        seconds = self._rates.wait(caller.name) if caller is not None and is_rated else 0.0
        if seconds:
            after = {"Retry-After": str(math.ceil(seconds))}
            raise Problem("too-many", f"more than {self._limits.per_second:g} requests per second", headers=after)
        if scope.get("neardup.crowded") and (caller is None or caller.role is not Role.ADMIN):
            raise Problem("busy", "too many connections (NEARDUP_API_MAX_CONNECTIONS)", headers={"Connection": "close"})
        places = self._feeds if _is_stream(scope) else self._requests
        places.take(caller)
        upload = scope["neardup.upload"] = Upload(self._bytes, caller)
        try:
            if _is_stream(scope):
                await self._app(scope, receive, send)
            else:
                await self._within_time(scope, receive, send, status)
        finally:
            upload.close()
            places.give_back(caller)

    async def _within_time(self, scope: Scope, receive: Receive, send: Send, status: _Status) -> None:
        with anyio.move_on_after(self._limits.seconds) as limit:
            ends = scope["method"] in _SAFE or scope["path"] in _LOOKS

            def left() -> None:
                if ends and not status.complete:
                    limit.cancel()

            client = _Client(receive, left)
            try:
                await client.begin(Headers(scope=scope))
                await self._app(scope, client.receive, send)
            finally:
                client.close()
        if limit.cancelled_caught and not status.code:
            if client.gone:
                status.code = LEFT
                return
            raise Problem("busy", f"not done within {self._limits.seconds:g} s (NEARDUP_API_REQUEST_SECONDS)")

    def _caller(self, scope: Scope, headers: Headers) -> Caller | None:
        if not self._tokens.required:
            return ANYONE
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme:
            return self._tokens.admit(token.strip(), address_of(scope)) if scheme.lower() == "bearer" else None
        cookie = _cookie(headers, self._tokens.cookie)
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


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value
