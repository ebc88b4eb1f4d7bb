"""Contents that need no description, because they have one or are being described: each is decoded once."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Container, Iterable

_BYTES = 32


class Hashes:
    """A set of SHA-256 digests in little memory, to be handed to another process."""

    def __init__(self, hashes: Iterable[bytes]) -> None:
        """Take digests of 32 bytes."""
        self._packed = b"".join(sorted(hashes))

    def __contains__(self, sha256: object) -> bool:
        assert isinstance(sha256, bytes)
        return self._at(bisect_left(range(len(self._packed) // _BYTES), sha256, key=self._at)) == sha256

    def _at(self, place: int) -> bytes:
        return self._packed[place * _BYTES : (place + 1) * _BYTES]


class Once:
    """Says who describes a content; safe among threads.

    Args:
        known: hashes of contents that are described already.
    """

    def __init__(self, known: Container[bytes] = frozenset()) -> None:
        self._known = known
        self._taken: set[bytes] = set()
        self._lock = threading.Lock()

    def take(self, sha256: bytes) -> bool:
        """Return whether the caller is to describe this content, as nobody else did or does."""
        if sha256 in self._known:
            return False
        with self._lock:
            taken = sha256 in self._taken
            self._taken.add(sha256)
        return not taken

    def knows(self, sha256: bytes) -> bool:
        """Return whether a content was described before all this."""
        return sha256 in self._known

    def is_taken(self, sha256: bytes) -> bool:
        """Return whether somebody described or describes it who has not given it up."""
        with self._lock:
            return sha256 in self._taken

    def forget(self, sha256: bytes) -> None:
        """Give a content up: the next one that has it is to describe it."""
        with self._lock:
            self._taken.discard(sha256)
