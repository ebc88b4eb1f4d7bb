"""What describing files comes to. Importing this costs little: no decoder and no network."""

from __future__ import annotations

from collections.abc import Generator, Sequence, Set
from typing import Protocol

import msgspec

from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.scan.catalog import Packed
from neardup.pipeline.scan.walk import Found


class Finished(msgspec.Struct, frozen=True):
    """A file that was dealt with: described, with a content that was known already (None), or unusable."""

    file: Found
    sha256: bytes | None = None
    content: Packed | None = None
    error: InvalidFrame | None = None


class Describe(Protocol):
    """Describes files, by whatever threads or processes."""

    def __call__(self, files: Sequence[Found], known: Set[bytes]) -> Generator[list[Finished]]:
        """Yield every file once, in batches and in any order. Closing the iterator ends the work.

        Args:
            known: hashes of contents that need no description.
        """
        ...
