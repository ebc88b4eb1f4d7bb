"""Items in, descriptions out, without ever making the caller wait long: decoding in threads, the network in batches.

A batch closes when it is full or when its oldest frame has waited `max_batch_wait_seconds`, whichever is first; it may
span items and partitions. An item comes out once its thumbnail is stored: in the decoding thread, or where storing
takes its time, in threads of its own.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from neardup.pipeline.embed.description import embed_each
from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.log.records import Described
from neardup.pipeline.media.regions import Mode
from neardup.pipeline.types import Limits
from neardup.workers.describe.decode import Decoders, End, Job, Piece, S
from neardup.workers.run import tracing
from neardup.workers.run.telemetry import BATCH_FRAMES, FRAMES_OUT, STAGE_SECONDS

if TYPE_CHECKING:  # it imports torch
    from neardup.pipeline.media.nvjpeg import GpuJpegs

_TICK_SECONDS = 0.005
"""How often is looked for what came: a wake-up for each frame would cost more than the wait."""
_EMBED, _EMBEDDED = STAGE_SECONDS.labels("embed"), FRAMES_OUT.labels("embed")


@dataclass(frozen=True, slots=True)
class Done(Generic[S]):
    """An item that was dealt with: its records, without id; or the error."""

    source: S
    parts: Sequence[Described] = ()
    error: InvalidFrame | None = None


class Describer(Generic[S]):
    """Owns the decoding threads until `close`. One thread calls its methods.

    Args:
        threads: which decode on the CPU.
        batch: frames given to the network at once.
        wait_seconds: the longest that a frame waits for its batch.
        thumbnail_side: longest side of thumbnails, 0 for none.
        writers: threads that store thumbnails; 0 lets the decoding threads do it.
        jpegs: a GPU's decoder, which is asked first for what is in memory.
        regions: see `open_media`.
    """

    def __init__(
        self,
        embedder: Embedder,
        limits: Limits,
        sample_fps: float,
        threads: int,
        batch: int,
        wait_seconds: float,
        thumbnail_side: int = 0,
        writers: int = 0,
        jpegs: GpuJpegs | None = None,
        regions: Mode = "none",
    ) -> None:
        self._embedder = embedder
        self._batch = batch
        self._wait_seconds = wait_seconds
        self._jobs: set[Job[S]] = set()
        self._decoders: Decoders[S] = Decoders(
            embedder.size, limits, sample_fps, threads, 4 * batch, thumbnail_side, writers, jpegs, regions
        )

    @property
    def working(self) -> int:
        """Items that were added and have not come out."""
        return len(self._jobs)

    @property
    def waiting(self) -> int:
        """Items whose decoding has not begun."""
        return self._decoders.waiting

    def add(self, source: S) -> None:
        """Take an item in."""
        job = Job(source)
        self._jobs.add(job)
        self._decoders.add(job)

    def drop_waiting(self) -> list[S]:
        """Return the items whose decoding has not begun; they will not come out."""
        dropped = self._decoders.drop_waiting()
        self._jobs.difference_update(dropped)
        return [job.source for job in dropped]

    def close(self) -> None:
        """Let the threads end after the frame that they are at; does not wait for them."""
        self._decoders.close()

    def step(self, seconds: float) -> list[Done[S]]:
        """Embed at most one batch and return the items that end with it.

        Args:
            seconds: how long to wait for a first frame.
        Raises:
            PipelineError: something outside failed; nothing can be said of the items.
        """
        pieces = self._collect(seconds)
        frames = [(piece.job.description, piece.frame) for piece in pieces if piece.frame is not None]
        if frames:
            BATCH_FRAMES.observe(len(frames))
            with _EMBED.time(), tracing.span("embed", (p.job.source.traceparent for p in pieces), frames=len(frames)):
                embed_each(self._embedder, frames)
            _EMBEDDED.inc(len(frames))
        return [self._finish(piece.job, piece.end) for piece in pieces if piece.end is not None]

    def _collect(self, seconds: float) -> list[Piece[S]]:
        """Return pieces with a full batch of frames, or what came within the waiting time, or all that is left."""
        pieces: list[Piece[S]] = []
        waiting = self._decoders.pieces
        frames = ends = 0
        deadline = time.monotonic() + seconds
        while frames < self._batch and ends < len(self._jobs):
            left = deadline - time.monotonic()
            try:
                if pieces and left > 0 and waiting.empty():
                    time.sleep(min(left, _TICK_SECONDS))
                piece = waiting.get(timeout=0.0 if pieces else max(left, 0.0))
            except queue.Empty:
                if left <= 0 or not pieces:
                    break
                continue
            pieces.append(piece)
            ends += piece.end is not None
            if piece.frame is not None:
                deadline = deadline if frames else piece.made + self._wait_seconds
                frames += 1
            elif not frames:
                deadline = 0.0  # an item that could not be decoded waits for nothing
        return pieces

    def _finish(self, job: Job[S], end: End) -> Done[S]:
        self._jobs.discard(job)
        error = end.error or job.description.error
        if isinstance(error, InvalidFrame):
            return Done(job.source, error=error)
        if error is not None:
            raise error
        assert end.media is not None
        return Done(job.source, job.description.parts(end.media, end.sha256, end.thumbnail))
