"""Items in, descriptions out, without ever making the caller wait long: decoding in threads, the network in batches.

A batch closes when it is full or when its oldest frame has waited `max_batch_wait_seconds`, whichever is first; it may
span items and partitions. A batch on which the network fails is halved until the item that it fails on stands alone.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.errors import DependencyError, InvalidFrame, PipelineError, Reason
from neardup.pipeline.media.fetch import Fetched
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.messages import Described, pack_hashes, pack_vectors
from neardup.pipeline.telemetry import BATCH_FRAMES, FRAMES_OUT, STAGE_SECONDS
from neardup.pipeline.types import Embedded, Frame, Limits, Media

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
    rows: list[tuple[bytes, bytes, int]] = field(default_factory=list)
    """Of each frame its vector, its hash and its detail."""
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
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._waiting: dict[Future[None], S] = {}

    @property
    def working(self) -> int:
        """Items that were added and did not come out."""
        return len(self._waiting) + self._ended

    _ended = 0

    def add(self, source: S) -> None:
        """Take an item in."""
        self._waiting[self._pool.submit(self._decode, _Job(source))] = source

    def drop_waiting(self) -> list[S]:
        """Return the items whose decoding has not begun; they will not come out."""
        dropped = [future for future in self._waiting if future.cancel()]
        return [self._waiting.pop(future) for future in dropped]

    def close(self) -> None:
        """Let the threads end after the frame that they are at; does not wait for them."""
        self._stopped.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def step(self, seconds: float) -> Iterator[Done[S]]:
        """Embed at most one batch and yield the items that end with it.

        Args:
            seconds: how long to wait for a first frame.
        Raises:
            DependencyError: something outside failed; nothing can be said of the items.
        """
        pieces = self._collect(seconds)
        self._embed([piece for piece in pieces if piece.frame is not None])
        for piece in pieces:
            if piece.frame is None:
                yield self._end(piece)

    def _collect(self, seconds: float) -> list[_Piece[S]]:
        pieces: list[_Piece[S]] = []
        frames, deadline = 0, time.monotonic() + seconds
        while frames < self._batch:
            try:
                piece = self._pieces.get(timeout=max(deadline - time.monotonic(), 0.0))
            except queue.Empty:
                break
            pieces.append(piece)
            if piece.frame is not None:
                frames += 1
                if frames == 1:
                    deadline = piece.made + self._wait_seconds
            elif not frames:
                deadline = 0.0  # nothing to batch: an item that could not be decoded
            if frames == sum_open(self._waiting):
                break
        return pieces
