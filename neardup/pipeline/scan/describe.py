"""Files in, described contents out: decoding in threads, the network in batches, both at the same time.

Decoders hand over single frames, so that a batch may hold frames of many files and a long video never lies in memory
as a whole. Files come out in the order in which they are finished, not in that in which they went in. Of files with
identical bytes only one is decoded.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor

from neardup.pipeline.embed.description import embed_each
from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.media.regions import Mode
from neardup.pipeline.scan.decode import Decoder, Job, Piece
from neardup.pipeline.scan.finished import Describe, Finished
from neardup.pipeline.scan.twins import Twins
from neardup.pipeline.scan.walk import Found
from neardup.pipeline.settings import Settings
from neardup.pipeline.types import Limits

BATCH = 64
"""Frames given to the network at once, or 8 for each thread if that is more."""
MAX_BATCH_WAIT_SECONDS = 0.2
TOGETHER = 8
"""Files given to a thread at once, and pieces that it hands over at once: each time threads wait for each other."""
CHUNK_BYTES = 2**20
"""Files given to a thread at once are at most this large together, or one."""


class Describer:
    """Owns the decoding threads while `describe` runs; to be used once.

    Args:
        make_embedder: called when the first frame has to be embedded.
        size: side of the tiles that the embedder takes.
        known: hashes of contents that need no description.
        threads: decoders; the network uses the threads that its engine was made with.
        regions: see `open_media`.
    """

    def __init__(
        self,
        make_embedder: Callable[[], Embedder],
        size: int,
        known: Container[bytes],
        limits: Limits,
        sample_fps: float,
        threads: int,
        regions: Mode = "none",
    ) -> None:
        self._make_embedder = make_embedder
        self._embedder: Embedder | None = None
        self._batch = max(BATCH, 8 * threads)
        self._handed: queue.Queue[list[Piece]] = queue.Queue(maxsize=4 * self._batch // TOGETHER)
        self._pieces: deque[Piece] = deque()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._network = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._stopped = threading.Event()
        self._decoder = Decoder(size, known, limits, sample_fps, regions)
        self._twins = Twins(self._decoder, known, lambda job: self._start([job]))
        self._working = 0

    def describe(self, files: Iterable[Found]) -> Generator[list[Finished]]:
        """Yield every file once, those together that were finished with one batch; some batches finish none.

        While the caller looks at a batch, the network works on the next. Closing the iterator stops the decoders.
        """
        waiting = _chunks(files)
        running: tuple[list[Piece], Future[None]] | None = None
        try:
            while True:
                while self._working < 4 * self._batch and (chunk := next(waiting, None)) is not None:
                    self._start([Job(file) for file in chunk])
                before, running = running, None
                if self._working:
                    pieces = self._collect()
                    running = pieces, self._network.submit(self._embed, pieces)
                if before is not None:
                    yield self._finish_all(*before)
                elif running is None:
                    return
        finally:
            self._stopped.set()
            self._pool.shutdown(cancel_futures=True)
            self._network.shutdown(cancel_futures=True)

    def _start(self, jobs: list[Job]) -> None:
        self._pool.submit(self._decode, jobs)
        self._working += len(jobs)

    def _decode(self, jobs: list[Job]) -> None:
        """Hand over the pieces of some files, a few at a time, as threads wait for each other each time."""
        pieces: list[Piece] = []
        for piece in self._decoder.pieces(jobs):
            pieces.append(piece)
            if len(pieces) == TOGETHER:
                if not self._hand_over(pieces):
                    return
                pieces = []
        if pieces:
            self._hand_over(pieces)

    def _hand_over(self, pieces: list[Piece]) -> bool:
        """Return False where nobody wants them any more."""
        while not self._stopped.is_set():
            try:
                self._handed.put(pieces, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _collect(self) -> list[Piece]:
        """Return pieces with a full batch of frames, or what came within the waiting time, or all that is left."""
        pieces: list[Piece] = []
        frames = 0
        deadline = time.monotonic() + MAX_BATCH_WAIT_SECONDS
        while self._working and frames < self._batch:
            if not self._pieces:
                try:
                    handed = self._handed.get(timeout=max(deadline - time.monotonic(), 0.0) if pieces else None)
                except queue.Empty:
                    break
                self._pieces.extend(handed)
            piece = self._pieces.popleft()
            pieces.append(piece)
            frames += piece.frame is not None
            self._working -= piece.end is not None
        return pieces

    def _embed(self, pieces: list[Piece]) -> None:
        """Add descriptors to the items of those pieces that are frames; runs in the network's thread."""
        shown = [(piece.job.description, piece.frame) for piece in pieces if piece.frame is not None]
        if not shown:
            return
        if self._embedder is None:
            self._embedder = self._make_embedder()
        embed_each(self._embedder, shown)

    def _finish_all(self, pieces: list[Piece], embedded: Future[None]) -> list[Finished]:
        embedded.result()
        ended = [(piece.job, piece.end) for piece in pieces if piece.end is not None]
        return [finished for job, end in ended for finished in self._twins.settle(job, end)]


def in_threads(make_embedder: Callable[[], Embedder], size: int, settings: Settings) -> Describe:
    """Return what describes files with threads of this process; arguments as of `Describer`."""

    def describe(files: Sequence[Found], known: Set[bytes]) -> Generator[list[Finished]]:
        describer = Describer(
            make_embedder,
            size,
            known,
            settings.scan_limits,
            settings.sample_fps,
            settings.worker_threads,
            settings.regions,
        )
        return describer.describe(files)

    return describe


def _chunks(files: Iterable[Found]) -> Iterator[list[Found]]:
    """Yield files a few at a time if they are small, else each alone."""
    chunk: list[Found] = []
    size = 0
    for file in files:
        if chunk and (len(chunk) == TOGETHER or size + file.size > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(file)
        size += file.size
    if chunk:
        yield chunk
