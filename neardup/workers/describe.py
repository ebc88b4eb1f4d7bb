"""Items in, descriptions out, without ever making the caller wait long: decoding in threads, the network in batches.

A batch closes when it is full or when its oldest frame has waited `max_batch_wait_seconds`, whichever is first; it may
span items and partitions. A batch on which the network fails is halved until the item that it fails on stands alone.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np

from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.errors import DependencyError, InvalidFrame, PipelineError, Reason
from neardup.pipeline.media.fetch import Fetched
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.messages import Described, pack_hashes, pack_vectors
from neardup.pipeline.telemetry import BATCH_FRAMES, FRAMES_OUT, STAGE_SECONDS
from neardup.pipeline.types import Frame, Limits, Media

logger = logging.getLogger(__name__)
MAX_DESCRIPTORS_PER_PART = 256


class Source(Protocol):
    """Where an item's content comes from; opened in a decoding thread."""

    def opened(self) -> AbstractContextManager[Fetched]:
        """Return the content while the context lasts; raises InvalidFrame where it cannot be had."""


S = TypeVar("S", bound=Source)


@dataclass(frozen=True, slots=True)
class Done(Generic[S]):
    """An item that was dealt with: its records, without id; or the error."""

    source: S
    parts: tuple[Described, ...] = ()
    error: InvalidFrame | None = None


@dataclass(slots=True, eq=False)
class _Job(Generic[S]):
    source: S
    pts: list[float] = field(default_factory=list)
    vectors: list[bytes] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    detail: list[int] = field(default_factory=list)
    error: InvalidFrame | None = None
    """The network failed on one of its frames."""


@dataclass(frozen=True, slots=True)
class _Piece(Generic[S]):
    """What a decoder hands over: a frame, or how the item ended."""

    job: _Job[S]
    frame: Frame | None = None
    media: Media | None = None
    sha256: bytes = b""
    error: PipelineError | None = None
    made: float = field(default_factory=time.monotonic)


