"""Requests that wait until this worker's view has come to an offset of the log, or has an answer on an item."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from neardup.pipeline.log.answers import Answer, answered_id
from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.records import Envelope

R = TypeVar("R")
_KEPT = 16_384
"""Changes that are remembered, for who appended one and looks for it only then."""


class Waiting:
    """Told of envelopes by the view's thread; waited on by the event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offset = -1
        self._changes: OrderedDict[int, Answer] = OrderedDict()
        self._items: dict[tuple[str, str], list[asyncio.Future[Answer]]] = {}
        self._offsets: list[tuple[int, asyncio.Future[bool]]] = []

    def told(self, envelopes: Sequence[Envelope]) -> None:
        """Wake those for whom it came by."""
        if not envelopes:
            return
        with self._lock:
            self._offset = envelopes[-1].offset
            answers = [Answer(one.offset, one.events) for one in envelopes]
            for answer in answers:
                if answer.changed is not None:
                    self._changes[answer.offset] = answer
                    if len(self._changes) > _KEPT:
                        self._changes.popitem(last=False)
            due = [one for one in self._offsets if one[0] <= self._offset]
            self._offsets = [one for one in self._offsets if one[0] > self._offset]
            for _, reached in due:
                _wake(reached, True)
            for bank in {bank for bank, _ in self._items}:
                for answer in answers:
                    for event in answer.events or ():
                        for waiter in self._items.get((bank, answered_id(event, bank) or ""), ()):
                            _wake(waiter, answer)

    @contextmanager
    def expect(self, item_id: str, bank: str = SEEN) -> Iterator[Callable[[float], Awaitable[Answer | None]]]:
        """Give what waits for the next answer to an item, or a reference of a bank, from now on."""
        key, waiter = (bank, item_id), asyncio.get_running_loop().create_future()
        with self._lock:
            self._items.setdefault(key, []).append(waiter)
        try:
            yield partial(_wait, waiter)
        finally:
            with self._lock:
                self._items[key].remove(waiter)
                if not self._items[key]:
                    del self._items[key]

    async def reached(self, offset: int, seconds: float) -> bool:
        """Return whether the view came to stand for an offset within the time."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._offset >= offset:
                return True
            self._offsets.append((offset, waiter))
        found = await _wait(waiter, seconds)
        with self._lock:
            self._offsets = [one for one in self._offsets if one[1] is not waiter]
        return found is not None

    async def change(self, offset: int, seconds: float) -> Answer:
        """Return what came of a change at an offset; its events are None if that took longer."""
        if not await self.reached(offset, seconds):
            return Answer(offset)
        with self._lock:
            return self._changes.get(offset, Answer(offset, ()))


def _wake(waiter: asyncio.Future[R], result: R) -> None:
    def wake() -> None:
        if not waiter.done():
            waiter.set_result(result)

    waiter.get_loop().call_soon_threadsafe(wake)


async def _wait(waiter: asyncio.Future[R], seconds: float) -> R | None:
    try:
        return await asyncio.wait_for(asyncio.shield(waiter), seconds)
    except asyncio.TimeoutError:
        return None
