"""The decoding threads: one file at a time each, read, hashed and cut into frames."""

from __future__ import annotations

import hashlib
import io
import logging
import queue
import threading
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from neardup.pipeline.embed.description import Description
from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.media.regions import Cutter, Mode
from neardup.pipeline.scan.walk import Found
from neardup.pipeline.types import Frame, Limits, Media

logger = logging.getLogger(__name__)
READ_WHOLE_BYTES = 16 * 2**20
"""Files up to this size are read once, to be hashed and decoded; larger ones are read twice."""

TOGETHER = 8
"""Pieces handed over at once: each time threads wait for each other."""


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
    """What the decoding threads share.

    Args:
        size: side of the tiles.
        known: hashes of contents that need no decoding.
        handed: where pieces go, a few at a time.
        regions: see `open_media`.
    """

    def __init__(
        self,
        size: int,
        known: Set[bytes],
        limits: Limits,
        sample_fps: float,
        handed: queue.Queue[list[Piece]],
        regions: Mode = "none",
    ) -> None:
        self._size = size
        self._limits = limits
        self._sample_fps = sample_fps
        self._handed = handed
        self._regions = regions
        self._taken = set(known)
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let the threads end; nobody waits for their pieces any more."""
        self._stopped.set()

    def forget(self, sha256: bytes) -> None:
        """Let the next file with this content be decoded."""
        with self._lock:
            self._taken.discard(sha256)

    def is_taken(self, sha256: bytes) -> bool:
        """Return whether a file with this content was or is being decoded, and was not forgotten."""
        with self._lock:
            return sha256 in self._taken

    def decode(self, jobs: Sequence[Job]) -> None:
        """Read files and hand over their frames; each ends with exactly one `End`. Images are opened all at once."""
        cutter = Cutter(self._regions)
        opened = [self._open(job, cutter) for job in jobs]
        pieces: list[Piece] = []
        for one in opened:
            for piece in self._pieces(one, cutter):
                pieces.append(piece)
                if len(pieces) == TOGETHER:
                    if not self._hand_over(pieces):
                        return
                    pieces = []
        if pieces:
            self._hand_over(pieces)

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
        with self._lock:
            taken = sha256 in self._taken
            self._taken.add(sha256)
        return not taken

    def _hand_over(self, pieces: list[Piece]) -> bool:
        """Return False where nobody wants them any more."""
        while not self._stopped.is_set():
            try:
                self._handed.put(pieces, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False


def _reason(job: Job, error: Exception) -> InvalidFrame:
    """Return the error without its traceback, which would keep the file's content in memory."""
    if isinstance(error, InvalidFrame):
        return InvalidFrame(error.reason, error.detail)
    # A fault of ours or of a decoder: it costs this file, not the scan.
    logger.info("file could not be decoded path=%r", job.file.path, exc_info=error)
    return InvalidFrame(Reason.DECODE, f"{type(error).__name__}: {error}")


def _read(file: Found) -> tuple[bytes, bytes | Path]:
    """Return the hash of a file, and its content or, if it is large, where it is."""
    path = Path(file.path)
    try:
        with path.open("rb", buffering=0) as opened:
            if file.size > READ_WHOLE_BYTES:
                return _digest(opened), path
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
        status = Path(file.path).stat()
    except OSError as error:
        raise InvalidFrame(Reason.VANISHED, "the file was removed while scanning") from error
    if (status.st_size, status.st_mtime_ns) != (file.size, file.modified):
        raise InvalidFrame(Reason.CHANGED, "the file changed while scanning; scan again to include it")
