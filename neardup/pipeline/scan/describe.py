"""Files in, described contents out: decoding in threads, the network in batches, both at the same time.

Decoders hand over single frames, so that a batch may hold frames of many files and a long video never lies in memory
as a whole. Files come out in the order in which they are finished, not in that in which they went in. Of files with
identical bytes only one is decoded.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from neardup.pipeline.embed.description import Description, embed
from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.regions import Mode
from neardup.pipeline.scan.catalog import Content
from neardup.pipeline.scan.decode import TOGETHER, Decoder, End, Job, Piece
from neardup.pipeline.scan.walk import Found
from neardup.pipeline.types import Limits, Media

BATCH = 64
"""Frames given to the network at once, or 8 for each thread if that is more."""
MAX_BATCH_WAIT_SECONDS = 0.2
CHUNK_BYTES = 2**20
"""Files given to a thread at once are at most this large, or one."""
PASSING = frozenset({Reason.UNREADABLE, Reason.VANISHED, Reason.CHANGED})
"""Reasons that say something about the moment and not about the content of a file."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A file that was dealt with: described, with a content that was known already (None), or unusable."""

    file: Found
    sha256: bytes | None = None
    content: Content | None = None
    error: InvalidFrame | None = None


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
        known: Set[bytes],
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
        self._decoder = Decoder(size, known, limits, sample_fps, self._handed, regions)
        self._working = 0
        self._settled: dict[bytes, InvalidFrame | None] = dict.fromkeys(known)
        self._twins: dict[bytes, list[Job]] = {}

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
            self._decoder.stop()
            self._pool.shutdown(cancel_futures=True)
            self._network.shutdown(cancel_futures=True)

    def _start(self, jobs: list[Job]) -> None:
        self._pool.submit(self._decoder.decode, jobs)
        self._working += len(jobs)

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
        embed(self._embedder, shown)

    def _finish_all(self, pieces: list[Piece], embedded: Future[None]) -> list[Finished]:
        embedded.result()
        ended = [(piece.job, piece.end) for piece in pieces if piece.end is not None]
        return [finished for job, end in ended for finished in self._finish(job, end)]

    def _finish(self, job: Job, end: End) -> Iterator[Finished]:
        """Yield the file, and those that waited because their bytes are the same; or keep it waiting itself."""
        sha256, error = end.sha256, end.error
        if sha256 is None:
            yield Finished(job.file, error=error)
        elif end.media is None and error is None:
            if sha256 in self._settled:
                yield _twin(job, sha256, self._settled[sha256])
            elif self._decoder.is_taken(sha256):
                self._twins.setdefault(sha256, []).append(job)
            else:  # the one that it would wait for has just failed
                self._start([job])
        else:
            content = None if end.media is None else _content(job.description, end.media, sha256)
            yield Finished(job.file, sha256 if error is None else None, content, error)
            twins = self._twins.pop(sha256, [])
            if error is not None and error.reason in PASSING:  # which says nothing of the twins
                self._decoder.forget(sha256)
                for twin in twins:
                    self._start([twin])
                return
            self._settled[sha256] = error
            for twin in twins:
                yield _twin(twin, sha256, error)


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


def _twin(job: Job, sha256: bytes, error: InvalidFrame | None) -> Finished:
    return Finished(job.file, sha256 if error is None else None, error=error)


def _content(description: Description, media: Media, sha256: bytes) -> Content:
    return Content(sha256, media.format, description.parts(media, sha256))
