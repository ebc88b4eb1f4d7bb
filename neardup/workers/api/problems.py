"""The answer to a request that fails: problem details, RFC 9457, each with a remedy.

A problem's `type` is a path of this API that says the same in general, so that programs can tell them apart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from neardup.pipeline.errors import DependencyError, InvalidFrame, Reason, UsageError

logger = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
_RETRY_SECONDS = 2


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One kind of problem: HTTP status, title, and what the caller can do."""

    status: int
    title: str
    remedy: str


KINDS = {
    "malformed": ProblemKind(400, "The request cannot be read", "Send what the OpenAPI document describes, see /docs."),
    "no-token": ProblemKind(
        401, "A token is needed", "Send the header `Authorization: Bearer TOKEN`; `neardup token` makes one."
    ),
    "forbidden": ProblemKind(
        403, "The token may not do this", "Use a token of the role that is named, see `neardup token`."
    ),
    "not-found": ProblemKind(
        404, "There is no such thing", "Check the id or name; items appear once the match worker has seen them."
    ),
    "dead-letter": ProblemKind(
        404,
        "It could not be used, and nothing is known by this id",
        "See `reason` and `detail`; send it again once that is mended, or `neardup dead-letters replay` does.",
    ),
    "method-not-allowed": ProblemKind(405, "The path knows no such method", "See the header Allow, and /docs."),
    "timeout": ProblemKind(408, "The request came too slowly", "Send the whole body within the time that is named."),
    "conflict": ProblemKind(409, "It is not in the state for that", "Read it again, and decide anew."),
    "too-large": ProblemKind(413, "The content is too large", "Send less, or a URI that workers may read."),
    "media-type": ProblemKind(
        415, "This content type is not read here", "Send the bytes of an image or video, or JSON with a uri."
    ),
    "invalid": ProblemKind(
        422, "The request is not as it should be", "See `errors` for each value and what was expected."
    ),
    "bad-media": ProblemKind(
        422, "The content cannot be used", "See `reason`; send an image or a video that opens elsewhere."
    ),
    "too-many": ProblemKind(429, "Too many requests", "Wait for the seconds of Retry-After; or have the limit raised."),
    "head-too-large": ProblemKind(431, "The headers are too large", "Send fewer or shorter ones, or a shorter path."),
    "failed": ProblemKind(500, "Something failed here", "Try again; the log of the API worker has the details."),
    "busy": ProblemKind(503, "Too much is under way", "Wait for the seconds of Retry-After."),
    "unavailable": ProblemKind(
        503, "Something that this needs does not answer", "Wait for the seconds of Retry-After."
    ),
    "not-ready": ProblemKind(503, "Not ready yet", "Wait until /readyz says ok."),
}
_BY_STATUS = {400: "malformed", 401: "no-token", 403: "forbidden", 404: "not-found", 405: "method-not-allowed"}


class ProblemBody(BaseModel):
    """A problem, as RFC 9457 wants it, with what can be done about it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "/problems/not-found",
                "title": "There is no such thing",
                "status": 404,
                "detail": "no item 'cat-1'",
                "remedy": "Check the id or name; items appear once the match worker has seen them.",
            }
        }
    )
    type: str = Field(description="path that names this kind of problem; to compare with")
    title: str = Field(description="the kind in words")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what was found and what was wanted")
    remedy: str = Field(description="what can be done")
    reason: str | None = Field(
        None, description="of content that cannot be used: as for dead letters; of a change: why it was refused"
    )
    errors: list[dict[str, Any]] | None = Field(None, description="of an invalid request: where and what")


@dataclass(eq=False)
class Problem(Exception):
    """Ends a request.

    Attributes:
        kind: one of KINDS. detail: what was found and what was wanted.
        remedy: "" takes that of the kind.
    """

    kind: str
    detail: str
    remedy: str = ""
    reason: str | None = None
    errors: list[dict[str, Any]] | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS[self.kind].status

    def body(self) -> dict[str, Any]:
        """Return what is sent, as JSON knows it."""
        kind = KINDS[self.kind]
        told = ProblemBody(
            type=f"/problems/{self.kind}",
            title=kind.title,
            status=kind.status,
            detail=self.detail,
            remedy=self.remedy or kind.remedy,
            reason=self.reason,
            errors=self.errors,
        )
        return told.model_dump(exclude_none=True)

    def answer_headers(self) -> dict[str, str]:
        """Return the headers of the answer."""
        headers = dict(self.headers)
        if self.status in (429, 503):
            headers.setdefault("Retry-After", str(_RETRY_SECONDS))
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers.setdefault("WWW-Authenticate", "Bearer")
        return headers

    def response(self) -> JSONResponse:
        """Return the answer."""
        return JSONResponse(self.body(), self.status, self.answer_headers(), MEDIA_TYPE)


def of_media(error: InvalidFrame) -> Problem:
    """Return the problem of content that cannot be used."""
    kinds = {Reason.TOO_LARGE: "too-large", Reason.FORMAT: "media-type", Reason.FORBIDDEN: "bad-media"}
    return Problem(kinds.get(error.reason, "bad-media"), error.detail, reason=error.reason.value)


def responses(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of these problems, and of those that any request may meet."""
    found: dict[int | str, dict[str, Any]] = {}
    for name in (*kinds, "no-token", "forbidden", "too-many", "busy"):
        kind = KINDS[name]
        found[kind.status] = {
            "description": f"{kind.title}. {kind.remedy}",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
        }
    return found


def install(app: FastAPI, page: Callable[[Request, Problem], Response]) -> None:
    """Have an app answer all errors as problems.

    Args:
        page: makes the page that a browser shows of a problem; programs get JSON.
    """

    def answer(request: Request, problem: Problem) -> Response:
        wants_page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
        return page(request, problem) if wants_page else problem.response()

    @app.exception_handler(Problem)
    async def _problem(request: Request, error: Problem) -> Response:
        return answer(request, error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        told = [{"in": ".".join(map(str, one["loc"])), "error": one["msg"]} for one in error.errors()[:20]]
        broken = any(one["type"] == "json_invalid" for one in error.errors())
        first = f"{told[0]['in']}: {told[0]['error']}" if told else "invalid"
        return answer(request, Problem("malformed" if broken else "invalid", first, errors=told))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        kind = _BY_STATUS.get(error.status_code, "malformed" if error.status_code < 500 else "failed")
        return answer(request, Problem(kind, str(error.detail), headers=dict(error.headers or {})))

    @app.exception_handler(InvalidFrame)
    async def _media(request: Request, error: InvalidFrame) -> Response:
        return answer(request, of_media(error))

    @app.exception_handler(UsageError)
    async def _usage(request: Request, error: UsageError) -> Response:
        return answer(request, Problem("invalid", str(error)))

    @app.exception_handler(DependencyError)
    async def _dependency(request: Request, error: DependencyError) -> Response:
        logger.warning("request failed error=%s", error)
        return answer(request, Problem("unavailable", str(error)))

    @app.exception_handler(ClientDisconnect)
    async def _left(_request: Request, _error: ClientDisconnect) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(Exception)
    async def _failed(request: Request, error: Exception) -> Response:
        return answer(request, Problem("failed", type(error).__name__))
