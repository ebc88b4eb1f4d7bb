"""Many hashes in little memory, to be handed to another process."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

_BYTES = 32


class Hashes:
    """A set of SHA-256 digests that says of one whether it is in it."""

    def __init__(self, hashes: Iterable[bytes]) -> None:
        """Take digests of 32 bytes."""
        self._packed = b"".join(sorted(hashes))

    def __contains__(self, sha256: object) -> bool:
        assert isinstance(sha256, bytes)
        return self._at(bisect_left(range(len(self._packed) // _BYTES), sha256, key=self._at)) == sha256

    def _at(self, place: int) -> bytes:
        return self._packed[place * _BYTES : (place + 1) * _BYTES]
