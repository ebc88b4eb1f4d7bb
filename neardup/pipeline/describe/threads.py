"""The engine in threads of this process: they decode, and the caller's thread embeds in batches.

Without a GPU all threads take what waits. With one, two of them give it what is small and in memory, many at a time,
and leave the rest to the others. Senders take turns, see `fair_queue`. A thread that comes upon what takes long, a
video or a very large picture, starts another in its place, hands over what it has, and ends after it: small pictures
never wait behind long videos. Of those only so many are decoded at once.

A batch closes when it is full or when its oldest frame has waited `wait_seconds`, whichever is first; it may span items
and partitions. An item comes out once its thumbnail is stored: in the decoding thread, or where storing takes its time,
in threads of its own.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Generic

from neardup.pipeline.describe.decode import Decoder, Job, Look, Piece, finished
from neardup.pipeline.describe.description import embed_each
from neardup.pipeline.describe.fair_queue import FairQueue
from neardup.pipeline.describe.heavy import Heavy
from neardup.pipeline.describe.observe import SILENT, Observer
from neardup.pipeline.describe.once import Once
from neardup.pipeline.describe.source import Done, S
from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.errors import DependencyError

if TYPE_CHECKING:  # it imports torch
    from neardup.pipeline.media.nvjpeg import GpuJpegs

logger = logging.getLogger(__name__)
TOGETHER, GPU_TOGETHER = 8, 64
"""Items that a thread begins with at once, if that many wait: searching images for regions together costs half, and a
GPU does many in the time of one."""
GPU_THREADS = 2
"""Threads that decode on a GPU, beside those that decode on the CPU: one prepares while the GPU works for the other,
and more would only wait for each other at Python's lock."""
_FULL_SECONDS = 0.01
_TICK_SECONDS = 0.005
"""How often is looked for what came: a wake-up for each frame would cost more than the wait."""


class _Replaced(threading.local):
    """Whether this thread ends after what it is at."""

    yes = False


class _Decoders(Generic[S]):
    """Owns the threads until `close`.

    Args:
        most_pieces: beyond so many a decoder waits.
        others: see `ThreadDescriber`.

    Attributes:
        pieces: what was decoded; each item ends with one that says how.
    """

    def __init__(
        self,
        look: Look,
        threads: int,
        most_pieces: int,
        writers: int,
        jpegs: GpuJpegs | None,
        observer: Observer,
        once: Once | None,
    ) -> None:
        self.pieces: queue.SimpleQueue[Piece[S]] = queue.SimpleQueue()
        self._threads, self._most_pieces = threads, most_pieces
        self._unstored: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        store = self._unstored.put if writers else None
        self._decoder: Decoder[S] = Decoder(look, self._put, self._is_gone, observer, once, jpegs, store)
        self._stopped = threading.Event()
        self._waiting: FairQueue[Job[S]] = FairQueue(_sender_of)
        self._left: FairQueue[Job[S]] = self._waiting if jpegs is None else FairQueue(_sender_of)
        self._heavy = Heavy(max(2, threads))
        self._replaced = _Replaced()
        self._later: deque[Job[S]] = deque()
        # Daemons: a decoder that is deep in a video must not keep a drained process from ending.
        for number in range(threads):
            self._start(f"decode-{number}", self._left, self._decode_next)
        for number in range(GPU_THREADS if jpegs is not None else 0):
            self._start(f"decode-gpu-{number}", self._waiting, self._decode_next_on_gpu)
        for number in range(writers):
            threading.Thread(target=self._store_all, name=f"store-{number}", daemon=True).start()

    @property
    def waiting(self) -> int:
        left = self._left.qsize() if self._left is not self._waiting else 0
        return self._waiting.qsize() + left + len(self._later)

    def add(self, job: Job[S]) -> None:
        self._waiting.put(job)

    def drop_waiting(self) -> list[Job[S]]:
        """Return the items whose decoding has not begun; nothing will be handed over of them."""
        dropped: list[Job[S]] = []
        for waiting in (self._waiting, self._left):
            with suppress(queue.Empty):
                while True:
                    dropped.append(waiting.get_nowait())
        with suppress(IndexError):
            while True:
                dropped.append(self._later.popleft())
        return dropped

    def close(self) -> None:
        """Let the threads end after the frame that they are at; does not wait for them."""
        self._stopped.set()

    # -- in the threads ----------------------------------------------------------------------------------------------

    def _start(self, name: str, jobs: FairQueue[Job[S]], begin: Callable[[Job[S]], None]) -> None:
        try:
            threading.Thread(target=self._work, args=(jobs, begin), name=name, daemon=True).start()
        except RuntimeError as error:
            raise DependencyError(f"this machine: {error}") from error

    def _work(self, jobs: FairQueue[Job[S]], begin: Callable[[Job[S]], None]) -> None:
        while not self._stopped.is_set():
            try:
                begin(jobs.get(timeout=0.5))
            except queue.Empty:
                self._resume()
            except Exception:  # all that was begun with was handed over by then
                logger.warning("content could not be put away", exc_info=True)
            if self._replaced.yes:
                return

    def _decode_next(self, job: Job[S]) -> None:
        """Decode an item, and with it small ones that wait. Fetch none to lie about behind many that take long."""
        jobs = _with_small(job, self._left, TOGETHER, self._threads)
        if jobs[-1].source.small:
            self._decode(jobs)
            return
        *jobs, job = jobs
        self._decode(jobs)
        if self._heavy.full:
            self._later.append(job)
        else:
            self._decode([job])

    def _decode(self, jobs: list[Job[S]]) -> None:
        self._decoder.decode(jobs, self._left.put, self._begin_long)

    def _decode_next_on_gpu(self, job: Job[S]) -> None:
        """Decode small items on the GPU; leave to the other threads what it leaves, and what is not small."""
        jobs = _with_small(job, self._waiting, GPU_TOGETHER, GPU_THREADS)
        if not jobs[-1].source.small:
            self._left.put(jobs.pop())
        self._decoder.decode_on_gpu(jobs, self._left.put, self._begin_long)

    def _is_gone(self, job: Job[S]) -> bool:
        return self._stopped.is_set() or job.source.gone

    def _begin_long(self, job: Job[S], after: ExitStack) -> None:
        """Have another thread take this one's place, and wait until this item may take long."""
        owner = job.source.owner

        def replace() -> None:
            if not self._replaced.yes:
                self._start("decode-more", self._left, self._decode_next)
                self._replaced.yes = True

        if self._heavy.enter(owner, lambda: self._is_gone(job), replace):
            after.callback(self._resume)
            after.callback(self._heavy.leave, owner)

    def _resume(self) -> None:
        """Go on with one of those that were left for later."""
        with suppress(IndexError):
            if self._later and not self._heavy.full:
                self._left.put(self._later.popleft())

    def _store_all(self) -> None:
        while not self._stopped.is_set():
            with suppress(queue.Empty):
                self._unstored.get(timeout=0.5)()

    def _put(self, piece: Piece[S]) -> bool:
        """Hand a piece over; return False where nobody wants it. A long video waits until others have been taken."""
        while self.pieces.qsize() >= self._most_pieces and not self._stopped.wait(_FULL_SECONDS):
            pass
        if self._stopped.is_set():
            return False
        self.pieces.put(piece)
        return True


