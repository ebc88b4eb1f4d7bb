"""`POST /v1/compare`: the same picture or not, of two uploads or items, with any model that is known by name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import numpy as np
import simplejpeg
from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field

from neardup.pipeline.errors import UsageError
from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.records import Comparison, Described, join_parts
from neardup.pipeline.match.query.compare_two import A, B, compare_both_ways
from neardup.pipeline.match.query.stored import described_again
from neardup.pipeline.match.query.verify import Answer
from neardup.pipeline.prove.files import FilePictures
from neardup.pipeline.prove.prover import Picture, Prover
from neardup.pipeline.types import Decision, Descriptors
from neardup.workers.api.auth import Caller, Reader
from neardup.workers.api.body import FORM, JSON, Content, read_pair
from neardup.workers.api.context import Context, Given
from neardup.workers.api.models import EXAMPLE_COMPARISON, ComparisonBody
from neardup.workers.api.networks import Network
from neardup.workers.api.originals import Originals, WantedContent
from neardup.workers.api.problems import Problem, responses
from neardup.workers.api.routes.pictures import find

logger = logging.getLogger(__name__)
router = APIRouter(tags=["compare"])
PICTURE_SECONDS = 10.0
"""For the original of an item: without it nothing is proved."""


class CompareAnswer(ComparisonBody):
    """Whether two show the same picture; what they have in common. A is the query, B the reference."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE_COMPARISON | {"model": "default", "space": "f00d"}})
    model: str
    space: str
    verified: bool = Field(
        default=False, description="by a model trained on classes: duplicate means that both show the same one"
    )


_SIDE: dict[str, Any] = {
    "description": "an item by its id, a URI that may be read, or the bytes in base64",
    "oneOf": [
        {
            "type": "object",
            "properties": {name: {"type": "string", "minLength": 1}},
            "required": [name],
            "additionalProperties": False,
        }
        for name in ("id", "uri", "data")
    ],
}
_JSON: dict[str, Any] = {
    "type": "object",
    "properties": {"a": _SIDE, "b": _SIDE, "model": {"type": "string"}},
    "required": ["a", "b"],
    "additionalProperties": False,
    "example": {"a": {"id": "cat-1"}, "b": {"id": "cat-2"}},
}
_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "a": {"type": "string", "format": "binary", "description": "a file, or the id of an item as text"},
        "b": {"type": "string", "format": "binary"},
        "model": {"type": "string"},
    },
    "required": ["a", "b"],
}


@router.post(
    "/v1/compare",
    response_model=CompareAnswer,
    openapi_extra={"requestBody": {"required": True, "content": {JSON: {"schema": _JSON}, FORM: {"schema": _FORM}}}},
    responses=responses("malformed", "not-found", "timeout", "too-large", "media-type", "bad-media", "not-ready"),
)
async def compare(request: Request, context: Given, caller: Reader) -> CompareAnswer:
    """Compare two uploads, or items; the model of the stream unless another is named, which wants two uploads."""
    settings = context.settings
    a, b, model = await read_pair(request, settings.api_max_bytes, settings.api_body_seconds)
    network = await asyncio.to_thread(context.networks.get, model)
    sides = [await _described(context, network, one, caller) for one in (a, b)]
    if network.verify is not None:
        vectors = [join_parts(side).embedded().vectors for side in sides]
        return _verified(await asyncio.to_thread(network.verify, vectors[0], vectors[1]), vectors, network)
    prover = Prover(await _pictures(context, (a, b), sides))
    await context.comparing.acquire()
    make = partial(network.make_state, prover)
    comparing = asyncio.ensure_future(asyncio.to_thread(compare_both_ways, sides[0], sides[1], make))
    comparing.add_done_callback(lambda _: context.comparing.release())  # not before: a thread cannot be ended
    return _answer(await asyncio.shield(comparing), network)


@dataclass(frozen=True, slots=True)
class _Pictures:
    """Pictures of both sides, of uploads and of originals that are still held: answers `prover.Pictures`."""

    uploads: FilePictures
    held: dict[str, WantedContent]
    originals: Originals | None

    def __call__(self, item: str, second: float, side: int, /) -> Picture | None:
        place = self.held.get(item)
        if place is None or self.originals is None:
            return self.uploads(item, second, side)
        try:
            jpeg = self.originals.picture(place, second, side).result(PICTURE_SECONDS)
        except Exception as error:  # what cannot be shown is not proved
            logger.warning("no picture for a proof item=%s error=%r", place.id, error)
            return None
        if jpeg is None:
            return None
        pixels = simplejpeg.decode_jpeg(jpeg, "RGB")
        return Picture(pixels, 1.0 if max(pixels.shape) < side else 0.5)  # how large it was is not known


async def _pictures(context: Context, contents: Sequence[Content], sides: Sequence[list[Described]]) -> _Pictures:
    uploads, held = FilePictures(context.settings.api_limits), {}
    for name, content, parts in zip((A, B), contents, sides, strict=True):
        if content.data is not None:
            uploads.add(msgspec.structs.replace(parts[0], id=name), content.data)
        elif (item_id := content.id) is not None:
            found = await context.look(partial(find, bank=SEEN, id=item_id))
            if not found.live:
                held[name] = found.place
    return _Pictures(uploads, held, context.originals)


async def _described(context: Context, network: Network, side: Content, caller: Caller) -> list[Described]:
    if side.id is None:
        return await context.wait_for(lambda: network.uploads.describe(side.source, caller.name))
    if network is not context.networks.own:
        raise Problem("invalid", f"items are held as the model {context.networks.own.name} sees them", "Send uploads.")
    item_id = side.id
    try:
        return [await context.look(lambda state: described_again(state, item_id))]
    except UsageError as error:
        raise Problem("not-found", str(error)) from error


def _verified(found: Answer, vectors: list[Descriptors], network: Network) -> CompareAnswer:
    compared = Comparison(
        decision=Decision.DUPLICATE if found.same else Decision.DISTINCT,
        distance=float(np.clip(np.min(2.0 - 2.0 * (vectors[0] @ vectors[1].T)), 0.0, 4.0)),
        evidence=found.score,
        probability=found.probability,
    )
    return _answer(compared, network, verified=True)


def _answer(found: Comparison, network: Network, verified: bool = False) -> CompareAnswer:
    named = {"model": network.name, "space": network.space, "verified": verified}
    return CompareAnswer.model_validate(found.in_full() | named)
