"""Requests that wait until this worker's view has come to an offset of the log, or has an answer on an item."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.records import Changed, Envelope, Event, Ignored, Redelivered, Referenced, Rolling, Verdict

_KEPT = 16_384
"""Changes that are remembered, for who appended one and looks for it only then."""


class Waiting:
    """Told of envelopes by the view's thread; waited on by the event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offset = -1
        self._changes: OrderedDict[int, Envelope] = OrderedDict()
        self._items: dict[str, list[_Waiter]] = {}
        self._offsets: list[tuple[int, _Waiter]] = []

    def told(self, envelopes: Sequence[Envelope]) -> None:
        """Wake those for whom it came by."""
        if not envelopes:
            return
        with self._lock:
            self._offset = envelopes[-1].offset
            for envelope in envelopes:
                if any(isinstance(event, Changed) for event in envelope.events):
                    self._changes[envelope.offset] = envelope
                    if len(self._changes) > _KEPT:
                        self._changes.popitem(last=False)
            due = [one for one in self._offsets if one[0] <= self._offset]
            self._offsets = [one for one in self._offsets if one[0] > self._offset]
            for _, waiter in due:
                waiter.wake(None)
            if self._items:
                for envelope in envelopes:
                    for event in envelope.events:
                        for waiter in self._items.get(_id(event), ()):
                            if answers(event, waiter.bank):
                                waiter.wake(envelope)

    def expect(self, item_id: str, bank: str = SEEN) -> _Expected:
        """Return what waits for the next answer on an item, or a reference of a bank, from now on; a context."""
        return _Expected(self, item_id, bank)

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

    async def change(self, offset: int, seconds: float) -> Envelope | None:
        """Return what a change at an offset led to; None if the view has not come so far within the time."""
        if not await self.reached(offset, seconds):
            return None
        with self._lock:
            return self._changes.get(offset, Envelope(offset=offset))

    def _enter(self, item_id: str, waiter: _Waiter) -> None:
        with self._lock:
            self._items.setdefault(item_id, []).append(waiter)

    def _leave(self, item_id: str, waiter: _Waiter) -> None:
        with self._lock:
            self._items[item_id].remove(waiter)
            if not self._items[item_id]:
                del self._items[item_id]


class _Waiter:
    def __init__(self, loop: asyncio.AbstractEventLoop, bank: str = SEEN) -> None:
        self._loop = loop
        self._event = asyncio.Event()
        self.bank = bank
        self.found: Envelope | None = None

    def wake(self, envelope: Envelope | None) -> None:
        self.found = self.found or envelope
        self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        return True


class _Expected:
    """Waits for the next answer on one item, from `with` on."""

    def __init__(self, waiting: Waiting, item_id: str, bank: str) -> None:
        self._waiting = waiting
        self._id = item_id
        self._waiter = _Waiter(asyncio.get_running_loop(), bank)

    def __enter__(self) -> Callable[[float], Awaitable[Envelope | None]]:
        self._waiting._enter(self._id, self._waiter)
        return self.wait

    def __exit__(self, *_: object) -> None:
        self._waiting._leave(self._id, self._waiter)

    async def wait(self, seconds: float) -> Envelope | None:
        """Return the envelope with the answer, None if none came within the time."""
        await self._waiter.wait(seconds)
        return self._waiter.found


def answers(event: Event, bank: str) -> bool:
    """Return whether an event is the answer to an item that was sent as one of this bank.

    That something is ignored or known already is not told of one bank or another; the id has to do.
    """
    if isinstance(event, Referenced):
        return event.bank == bank
    return isinstance(event, Redelivered | Ignored) or (bank == SEEN and isinstance(event, Verdict | Rolling))


def _id(event: Event) -> str:
    """Return the id of the item that an event answers on, "" if it answers on none."""
    if isinstance(event, Rolling):
        return event.verdict.id
    if isinstance(event, Verdict | Redelivered | Ignored | Referenced):
        return event.id
    return ""