class Describer(Generic[S]):
    """Owns the decoding threads until `close`. One thread calls its methods.

    Args:
        batch: frames given to the network at once.
        wait_seconds: the longest that a frame waits for its batch.
    """

    def __init__(
        self, embedder: Embedder, limits: Limits, sample_fps: float, threads: int, batch: int, wait_seconds: float
    ) -> None:
        self._embedder = embedder
        self._limits = limits
        self._sample_fps = sample_fps
        self._batch = batch
        self._wait_seconds = wait_seconds
        self._pieces: queue.Queue[_Piece[S]] = queue.Queue(maxsize=4 * batch)
        self._stopped = threading.Event()
        self._jobs: set[_Job[S]] = set()
        self._waiting: queue.SimpleQueue[_Job[S]] = queue.SimpleQueue()
        # Daemons: a decoder that is deep in a video must not keep a drained process from ending.
        for number in range(threads):
            threading.Thread(target=self._decode_all, name=f"decode-{number}", daemon=True).start()

    @property
    def working(self) -> int:
        """Items that were added and have not come out."""
        return len(self._jobs)

    @property
    def waiting(self) -> int:
        """Items whose decoding has not begun."""
        return self._waiting.qsize()

    def add(self, source: S) -> None:
        """Take an item in."""
        job = _Job(source)
        self._jobs.add(job)
        self._waiting.put(job)

    def drop_waiting(self) -> list[S]:
        """Return the items whose decoding has not begun; they will not come out."""
        dropped: list[S] = []
        with suppress(queue.Empty):
            while True:
                job = self._waiting.get_nowait()
                self._jobs.discard(job)
                dropped.append(job.source)
        return dropped

    def close(self) -> None:
        """Let the threads end after the frame that they are at; does not wait for them."""
        self._stopped.set()

    def step(self, seconds: float) -> list[Done[S]]:
        """Embed at most one batch and return the items that end with it.

        Args:
            seconds: how long to wait for a first frame.
        Raises:
            DependencyError: something outside failed; nothing can be said of the items.
        """
        pieces = self._collect(seconds)
        frames = [(piece.job, piece.frame) for piece in pieces if piece.frame is not None]
        if frames:
            BATCH_FRAMES.observe(len(frames))
            with STAGE_SECONDS.labels("embed").time():
                self._embed(frames)
            FRAMES_OUT.labels("embed").inc(len(frames))
        return [self._end(piece) for piece in pieces if piece.frame is None]

    def _collect(self, seconds: float) -> list[_Piece[S]]:
        """Return pieces with a full batch of frames, or what came within the waiting time, or all that is left."""
        pieces: list[_Piece[S]] = []
        frames = ends = 0
        deadline = time.monotonic() + seconds
        while frames < self._batch and ends < len(self._jobs):
            try:
                piece = self._pieces.get(timeout=max(deadline - time.monotonic(), 0.0))
            except queue.Empty:
                break
            pieces.append(piece)
            if piece.frame is None:
                ends += 1
                deadline = deadline if frames else 0.0  # an item that could not be decoded waits for nothing
            else:
                deadline = deadline if frames else piece.made + self._wait_seconds
                frames += 1
        return pieces

    def _embed(self, frames: Sequence[tuple[_Job[S], Frame]]) -> None:
        try:
            embedded = self._embedder.embed(np.stack([frame.tile for _, frame in frames]))
        except DependencyError:
            raise
        except Exception as error:
            logger.warning("network failed on a batch frames=%d", len(frames), exc_info=True)
            if len(frames) == 1:
                frames[0][0].error = InvalidFrame(Reason.MODEL, f"{type(error).__name__}: {error}")
                return
            middle = len(frames) // 2
            self._embed(frames[:middle])
            self._embed(frames[middle:])
            return
        vectors, hashes = pack_vectors(embedded.vectors), pack_hashes(embedded.hashes)
        width, bits = len(vectors) // len(frames), len(hashes) // len(frames)
        for row, (job, frame) in enumerate(frames):
            job.pts.append(frame.pts)
            job.vectors.append(vectors[row * width : (row + 1) * width])
            job.hashes.append(hashes[row * bits : (row + 1) * bits])
            job.detail.append(int(embedded.detail[row]))

    def _end(self, piece: _Piece[S]) -> Done[S]:
        job = piece.job
        self._jobs.discard(job)
        error = piece.error or job.error
        if isinstance(error, InvalidFrame):
            return Done(job.source, error=error)
        if error is not None:
            raise error
        assert piece.media is not None
        return Done(job.source, tuple(_parts(job, piece.media, piece.sha256)))

    def _decode_all(self) -> None:
        while not self._stopped.is_set():
            with suppress(queue.Empty):
                self._decode(self._waiting.get(timeout=0.5))

    def _decode(self, job: _Job[S]) -> None:
        """Hand over the frames of one item and how it ended; runs in a thread."""
        try:
            with STAGE_SECONDS.labels("decode").time(), job.source.opened() as fetched:
                media = open_media(fetched.source, self._embedder.size, self._limits, self._sample_fps)
                frames = 0
                for frame in media.frames:
                    frames += 1
                    if not self._put(_Piece(job, frame)):
                        return
            if not frames:
                raise InvalidFrame(Reason.DECODE, f"{media.format}: no frames")
            FRAMES_OUT.labels("decode").inc(frames)
            self._put(_Piece(job, media=media, sha256=fetched.sha256))
        except PipelineError as error:
            self._put(_Piece(job, error=error))
        except Exception as error:
            # A fault of ours or of a decoder: it costs this item, not its neighbours.
            logger.warning("item could not be decoded", exc_info=True)
            self._put(_Piece(job, error=InvalidFrame(Reason.DECODE, f"{type(error).__name__}: {error}")))

    def _put(self, piece: _Piece[S]) -> bool:
        """Hand a piece over; return False where nobody wants it."""
        while not self._stopped.is_set():
            try:
                self._pieces.put(piece, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False


def _parts(job: _Job[S], media: Media, sha256: bytes) -> Iterator[Described]:
    """Cut an item into records of at most MAX_DESCRIPTORS_PER_PART descriptors."""
    for start in range(0, len(job.pts), MAX_DESCRIPTORS_PER_PART):
        part = slice(start, start + MAX_DESCRIPTORS_PER_PART)
        yield Described(
            id="",
            part=start // MAX_DESCRIPTORS_PER_PART,
            last=start + MAX_DESCRIPTORS_PER_PART >= len(job.pts),
            kind=media.kind,
            sha256=sha256,
            pixels_digest=media.pixels_digest,
            width=media.width,
            height=media.height,
            seconds=max(media.seconds, job.pts[-1]),
            dimension=len(job.vectors[0]) // 2,
            pts=tuple(job.pts[part]),
            vectors=b"".join(job.vectors[part]),
            hashes=b"".join(job.hashes[part]),
            detail=bytes(job.detail[part]),
        )