class ThreadDescriber(Generic[S]):
    """Owns the decoding threads until `close`; see `driver.Describer`.

    Args:
        embedder: the network, or what makes it when there is a first frame.
        look: how items are looked at.
        threads: which decode on the CPU.
        batch: frames given to the network at once.
        wait_seconds: the longest that a frame waits for its batch.
        writers: threads that store thumbnails; 0 lets the decoding threads do it.
        jpegs: a GPU's decoder, which is asked first for what is in memory.
        once: who describes a content; None describes all.
    """

    def __init__(
        self,
        embedder: Embedder | Callable[[], Embedder],
        look: Look,
        threads: int,
        batch: int,
        wait_seconds: float,
        writers: int = 0,
        jpegs: GpuJpegs | None = None,
        observer: Observer = SILENT,
        once: Once | None = None,
    ) -> None:
        self._embedder = embedder
        self._batch = batch
        self._wait_seconds = wait_seconds
        self._observer = observer
        self._jobs: set[Job[S]] = set()
        self._decoders: _Decoders[S] = _Decoders(look, threads, 4 * batch, writers, jpegs, observer, once)

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
        frames = [(piece.job.frames, piece.frame) for piece in pieces if piece.frame is not None]
        if frames:
            observer, count = self._observer, len(frames)
            with observer.timed("embed"), observer.span((p.job.source.traceparent for p in pieces), count):
                embed_each(self._network(), frames)
            observer.embedded(count)
        ended = [piece for piece in pieces if piece.end is not None]
        self._jobs.difference_update(piece.job for piece in ended)
        return [finished(piece) for piece in ended]

    def _network(self) -> Embedder:
        if callable(self._embedder):
            self._embedder = self._embedder()
        return self._embedder

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


def _with_small(job: Job[S], waiting: FairQueue[Job[S]], most: int, threads: int) -> list[Job[S]]:
    """Return a job and those behind it up to one that is not small, but none that another thread could begin with."""
    jobs = [job]
    with suppress(queue.Empty):
        while jobs[-1].source.small and len(jobs) < min(most, waiting.qsize() // threads):
            jobs.append(waiting.get_nowait())
    return jobs


def _sender_of(job: Job[S]) -> Hashable:
    return job.source.sender
