"""A queue from which senders take turns, so that what one of them sends much of holds up its own items only."""

from __future__ import annotations

import queue
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """As `queue.SimpleQueue`, for many threads; items of one sender leave in the order in which they came.

    Args:
        sender_of: returns whose an item is.
    """

    def __init__(self, sender_of: Callable[[T], Hashable]) -> None:
        self._sender_of = sender_of
        self._changed = threading.Condition()
        self._rows: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._length = 0

    def put(self, item: T) -> None:
        """Add an item at the end of its sender's row."""
        sender = self._sender_of(item)
        with self._changed:
            self._rows.setdefault(sender, deque()).append(item)
            self._length += 1
            self._changed.notify()

    def get(self, timeout: float) -> T:
        """Return the next item of the sender whose turn it is.

        Raises:
            queue.Empty: there was none within `timeout` seconds.
        """
        end = time.monotonic() + timeout
        with self._changed:
            while not self._rows:
                left = end - time.monotonic()
                if left <= 0:
                    raise queue.Empty
                self._changed.wait(left)
            sender, row = self._rows.popitem(last=False)
            item = row.popleft()
            if row:
                self._rows[sender] = row  # behind all others
            self._length -= 1
            return item

    def get_nowait(self) -> T:
        """Return the next item, or raise queue.Empty at once."""
        return self.get(0.0)

    def qsize(self) -> int:
        """Return how many items wait."""
        return self._length
