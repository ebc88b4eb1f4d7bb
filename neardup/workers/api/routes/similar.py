"""The items most like one, or like an upload: `GET /v1/similar`, `POST /v1/search`, and their next pages.

What was seen is searched by content, where the network has a head for that and said something of the query, unless
`head=copy` asks for the descriptors of copies; curated banks are searched by these. A cursor holds all that the search
was asked for, an upload's vectors too, so any worker can go on with it. Items that come in between may shift a page by
as many.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from fastapi import APIRouter, Query, Request

from neardup.pipeline.errors import UsageError
from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.records import join_parts, pack_vectors
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.query import similar as ranking
from neardup.pipeline.match.query.content import content_of_item, like_content
from neardup.pipeline.match.query.similar import MAX_FRAMES, MAX_K, Similar, similar, vectors_of_item, vectors_of_record
from neardup.pipeline.types import Descriptors
from neardup.workers.api.auth import Reader
from neardup.workers.api.body import raw_body, read_content
from neardup.workers.api.context import Context, Given
from neardup.workers.api.models import OtherBody, SimilarAnswer, SimilarBody
from neardup.workers.api.names import ItemId, ItemQuery, OfBank, check_known
from neardup.workers.api.problems import Problem, responses

router = APIRouter(tags=["similar items"])
MAX_OTHERS = 20
PAGE = 50
MAX_CURSOR = 12_000
K = Annotated[int, Query(ge=1, le=MAX_K, description="results wanted, over all pages")]
MaxDistance = Annotated[float, Query(ge=0, le=4, description="squared Euclidean distance up to which items count")]
Head = Annotated[
    Literal["similar", "copy"],
    Query(description="`similar` finds like content, where the network has that head; `copy` finds likely copies"),
]
Grouped = Annotated[bool, Query(description="near-duplicates of one original are one result")]
PageSize = Annotated[int, Query(ge=1, le=MAX_K, description="results of one page")]


class _Asked(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A search, as a cursor holds it; vectors are float16."""

    k: int
    page: int
    start: int
    max_distance: float
    grouped: bool
    item: str = ""
    vectors: bytes = b""
    bank: str = SEEN
    head: Literal["similar", "copy"] = "similar"
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found, and by which head."""

    head: str
    results: list[Similar]


@router.get("/v1/similar", response_model=SimilarAnswer, responses=responses("not-found", "invalid", "not-ready"))
async def similar_to_item(
    context: Given,
    _: Reader,
    id: ItemQuery,
    k: K = 10,
    max_distance: MaxDistance = 4.0,
    grouped: Grouped = True,
    page: PageSize = PAGE,
    bank: OfBank = SEEN,
    head: Head = "similar",
) -> SimilarAnswer:
    """Return the items most like a held one; grouped, its own near-duplicates are left out.

    Of a curated bank, return the references that are most like it.
    """
    await check_known(context, id)
    return await _answer(context, _Asked(k, page, 0, max_distance, grouped, item=id, bank=bank, head=head))


@router.get(
    "/v1/items/{id:path}/similar",
    response_model=SimilarAnswer,
    responses=responses("not-found", "invalid", "not-ready"),
)
async def similar_by_path(
    context: Given,
    reader: Reader,
    id: ItemId,
    k: K = 10,
    max_distance: MaxDistance = 4.0,
    grouped: Grouped = True,
    page: PageSize = PAGE,
    bank: OfBank = SEEN,
    head: Head = "similar",
) -> SimilarAnswer:
    """Return the items most like a held one; `GET /v1/similar?id=` for any id."""
    return await similar_to_item(context, reader, id, k, max_distance, grouped, page, bank, head)


@router.post(
    "/v1/search",
    response_model=SimilarAnswer,
    openapi_extra=raw_body(),
    responses=responses("malformed", "timeout", "too-large", "media-type", "bad-media", "not-found", "not-ready"),
)
async def search(
    request: Request,
    context: Given,
    caller: Reader,
    k: K = 10,
    max_distance: MaxDistance = 4.0,
    grouped: Grouped = True,
    page: PageSize = PAGE,
    bank: OfBank = SEEN,
    head: Head = "similar",
) -> SimilarAnswer:
    """Return the items most like an upload, or the references of a curated bank."""
    settings = context.settings
    content = await read_content(request, settings.api_max_bytes, settings.api_body_seconds)
    record = join_parts(await context.describe(content.source, caller))
    packed = pack_vectors(vectors_of_record(record))
    said = record.similar if packed and record.similar_space == context.similar_space else b""
    asked = _Asked(k, page, 0, max_distance, grouped, vectors=packed, bank=bank, head=head, content=said)
    return await _answer(context, asked)


@router.get("/v1/search", response_model=SimilarAnswer, responses=responses("not-found", "invalid", "not-ready"))
async def search_on(
    context: Given,
    _: Reader,
    cursor: Annotated[str, Query(max_length=MAX_CURSOR, description="`next` of the page before")],
) -> SimilarAnswer:
    """Return the next page of a search."""
    try:
        asked = msgspec.msgpack.decode(base64.urlsafe_b64decode(cursor.encode()), type=_Asked)
    except (msgspec.MsgspecError, binascii.Error, UnicodeError, ValueError) as error:
        raise Problem("invalid", "the cursor is none of ours", "Send `next` of the page before as it is.") from error
    fits = 1 <= asked.k <= MAX_K and 1 <= asked.page <= MAX_K and asked.start >= 0 and 0.0 <= asked.max_distance <= 4.0
    if not fits or not len(asked.item.encode(errors="replace")) + len(asked.vectors) >= 1:
        raise Problem("invalid", "the cursor is none of ours", "Send `next` of the page before as it is.")
    return await _answer(context, asked)


async def _answer(context: Context, asked: _Asked) -> SimilarAnswer:
    try:
        found: _Found = await context.ask(_search, asked)
    except UsageError as error:
        missing = asked.item or asked.bank != SEEN
        raise Problem("not-found" if missing else "invalid", str(error)) from error
    stop = asked.start + asked.page
    more = stop < len(found.results)
    after = msgspec.structs.replace(asked, start=stop)
    return SimilarAnswer(
        results=[_body(one) for one in found.results[asked.start : stop]],
        next=base64.urlsafe_b64encode(msgspec.msgpack.encode(after)).decode() if more else None,
        head=found.head,
        space=context.similar_space if found.head == "similar" else context.space,
        offset=context.applied,
    )


def _search(state: State, asked: Sequence[_Asked]) -> list[Any]:
    """Answer searches, of about the same size together: a large one would make the small ones large."""
    results: list[Any] = [None] * len(asked)
    together: dict[tuple[str, str, int], list[tuple[int, ranking.Query]]] = {}
    for number, one in enumerate(asked):
        try:
            head, vectors = _vectors(state, one)
        except UsageError as error:
            results[number] = error
            continue
        query = ranking.Query(vectors, one.k, one.max_distance, one.item, one.grouped)
        together.setdefault((head, one.bank, one.k.bit_length()), []).append((number, query))
    now_ms = round(1000 * time.time())
    for (head, bank, _), some in together.items():
        queries = [query for _, query in some]
        found: Sequence[Any]
        try:
            lists = like_content(state, queries) if head == "similar" else similar(state, queries, bank, now_ms)
            found = [_Found(head, one) for one in lists]
        except UsageError as error:
            found = [error] * len(some)
        for (number, _), result in zip(some, found, strict=True):
            results[number] = result
    return results


def _vectors(state: State, asked: _Asked) -> tuple[str, Descriptors]:
    """Return which head a search is by, and what it is for."""
    if asked.head == "similar" and asked.bank == SEEN and state.similars is not None:
        dimension = state.similars.vectors.dimension
        content = content_of_item(state, asked.item) if asked.item else _unpacked(asked.content, dimension, 1)
        if len(content):
            return "similar", content
    dimension = state.seen.heads.index.dimension
    return "copy", vectors_of_item(state, asked.item) if asked.item else _unpacked(asked.vectors, dimension, MAX_FRAMES)


def _unpacked(packed: bytes, dimension: int, most: int) -> Descriptors:
    """Return the rows that a cursor holds."""
    values = np.frombuffer(packed, "<f2") if len(packed) % 2 == 0 else np.zeros(1)
    if len(values) % dimension or len(values) > most * dimension:
        raise UsageError("the cursor is of another model")
    vectors = values.reshape(-1, dimension).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.all(np.abs(lengths - 1) < 0.1):
        raise UsageError("the cursor is none of ours")
    unit: Descriptors = vectors / lengths
    return unit


def _body(one: Similar) -> SimilarBody:
    return SimilarBody(
        id=one.item.id,
        kind=one.item.kind,
        seconds=one.item.seconds,
        distance=one.distance,
        original=one.original.id,
        members=one.members,
        others=[OtherBody(id=other.id, distance=distance) for other, distance in one.others[:MAX_OTHERS]],
    )
