"""Files in, described contents out: decoding in threads, the network in batches, both at the same time.

Decoders hand over single frames, so that a batch may hold frames of many files and a long video never lies in memory
as a whole. Contents come out in the order in which they are finished, not in that of the files.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Generator, Iterable, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.messages import Described, pack_hashes, pack_vectors
from neardup.pipeline.scan.catalog import Content
from neardup.pipeline.scan.walk import Found
from neardup.pipeline.types import Embedded, Frame, Limits, Media

BATCH = 32
MAX_BATCH_WAIT_SECONDS = 0.05
MAX_DESCRIPTORS_PER_PART = 256
READ_WHOLE_BYTES = 64 * 2**20
"""Files up to this size are read once, into memory, to be hashed and decoded; larger ones are streamed."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A file that was dealt with: described, known already by its content (`content` is None), or unusable."""

    file: Found
    sha256: bytes | None = None
    content: Content | None = None
    error: InvalidFrame | None = None


@dataclass(slots=True)
class _Job:
    file: Found
    pts: list[float] = field(default_factory=list)
    embedded: list[Embedded] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Piece:
    """What a decoder hands over: a frame, or how the file ended."""

    job: _Job
    frame: Frame | None = None
    end: Media | BaseException | None = None
    sha256: bytes | None = None


class Describer:
    """Owns the decoding threads while `describe` runs.

    Args:
        known: hashes of contents that need no description.
        threads: decoders; the network uses the threads that its engine was made with.
    """

    def __init__(self, embedder: Embedder, known: Set[bytes], limits: Limits, sample_fps: float, threads: int) -> None:
        self._embedder = embedder
        self._known = known
        self._limits = limits
        self._sample_fps = sample_fps
        self._threads = threads
        self._pieces: queue.Queue[_Piece] = queue.Queue(maxsize=8 * BATCH)
        self._stopped = threading.Event()

    def describe(self, files: Iterable[Found]) -> Generator[Finished]:
        """Yield every file once. Closing the iterator stops the decoders."""
        waiting = iter(files)
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")
        working = 0
        try:
            while True:
                while working < 4 * BATCH and (file := next(waiting, None)) is not None:
                    pool.submit(self._decode, _Job(file))
                    working += 1
                if working == 0:
                    return
                pieces = self._collect()
                self._embed([piece for piece in pieces if piece.frame is not None])
                for piece in pieces:
                    if piece.end is not None:
                        working -= 1
                        yield _finish(piece, self._embedder.dimension)
        finally:
            self._stopped.set()
            pool.shutdown(cancel_futures=True)

    def _collect(self) -> list[_Piece]:
        """Return pieces with up to BATCH frames: a full batch, or what came within the waiting time."""
        pieces = [self._pieces.get()]
        frames = int(pieces[0].frame is not None)
        deadline = time.monotonic() + MAX_BATCH_WAIT_SECONDS
        while frames < BATCH:
            try:
                pieces.append(self._pieces.get(timeout=max(deadline - time.monotonic(), 0.0)))
            except queue.Empty:
                break
            frames += int(pieces[-1].frame is not None)
        return pieces

    def _embed(self, pieces: list[_Piece]) -> None:
        frames = [piece.frame for piece in pieces if piece.frame is not None]
        if not frames:
            return
        embedded = self._embedder.embed(np.stack([frame.tile for frame in frames]))
        for row, (piece, frame) in enumerate(zip(pieces, frames, strict=True)):
            piece.job.pts.append(frame.pts)
            one = slice(row, row + 1)
            piece.job.embedded.append(Embedded(embedded.vectors[one], embedded.hashes[one], embedded.detail[one]))

    # -- in the decoding threads -----------------------------------------------------------------------------------

    def _decode(self, job: _Job) -> None:
        try:
            sha256, media = self._open(job.file)
            if sha256 in self._known:
                self._put(_Piece(job, end=media, sha256=sha256))
                return
            for frame in media.frames:
                self._put(_Piece(job, frame))
            _check_unchanged(job.file)
            self._put(_Piece(job, end=media, sha256=sha256))
        except _Stopped:
            return
        except BaseException as error:
            # Handed to the thread that asked: it alone decides what ends the scan.
            self._put(_Piece(job, end=error))

    def _open(self, file: Found) -> tuple[bytes, Media]:
        path = Path(file.path)
        try:
            if file.size > READ_WHOLE_BYTES:
                media = open_media(path, self._embedder.size, self._limits, self._sample_fps)
                return _hash(path), media
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise InvalidFrame(Reason.VANISHED, "the file was removed while scanning") from error
        except OSError as error:
            raise InvalidFrame(Reason.UNREADABLE, str(error.strerror)) from error
        return hashlib.sha256(data).digest(), open_media(data, self._embedder.size, self._limits, self._sample_fps)

    def _put(self, piece: _Piece) -> None:
        while not self._stopped.is_set():
            try:
                self._pieces.put(piece, timeout=0.1)
                return
            except queue.Full:
                continue
        raise _Stopped


class _Stopped(Exception):
    """Nobody waits for the pieces any more."""


def _hash(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.digest()


def _check_unchanged(file: Found) -> None:
    try:
        status = Path(file.path).stat()
    except OSError as error:
        raise InvalidFrame(Reason.VANISHED, "the file was removed while scanning") from error
    if (status.st_size, status.st_mtime_ns) != (file.size, file.modified):
        raise InvalidFrame(Reason.CHANGED, "the file changed while scanning; scan again to include it")


def _finish(piece: _Piece, dimension: int) -> Finished:
    job, end = piece.job, piece.end
    if isinstance(end, InvalidFrame):
        return Finished(job.file, error=end)
    if isinstance(end, BaseException):
        raise end
    if end is None or piece.sha256 is None:
        raise AssertionError("a finished file has media and a hash")
    if not job.pts:
        return Finished(job.file, sha256=piece.sha256)
    return Finished(
        job.file, piece.sha256, Content(piece.sha256, end.format, _parts(job, end, piece.sha256, dimension))
    )


def _parts(job: _Job, media: Media, sha256: bytes, dimension: int) -> list[Described]:
    """Cut an item into records of at most MAX_DESCRIPTORS_PER_PART descriptors."""
    vectors = np.concatenate([one.vectors for one in job.embedded])
    hashes = np.concatenate([one.hashes for one in job.embedded])
    detail = np.concatenate([one.detail for one in job.embedded])
    starts = range(0, len(job.pts), MAX_DESCRIPTORS_PER_PART)
    return [
        Described(
            id="",
            part=part,
            last=start + MAX_DESCRIPTORS_PER_PART >= len(job.pts),
            kind=media.kind,
            sha256=sha256,
            pixels_digest=media.pixels_digest,
            width=media.width,
            height=media.height,
            seconds=max(media.seconds, job.pts[-1]),
            dimension=dimension,
            pts=tuple(job.pts[start : start + MAX_DESCRIPTORS_PER_PART]),
            vectors=pack_vectors(vectors[start : start + MAX_DESCRIPTORS_PER_PART]),
            hashes=pack_hashes(hashes[start : start + MAX_DESCRIPTORS_PER_PART]),
            detail=detail[start : start + MAX_DESCRIPTORS_PER_PART].tobytes(),
        )
        for part, start in enumerate(starts)
    ]
