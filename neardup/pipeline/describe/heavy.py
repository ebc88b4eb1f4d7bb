"""Places for items that take long to decode, videos and very large pictures: others need not wait behind them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

_LOOK_SECONDS = 0.2


class Heavy:
    """Lets so many in at once, and of one owner one less, so that nobody has all places; safe among threads.

    Args:
        most: at once, at least 2.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting = 0
        self._left = threading.Condition()
        self._owners: Counter[str] = Counter()

    @property
    def full(self) -> bool:
        """Whether as many wait as there are places."""
        return self._waiting >= self._most

    def enter(self, owner: str, gone: Callable[[], bool], waits: Callable[[], object] = lambda: None) -> bool:
        """Wait for a place; return False where none is wanted any more.

        Args:
            owner: who sent the item; "" where senders are not distinguished.
            waits: called first, once this one counts as waiting.
        """
        with self._left:
            self._waiting += 1
            try:
                waits()
                while not self._has_room(owner):
                    if gone():
                        return False
                    self._left.wait(_LOOK_SECONDS)
            finally:
                self._waiting -= 1
            self._owners[owner] += 1
            return True

    def leave(self, owner: str) -> None:
        """Give a place back."""
        with self._left:
            self._owners[owner] -= 1
            if not self._owners[owner]:
                del self._owners[owner]
            self._left.notify_all()

    def _has_room(self, owner: str) -> bool:
        own = self._most - 1 if owner else self._most
        return self._owners.total() < self._most and self._owners[owner] < own
