"""Requests that wait for something to come by in the log: a verdict on an item, or an offset."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

from neardup.pipeline.messages import Envelope, Event, Ignored, Redelivered, Rolling, Verdict


class Waiting:
    """Who waits. `told` is called by the view's thread, the others by the event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offset = -1
        self._items: dict[str, list[_Waiter]] = {}
        self._offsets: list[tuple[int, _Waiter]] = []

    def told(self, envelopes: Sequence[Envelope]) -> None:
        """Wake those whose event came by."""
        if not envelopes:
            return
        with self._lock:
            self._offset = envelopes[-1].offset
            due = [one for one in self._offsets if one[0] <= self._offset]
            self._offsets = [one for one in self._offsets if one[0] > self._offset]
            for _, waiter in due:
                waiter.wake(None)
            if self._items:
                for envelope in envelopes:
                    for event in envelope.events:
                        for waiter in self._items.get(_id(event), ()):
                            waiter.wake(event)

    def expect(self, item_id: str) -> _Expected:
        """Return what waits for the next answer on an item, from now on; a context."""
        return _Expected(self, item_id)

    async def reached(self, offset: int, seconds: float) -> bool:
        """Return whether the view came to stand for an offset within the time."""
        waiter = _Waiter(asyncio.get_running_loop())
        with self._lock:
            if self._offset >= offset:
                return True
            self._offsets.append((offset, waiter))
        found = await waiter.wait(seconds)
        with self._lock:
            self._offsets = [one for one in self._offsets if one[1] is not waiter]
        return found

    def _enter(self, item_id: str, waiter: _Waiter) -> None:
        with self._lock:
            self._items.setdefault(item_id, []).append(waiter)

    def _leave(self, item_id: str, waiter: _Waiter) -> None:
        with self._lock:
            self._items[item_id].remove(waiter)
            if not self._items[item_id]:
                del self._items[item_id]


class _Waiter:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()
        self.found: Event | None = None

    def wake(self, event: Event | None) -> None:
        self.found = self.found or event
        self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        return True


class _Expected:
    """Waits for the next answer on one item, from `with` on."""

    def __init__(self, waiting: Waiting, item_id: str) -> None:
        self._waiting = waiting
        self._id = item_id
        self._waiter = _Waiter(asyncio.get_running_loop())

    def __enter__(self) -> Callable[[float], Awaitable[Event | None]]:
        self._waiting._enter(self._id, self._waiter)
        return self.wait

    def __exit__(self, *_: object) -> None:
        self._waiting._leave(self._id, self._waiter)

    async def wait(self, seconds: float) -> Event | None:
        """Return the event, None if none came within the time."""
        await self._waiter.wait(seconds)
        return self._waiter.found


def _id(event: Event) -> str:
    """Return the id of the item that an event answers on, "" if it answers on none."""
    if isinstance(event, Rolling):
        return event.verdict.id
    if isinstance(event, Verdict | Redelivered | Ignored):
        return event.id
    return ""
