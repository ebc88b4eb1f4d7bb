"""The feed of flagged items, handed on as it grows to everyone who watches.

Its source is the store of flags: an entry's id is its event's in the log, so whoever lost the connection goes on after
the last id that they saw, at any worker. One look at the store serves all who watch.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.store.interface import FeedEntry

logger = logging.getLogger(__name__)
LOOK_SECONDS = 0.05
_AFTER_FAILURE_SECONDS = 1.0
_KEPT = 1024
_COUNT = 256
_LAST = 10**9
_NEVER = "?"


class Flagged(Protocol):
    """Where the feed comes from; as `FlagStore` has both."""

    def applied(self) -> int: ...

    def feed(self, after: str, count: int) -> list[FeedEntry]: ...


class Hub:
    """Looks at the store while anybody watches; belongs to the event loop. How many may is the gate's matter."""

    def __init__(self, store: Flagged) -> None:
        self._store = store
        self.watching = 0
        self._recent: deque[FeedEntry] = deque(maxlen=_KEPT)
        self._since = _NEVER
        self._grown = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def now(self) -> str:
        """Return an id that all that is in the feed by now comes before."""
        applied = await asyncio.to_thread(self._store.applied)
        return f"{applied}.{_LAST}" if applied >= 0 else ""

    async def entries(self, after: str, idle_seconds: float) -> AsyncIterator[FeedEntry | None]:
        """Yield what comes after an event id, for ever; None where nothing came for so long, or the store is away."""
        self.watching += 1
        try:
            while True:
                grown = self._watch()
                found = await self._following(after)
                for entry in found:
                    after = entry.event
                    yield entry
                if found:
                    continue
                try:
                    await asyncio.wait_for(grown.wait(), idle_seconds)
                except asyncio.TimeoutError:
                    yield None
        finally:
            self.watching -= 1

    def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def _following(self, after: str) -> list[FeedEntry]:
        if self._since != _NEVER and order(after) >= order(self._since):
            return [entry for entry in self._recent if order(entry.event) > order(after)]
        try:
            return await asyncio.to_thread(self._store.feed, after, _COUNT)
        except DependencyError as error:
            logger.warning("feed cannot be read error=%s", error)
            await asyncio.sleep(_AFTER_FAILURE_SECONDS)
            return []

    def _watch(self) -> asyncio.Event:
        if self._task is None or self._task.done():
            self._since = _NEVER
            self._task = asyncio.create_task(self._look())
        return self._grown

    async def _look(self) -> None:
        """Keep the newest entries while anybody watches."""
        after = _NEVER
        while self.watching:
            try:
                if after == _NEVER:
                    after = await self.now()
                    self._recent.clear()
                    self._since = after
                    self._wake()  # what came before that, they now find in the store
                found = await asyncio.to_thread(self._store.feed, after, _COUNT)
            except DependencyError as error:
                logger.warning("feed cannot be read error=%s", error)
                await asyncio.sleep(_AFTER_FAILURE_SECONDS)
                continue
            for entry in found:
                if len(self._recent) == _KEPT:
                    self._since = self._recent[0].event
                self._recent.append(entry)
            if found:
                after = found[-1].event
                self._wake()
            else:
                await asyncio.sleep(LOOK_SECONDS)

    def _wake(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()


def order(event: str) -> tuple[int, int]:
    """Return where an event id "offset.n" stands in the log; "" is before all."""
    if not event:
        return (-1, -1)
    offset, _, number = event.partition(".")
    return int(offset), int(number or 0)
