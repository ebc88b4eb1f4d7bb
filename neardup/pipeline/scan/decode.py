"""Files read, hashed and cut into frames, a few at a time."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import threading
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from neardup.pipeline.embed.description import Description
from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.media.regions import Cutter, Mode
from neardup.pipeline.scan.walk import Found
from neardup.pipeline.types import Frame, Kind, Limits, Media

logger = logging.getLogger(__name__)
READ_WHOLE_BYTES = 16 * 2**20
"""Files up to this size are read once, to be hashed and decoded; larger ones are read twice."""


@dataclass(slots=True)
class Job:
    """A file on its way."""

    file: Found
    description: Description = field(default_factory=Description)


@dataclass(frozen=True, slots=True)
class End:
    """How a file ended.

    Attributes:
        sha256: None where it could not be read.
        media: None where there is an error, or where another file with the same bytes came before.
    """

    sha256: bytes | None
    media: Media | None = None
    error: InvalidFrame | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """What a decoder hands over: a frame, how the file ended, or both."""

    job: Job
    frame: Frame | None = None
    end: End | None = None


@dataclass(frozen=True, slots=True)
class _Opened:
    job: Job
    sha256: bytes
    media: Media


class Decoder:
    """Decodes each content once; safe to be used by several threads.

    Args:
        size: side of the tiles.
        known: hashes of contents that need no decoding.
        regions: see `open_media`.
    """

    def __init__(
        self, size: int, known: Container[bytes], limits: Limits, sample_fps: float, regions: Mode = "none"
    ) -> None:
        self._size = size
        self._known = known
        self._limits = limits
        self._sample_fps = sample_fps
        self._regions = regions
        self._taken: set[bytes] = set()
        self._lock = threading.Lock()

    def forget(self, sha256: bytes) -> None:
        """Let the next file with this content be decoded."""
        with self._lock:
            self._taken.discard(sha256)

    def is_taken(self, sha256: bytes) -> bool:
        """Return whether a file with this content was or is being decoded, and was not forgotten."""
        with self._lock:
            return sha256 in self._taken

    def pieces(self, jobs: Sequence[Job]) -> Iterator[Piece]:
        """Read files and yield their frames; each ends with exactly one `End`. Images are opened all at once.

        Videos are not: each holds what its decoder needs until its end.
        """
        cutter = Cutter(self._regions)
        images = []
        for job in jobs:
            opened = self._open(job, cutter)
            if isinstance(opened, _Opened) and opened.media.kind is Kind.VIDEO:
                yield from self._pieces(opened, Cutter("none"))
            else:
                images.append(opened)
        for image in images:
            yield from self._pieces(image, cutter)

    def _open(self, job: Job, cutter: Cutter) -> Piece | _Opened:
        sha256: bytes | None = None
        try:
            sha256, source = _read(job.file)
            if not self._take(sha256):
                return Piece(job, end=End(sha256))
            return _Opened(job, sha256, open_media(source, self._size, self._limits, self._sample_fps, regions=cutter))
        except Exception as error:
            return Piece(job, end=End(sha256, error=_reason(job, error)))

    def _pieces(self, opened: Piece | _Opened, cutter: Cutter) -> Iterator[Piece]:
        if isinstance(opened, Piece):
            yield opened
            return
        try:
            cutter.cut()
            yield from self._frames(opened.job, opened.sha256, opened.media)
        except Exception as error:
            yield Piece(opened.job, end=End(opened.sha256, error=_reason(opened.job, error)))

    def _frames(self, job: Job, sha256: bytes, media: Media) -> Iterator[Piece]:
        last: Frame | None = None
        for frame in media.frames:
            if last is not None:
                yield Piece(job, last)
            last = frame
        if last is None:
            raise InvalidFrame(Reason.DECODE, f"{media.format}: no frames")
        _check_unchanged(job.file)
        yield Piece(job, last, End(sha256, media))

    def _take(self, sha256: bytes) -> bool:
        if sha256 in self._known:
            return False
        with self._lock:
            taken = sha256 in self._taken
            self._taken.add(sha256)
        return not taken


def _reason(job: Job, error: Exception) -> InvalidFrame:
    """Return the error without its traceback, which would keep the file's content in memory."""
    if isinstance(error, InvalidFrame):
        return InvalidFrame(error.reason, error.detail)
    # A fault of ours or of a decoder: it costs this file, not the scan.
    logger.info("file could not be decoded path=%r", job.file.path, exc_info=error)
    return InvalidFrame(Reason.DECODE, f"{type(error).__name__}: {error}")


def _read(file: Found) -> tuple[bytes, bytes | Path]:
    """Return the hash of a file, and its content or, if it is large, where it is."""
    try:
        with open(file.path, "rb", buffering=0) as opened:  # noqa: PTH123 (pathlib takes as long as the disk)
            if file.size > READ_WHOLE_BYTES:
                return _digest(opened), Path(file.path)
            data = opened.read(file.size + 1)
    except FileNotFoundError as error:
        raise InvalidFrame(Reason.VANISHED, "the file was removed while scanning") from error
    except OSError as error:
        raise InvalidFrame(Reason.UNREADABLE, error.strerror or type(error).__name__) from error
    return hashlib.sha256(data).digest(), data


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
