"""Files of a scan as sources of the describing engine: read, hashed, and described for the catalog."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from neardup.pipeline.describe.codec import to_records
from neardup.pipeline.describe.description import Description
from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.fetch import Fetched
from neardup.pipeline.scan.catalog import Content, Packed, pack
from neardup.pipeline.scan.walk import Found
from neardup.pipeline.types import Media

READ_WHOLE_BYTES = 16 * 2**20
"""Files up to this size are read once, to be hashed and decoded; larger ones are read twice."""
_SMALL_BYTES = 2**20


class FileTask(NamedTuple):
    """What decoding a file needs, see `describe.source.Task`. Nothing is stored but the description."""

    file: Found
    packed: bool = False

    def opened(self) -> AbstractContextManager[Fetched]:
        """Return the content, or the file where it is large."""
        return nullcontext(_read(self.file))

    def check(self, media: Media) -> None:
        """Take whatever can be opened."""

    def check_end(self) -> None:
        """Raise InvalidFrame where the file is no longer as it was listed."""
        _check_unchanged(self.file)

    def keep(self, jpeg: bytes, sha256: bytes) -> str:
        """Store nothing."""
        del jpeg, sha256
        return ""

    def keep_pack(self, pack: bytes, sha256: bytes) -> None:
        """Store nothing."""

    def result(self, description: Description) -> Packed:
        """Return the content as the catalog keeps it."""
        return pack(Content(description.sha256, description.format, to_records(description)))


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file of a scan, see `describe.source.Source`."""

    task: FileTask
    traceparent: str = ""
    sender: Hashable = None
    owner: str = ""
    gone: bool = False

    @property
    def small(self) -> bool:
        """Whether it is soon decoded."""
        return self.task.file.size <= _SMALL_BYTES


def _read(file: Found) -> Fetched:
    """Return the hash of a file, and its content or, if it is large, where it is."""
    try:
        with open(file.path, "rb", buffering=0) as opened:  # noqa: PTH123 (pathlib takes as long as the disk)
            if file.size > READ_WHOLE_BYTES:
                return Fetched(_digest(opened), Path(file.path))
            data = opened.read(file.size + 1)
    except FileNotFoundError as error:
        raise InvalidFrame(Reason.VANISHED, "the file was removed while scanning") from error
    except OSError as error:
        raise InvalidFrame(Reason.UNREADABLE, error.strerror or type(error).__name__) from error
    return Fetched(hashlib.sha256(data).digest(), data)


def _digest(opened: io.RawIOBase) -> bytes:
    digest = hashlib.sha256()
    while chunk := opened.read(2**20):
        digest.update(chunk)
    return digest.digest()


def _check_unchanged(file: Found) -> None:
    try:
        status = os.stat(file.path)  # noqa: PTH116
    except OSError as error:
        raise InvalidFrame(Reason.VANISHED, "the file was removed while scanning") from error
    if (status.st_size, status.st_mtime_ns) != (file.size, file.modified):
        raise InvalidFrame(Reason.CHANGED, "the file changed while scanning; scan again to include it")
