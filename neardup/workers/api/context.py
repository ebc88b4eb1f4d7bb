"""What the routes work with: one object, made once, and put together in `server` or by a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Annotated, Protocol, TypeVar

from fastapi import Depends, Request

from neardup.pipeline.errors import Backpressure
from neardup.pipeline.log.records import Described, Envelope, Record, RemovedEvent
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.interface import FlagStore
from neardup.workers.api.auth import Caller, Tokens
from neardup.workers.api.feed import Hub
from neardup.workers.api.networks import Networks
from neardup.workers.api.ops import Operations, read_workers
from neardup.workers.api.originals import Originals
from neardup.workers.api.problems import Problem
from neardup.workers.api.view import Answer, View
from neardup.workers.api.waiting import Waiting
from neardup.workers.kafka.outbox import Headers

A = TypeVar("A")
R = TypeVar("R")
_COMPARISONS = 2
"""At once: each holds a processor."""


class Writes(Protocol):
    """Where records go; both return once all replicas have them, and raise DependencyError where that fails."""

    def append(self, records: Sequence[Record]) -> list[int]:
        """Append records to the log and return their offsets."""

    def publish(self, item_id: str, value: bytes, headers: Headers) -> tuple[int, int]:
        """Send an item to `media`, and return its partition and offset there."""


@dataclass(slots=True)
class Context:
    """The surroundings of an app.

    Attributes:
        similar_space: of the model's similar head; "" without one.
        view: None until it has been loaded. behind: records that it lacks; None while that is not known.
        originals: what makes pictures of them; None where only thumbnails are shown.
        standing_by: returns why the space does not serve, and refuses changes; "" if it does.
        space: of the model; unready: why the worker cannot answer yet, "" if it can.
    """

    settings: Settings
    space: str
    tokens: Tokens
    store: FlagStore
    writes: Writes
    networks: Networks
    hub: Hub
    standing_by: Callable[[], str] = lambda: ""
    waiting: Waiting = field(default_factory=Waiting)
    view: View | None = None
    behind: Callable[[], int | None] = lambda: None
    unready: str = "starting"
    similar_space: str = ""
    comparing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_COMPARISONS))
    originals: Originals | None = None
    _blobs: Blobs | None = None
    _operations: Operations | None = None

    @property
    def applied(self) -> int:
        """The offset of the log that the view stands for; -1 before the first."""
        return -1 if self.view is None else self.view.applied

    @property
    def blobs(self) -> Blobs:
        """The blob store."""
        if self._blobs is None:
            self._blobs = Blobs(self.settings.blobs_url)
        return self._blobs

    @property
    def operations(self) -> Operations:
        """The workers as they are; raises ConfigError if the setting that names them is none."""
        if self._operations is None:
            self._operations = Operations(read_workers(self.settings.api_workers))
        return self._operations

    async def ask(self, answer: Answer[A, R], request: A) -> R:
        """Have the view answer, see `View.ask`."""
        return await _result(lambda: self._view().ask(answer, request))

    async def look(self, read: Callable[[State], R]) -> R:
        """Have a function read the state."""
        return await _result(lambda: self._view().look(read))

    async def describe(self, content: bytes | str, caller: Caller) -> list[Described]:
        """Describe an upload; raises InvalidFrame. The work ends with the request, should that be cut off."""
        return await _result(lambda: self.networks.own.uploads.describe(content, caller.name))

    async def wait_for(self, begin: Callable[[], Future[R]]) -> R:
        """Return what a future brings; a lack of room is a problem of its own."""
        return await _result(begin)

    async def append(self, *records: Record) -> list[int]:
        """Append records to the log."""
        return await asyncio.to_thread(self.writes.append, records)

    def told(self, envelopes: Sequence[Envelope]) -> None:
        """Take note of what the view has applied; called by its thread."""
        self.waiting.told(envelopes)
        if self.originals is not None:
            for envelope in envelopes:
                for event in envelope.events:
                    if isinstance(event, RemovedEvent):
                        self.originals.forget(event.id)

    def _view(self) -> View:
        if self.view is None:
            raise Problem("not-ready", self.unready)
        return self.view


def context_of(request: Request) -> Context:
    """Return the context of the app that got a request."""
    found: Context = request.app.state.context
    return found


async def _given(request: Request) -> Context:
    return context_of(request)  # FastAPI would send a plain function to a thread, for each request


Given = Annotated[Context, Depends(_given)]


async def _result(ask: Callable[[], Future[R]]) -> R:
    try:
        return await asyncio.wrap_future(ask())
    except Backpressure as error:
        raise Problem("busy", str(error), headers={"Retry-After": "1"}) from error
