"""Content that comes with a request: the bytes themselves, a form, or JSON that names a URI or an item.

Read piece by piece, so that nobody who sends too much or too slowly takes memory or a place.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import anyio
from fastapi import Request
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from neardup.workers.api.places import Upload
from neardup.workers.api.problems import Problem

JSON, FORM = "application/json", "multipart/form-data"
_MEDIA = ("image/", "video/", "application/octet-stream")
MAX_JSON_BYTES = 64 * 2**10
_MAX_URI = 4096


@dataclass(frozen=True, slots=True)
class Content:
    """What was sent: bytes, a URI, or the id of a held item."""

    data: bytes | None = None
    uri: str | None = None
    id: str | None = None

    @property
    def source(self) -> bytes | str:
        """The bytes or the URI."""
        found = self.data if self.data is not None else self.uri
        assert found is not None
        return found


async def read_body(request: Request, most: int, seconds: float) -> bytes:
    """Return the body.

    Raises:
        Problem: it is larger, takes longer, or there is no room for it now.
    """
    upload: Upload | None = request.scope.get("neardup.upload")  # none before open paths
    length = request.headers.get("content-length", "")
    if length.isdigit():
        if int(length) > most:
            raise _too_large(most)
        if upload is not None:
            upload.expect(int(length))
    pieces: list[bytes] = []
    size = 0
    with anyio.move_on_after(seconds) as limit:
        async for piece in request.stream():
            size += len(piece)
            if size > most:
                raise _too_large(most)
            if upload is not None:
                upload.take(len(piece))
            pieces.append(piece)
    if limit.cancelled_caught:
        raise Problem("timeout", f"the body was not there after {seconds:g} s (NEARDUP_API_BODY_SECONDS)")
    return b"".join(pieces)


async def read_content(request: Request, most: int, seconds: float) -> Content:
    """Return the content of a request that has one: bytes under their own type, `file` of a form, or `{"uri": …}`."""
    kind = _kind(request.headers)
    if kind == JSON:
        return content_of(json_object(await read_body(request, MAX_JSON_BYTES, seconds)), ("uri",))
    if kind == FORM:
        file = (await read_form(request, ("file",), most, seconds))["file"]
        if file.data is None:
            raise Problem("invalid", "field 'file' of the form is text, wanted a file")
        return file
    if not kind.startswith(_MEDIA):
        raise Problem(
            "media-type", f"content-type is {kind[:100] or 'not given'}, wanted image/*, video/*, {FORM} or {JSON}"
        )
    data = await read_body(request, most, seconds)
    if not data:
        raise Problem("bad-media", "no bytes", reason="empty")
    return Content(data=data)


async def read_pair(request: Request, most: int, seconds: float) -> tuple[Content, Content, str]:
    """Return two contents, `a` and `b` of a form or JSON, and the `model` that they name, "" for none."""
    kind = _kind(request.headers)
    if kind == FORM:
        sides = await read_form(request, ("a", "b"), 2 * most, seconds, ("model",))
        model = sides.pop("model", Content(id="")).id or ""
        return sides["a"], sides["b"], model
    if kind != JSON:
        raise Problem("media-type", f"content-type is {kind[:100] or 'not given'}, wanted {FORM} or {JSON}")
    fields = json_object(await read_body(request, 3 * most, seconds))
    for name in ("a", "b"):
        if not isinstance(fields.get(name), dict):
            raise Problem("invalid", f"{name} is missing; wanted an object with id, uri or data")
    model = fields.get("model", "")
    if not isinstance(model, str) or set(fields) - {"a", "b", "model"}:
        raise Problem("invalid", "wanted a, b, and perhaps model as a string, and nothing else")
    kinds = ("id", "uri", "data")
    return content_of(fields["a"], kinds), content_of(fields["b"], kinds), model


async def read_form(
    request: Request, names: tuple[str, ...], most: int, seconds: float, optional: tuple[str, ...] = ()
) -> dict[str, Content]:
    """Return the fields of a form: files as bytes, texts as ids."""
    data = await read_body(request, most, seconds)

    async def stream() -> Any:
        yield data

    try:
        form = await MultiPartParser(request.headers, stream(), max_files=4, max_fields=8).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise Problem("malformed", f"the form cannot be read: {getattr(error, 'message', error)}") from error
    try:
        return {
            name: one for name in (*names, *optional) if (one := await _field(form, name, name in names)) is not None
        }
    finally:
        await form.close()


async def _field(form: FormData, name: str, needed: bool) -> Content | None:
    """Return a field of a form: of a file the bytes, else the text as an id."""
    value = form.get(name)
    if isinstance(value, UploadFile):
        return Content(data=await value.read())
    if isinstance(value, str) and value:
        return Content(id=value)
    if needed:
        raise Problem("invalid", f"field {name!r} of the form is missing")
    return None


def json_object(data: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        Problem: it is none.
    """
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Problem("malformed", f"the body is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise Problem("invalid", f"the body is a JSON {type(fields).__name__}, wanted an object")
    return fields


def content_of(fields: dict[str, Any], allowed: tuple[str, ...]) -> Content:
    """Return what one object names, by exactly one of the names that are allowed."""
    [*names] = fields
    if len(names) != 1 or names[0] not in allowed or not isinstance(fields[names[0]], str):
        raise Problem("invalid", f"wanted an object with one of {', '.join(allowed)}, a string")
    name, value = names[0], fields[names[0]]
    if not value or "\0" in value or not value.isprintable():
        raise Problem("invalid", f"{name} is empty or holds what cannot be printed")
    if name == "data":
        try:
            return Content(data=base64.b64decode(value, validate=True))
        except ValueError as error:
            raise Problem("invalid", f"data is no base64: {error}") from error
    if len(value) > _MAX_URI:
        raise Problem("invalid", f"{name} has {len(value)} characters, at most {_MAX_URI}")
    return Content(uri=value) if name == "uri" else Content(id=value)


def raw_body(with_form: bool = True) -> dict[str, Any]:
    """Return what OpenAPI says of a body that is content."""
    binary = {"schema": {"type": "string", "format": "binary", "minLength": 1}}
    uri = {
        "type": "object",
        "properties": {
            "uri": {"type": "string", "minLength": 1, "maxLength": _MAX_URI, "examples": ["s3://bucket/cat.jpg"]}
        },
        "required": ["uri"],
        "additionalProperties": False,
    }
    form = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}, "required": ["file"]}
    content: dict[str, Any] = {"application/octet-stream": binary, JSON: {"schema": uri}}
    if with_form:
        content[FORM] = {"schema": form}
    description = (
        "The bytes of an image or a video, under its own content type or as application/octet-stream; or a URI."
    )
    return {"requestBody": {"required": True, "description": description, "content": content}}


def _kind(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _too_large(most: int) -> Problem:
    return Problem(
        "too-large", f"more than {most} bytes", "Send less, or a URI that workers may read (NEARDUP_API_MAX_BYTES)."
    )
