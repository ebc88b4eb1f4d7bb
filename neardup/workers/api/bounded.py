"""Routes whose JSON or form FastAPI reads: it would take a body of any size, before it asks who sends it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from neardup.workers.api.body import MAX_JSON_BYTES, read_body
from neardup.workers.api.context import context_of


class BoundedRoute(APIRoute):
    """A route that reads at most MAX_JSON_BYTES, within the time for bodies."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See APIRoute."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def bounded(request: Request) -> Response:
            seconds = context_of(request).settings.api_body_seconds
            request._body = await read_body(request, MAX_JSON_BYTES, seconds)  # where Starlette keeps what was read
            return await handle(request)

        return bounded
