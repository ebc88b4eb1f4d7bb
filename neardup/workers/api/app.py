"""The app: what stands before the routes, the routes, the pages, and the OpenAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from neardup import __version__
from neardup.workers.api import pages, problems
from neardup.workers.api.context import Context
from neardup.workers.api.gate import Gate, RequestLimits
from neardup.workers.api.places import Shares
from neardup.workers.api.routes import (
    audit,
    bank_files,
    banks,
    clusters,
    compare,
    feed,
    health,
    items,
    match,
    pictures,
    references,
    reviews,
    similar,
)
from neardup.workers.run import telemetry

ROUTERS = [
    match.router,
    compare.router,
    pictures.router,
    similar.router,
    items.router,
    banks.router,
    bank_files.router,
    references.router,
    reviews.router,
    clusters.router,
    audit.router,
    feed.router,
    health.router,
]
"""Of the API; `items` after `similar`, since an id may hold slashes."""
DESCRIPTION = """
Near-duplicate images and videos: which earlier item is copied, where, and how sure.

Errors are problem details (RFC 9457) with a `remedy`. Send `Authorization: Bearer TOKEN`; `neardup token` makes one.
"""


def make_app(context: Context) -> FastAPI:
    """Return the app over a context."""
    app = FastAPI(title="neardup", version=__version__, docs_url=None, redoc_url=None)
    app.state.context = context
    problems.install(app, pages.problem_page)
    for router in (*ROUTERS, *pages.ROUTERS):
        app.include_router(router)
    app.mount(
        "/static",
        StaticFiles(directory=pages.STATIC, packages=[("neardup.pipeline.report", "static")]),  # a proof looks as there
        name="static",
    )
    app.add_middleware(Gate, tokens=context.tokens, limits=limits_of(context))
    if proxies := context.settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=proxies)
    _start_at_zero()
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _start_at_zero() -> None:
    """Have the series of the API's own routes before their first request, see `workers.zero`."""
    for path in (route.path for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)):
        telemetry.API_REQUESTS.labels(path, "200")
        telemetry.API_REQUESTS.labels(path, "500")
        telemetry.API_SECONDS.labels(path)


def limits_of(context: Context) -> RequestLimits:
    """Return what the settings let through."""
    settings = context.settings
    return RequestLimits(
        settings.api_rate_per_second,
        settings.api_max_requests,
        settings.api_request_seconds,
        frozenset(origin.strip() for origin in settings.api_origins.split(",") if origin.strip()),
        settings.api_max_feeds,
        settings.api_max_upload_bytes,
        Shares(settings.api_token_share, settings.api_admin_reserve),
    )


def _own_problems(document: dict[str, Any]) -> None:
    """Report refused values as problems, where FastAPI has a form of its own."""
    for calls in document["paths"].values():
        for call in calls.values():
            if "application/json" in call["responses"].get("422", {}).get("content", {}):
                call["responses"]["422"] = problems.responses("invalid")[422]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=DESCRIPTION.strip(), routes=app.routes)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        body = problems.ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas["ProblemBody"] = body
        _own_problems(document)
        app.openapi_schema = document
    return app.openapi_schema
