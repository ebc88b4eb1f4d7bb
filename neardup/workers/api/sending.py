"""Items sent to the stream, as uploads or as references of a bank, and the wait for what is said of them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.answers import Answer
from neardup.pipeline.media.fetch import check, fetch_rules
from neardup.pipeline.media.identify import HEAD_BYTES, identify
from neardup.pipeline.media.unread import unread
from neardup.pipeline.store.interface import DeadLetter
from neardup.workers.api.body import Content
from neardup.workers.api.context import Context
from neardup.workers.api.problems import Problem
from neardup.workers.ingest.ingest import MAX_INLINE_BYTES
from neardup.workers.kafka.media_record import URI_LIST
from neardup.workers.run import tracing

logger = logging.getLogger(__name__)
_LOOK_SECONDS = 0.1
"""Between looks whether what was sent became a dead letter."""


async def send(
    context: Context, content: Content, id: str, bank: str, wait: float, traceparent: str = ""
) -> Answer | DeadLetter | None:
    """Send an item to `media`, and return what the match worker answers, or that it became a dead letter.

    None if neither came within the time.

    Raises:
        Problem: the content is no image or video. InvalidFrame: the URI may not be read.
    """
    headers = [("bank", bank.encode())]
    traceparent = tracing.valid(traceparent)
    headers += tracing.headers_of(traceparent)
    if content.uri is not None:
        check(content.uri, fetch_rules(context.settings))
        headers.append(("content-type", URI_LIST.encode()))
    with context.waiting.expect(id, bank) as answer:
        # Whole even where the client leaves: no content is put away that no record names.
        place = await asyncio.shield(_publish(context, content, id, headers))
        if traceparent:
            logger.info("item published id=%s trace_id=%s", id, tracing.trace_id(traceparent))
        return await _answered(context, answer, id, bank, place, wait)


async def _answered(
    context: Context,
    answer: Callable[[float], Awaitable[Answer | None]],
    id: str,
    bank: str,
    place: tuple[int, int],
    wait: float,
) -> Answer | DeadLetter | None:
    """Wait for whatever comes first; that Redis does not answer is no failure of what was sent."""
    deadline = time.monotonic() + wait
    while (left := deadline - time.monotonic()) > 0:
        if (found := await answer(min(left, _LOOK_SECONDS))) is not None:
            return found
        try:
            letter = await asyncio.to_thread(context.store.dead_letter, id, bank)
        except DependencyError as error:
            logger.warning("whether an item is a dead letter is not known id=%s error=%s", id, error)
            continue
        if letter is not None and (letter.partition, letter.offset) == place:
            return letter
    return None


async def _publish(context: Context, content: Content, id: str, headers: list[tuple[str, bytes]]) -> tuple[int, int]:
    if content.uri is not None:
        value = content.uri.encode()
    else:
        assert content.data is not None
        value = await _inline(context, id, content.data, headers)
    return await asyncio.to_thread(context.writes.publish, id, value, headers)


async def _inline(context: Context, id: str, data: bytes, headers: list[tuple[str, bytes]]) -> bytes:
    """Return what travels in the record: the content, or where it lies if it is large."""
    if identify(data[:HEAD_BYTES]) is None:
        raise Problem("media-type", unread(data[:HEAD_BYTES]), reason="format")
    if len(data) <= MAX_INLINE_BYTES:
        return data
    sha256 = hashlib.sha256(data).digest()

    def put() -> str:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            return context.blobs.put(id, Path(file.name), sha256)

    uri = await asyncio.to_thread(put)
    headers += [("content-type", URI_LIST.encode()), ("sha256", sha256)]
    return uri.encode()
