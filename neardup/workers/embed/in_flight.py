"""What was taken from each partition and is not confirmed: items and bytes, counted by two threads."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

P = TypeVar("P")


class InFlight(Generic[P]):
    """One thread adds; any may say that something is done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = 0
        self._of: dict[P, tuple[int, int]] = {}

    @property
    def bytes(self) -> int:
        """Of all partitions."""
        with self._lock:
            return self._bytes

    def of(self, partition: P) -> tuple[int, int]:
        """Return items and bytes of a partition."""
        with self._lock:
            return self._of.get(partition, (0, 0))

    def add(self, partition: P, size: int) -> None:
        """Count an item of so many bytes."""
        self._count(partition, 1, size)

    def done(self, partition: P, size: int) -> None:
        """Count it no more."""
        self._count(partition, -1, -size)

    def _count(self, partition: P, items: int, size: int) -> None:
        with self._lock:
            self._bytes += size
            before = self._of.get(partition, (0, 0))
            self._of[partition] = before[0] + items, before[1] + size
