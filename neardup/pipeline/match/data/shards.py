"""A dict that never grows all at once.

Python's own doubles its table by moving every entry: at a million keys that holds a batch up for a quarter of a second.
Here each of many small tables does so for itself, at a moment of its own.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
_SHARDS = 256


class Shards(Generic[K, V]):
    """As a dict, without an order."""

    def __init__(self) -> None:
        self._shards: list[dict[K, V]] = [{} for _ in range(_SHARDS)]

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def __contains__(self, key: K) -> bool:
        return key in self._of(key)

    def __getitem__(self, key: K) -> V:
        return self._of(key)[key]

    def __setitem__(self, key: K, value: V) -> None:
        self._of(key)[key] = value

    def __delitem__(self, key: K) -> None:
        del self._of(key)[key]

    def get(self, key: K) -> V | None:
        """Return what the key stands for, None if it stands for nothing."""
        return self._of(key).get(key)

    def setdefault(self, key: K, default: V) -> V:
        """Return what the key stands for, from now on `default` if it stood for nothing."""
        return self._of(key).setdefault(key, default)

    def _of(self, key: K) -> dict[K, V]:
        # The table itself uses the lowest bits of the hash: with the same ones, a shard's keys would collide.
        return self._shards[(hash(key) >> 40) % _SHARDS]
