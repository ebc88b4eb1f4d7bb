"""Items in, descriptions out, without ever making the caller wait long: decoding in threads, the network in batches.

A batch closes when it is full or when its oldest frame has waited `max_batch_wait_seconds`, whichever is first; it may
span items and partitions. An item comes out once its thumbnail is stored: in the decoding thread, or where storing
takes its time, in threads of its own.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from neardup.pipeline.embed.description import Description, embed_each
from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.errors import InvalidFrame, PipelineError, Reason
from neardup.pipeline.media.fetch import Fetched
from neardup.pipeline.media.preview import Preview
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.media.regions import Cutter, Mode
from neardup.pipeline.messages import Described
from neardup.pipeline.telemetry import BATCH_FRAMES, FRAMES_OUT, STAGE_SECONDS
from neardup.pipeline.types import Frame, Kind, Limits, Media
from neardup.workers import tracing

if TYPE_CHECKING:  # it imports torch
    from neardup.pipeline.media.nvjpeg import GpuJpegs, GpuPicture

logger = logging.getLogger(__name__)
TOGETHER, GPU_TOGETHER = 8, 64
"""Items that a thread begins with at once, if that many wait: searching images for regions together costs half, and a
GPU does many in the time of one."""
GPU_THREADS = 2
"""Threads that decode on a GPU, beside those that decode on the CPU: one prepares while the GPU works for the other,
and more would only wait for each other at Python's lock."""
_TICK_SECONDS = 0.005
"""How often is looked for what came: a wake-up for each frame would cost more than the wait."""
_FETCH, _DECODE, _STORE, _EMBED = (STAGE_SECONDS.labels(stage) for stage in ("fetch", "decode", "store", "embed"))
_DECODED, _EMBEDDED = FRAMES_OUT.labels("decode"), FRAMES_OUT.labels("embed")


class Source(Protocol):
    """Where an item's content comes from and its thumbnail goes to; called in threads."""

    @property
    def traceparent(self) -> str:
        """Where the item has been, see `tracing`; "" if that is not known."""

    @property
    def small(self) -> bool:
        """Whether the content is here, and soon decoded: then items that come after it may wait for it."""

    def opened(self) -> AbstractContextManager[Fetched]:
        """Return the content while the context lasts; raises InvalidFrame where it cannot be had."""

    def check(self, media: Media) -> None:
        """Raise InvalidFrame if the content may not be what it is."""

    def keep(self, jpeg: bytes, sha256: bytes) -> str:
        """Store a thumbnail and return where; raises DependencyError."""


S = TypeVar("S", bound=Source)


@dataclass(frozen=True, slots=True)
class Done(Generic[S]):
    """An item that was dealt with: its records, without id; or the error."""

    source: S
    parts: Sequence[Described] = ()
    error: InvalidFrame | None = None


@dataclass(slots=True, eq=False)
class _Job(Generic[S]):
    source: S
    description: Description = field(default_factory=Description)


@dataclass(frozen=True, slots=True)
class _End:
    """How the decoding of an item ended."""

    media: Media | None = None
    sha256: bytes = b""
    thumbnail: str = ""
    error: PipelineError | None = None


@dataclass(frozen=True, slots=True)
class _Piece(Generic[S]):
    """What is handed over: a frame, how the item ended, or both."""

    job: _Job[S]
    frame: Frame | None = None
    end: _End | None = None
    made: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class _Fetched(Generic[S]):
    job: _Job[S]
    content: Fetched


@dataclass(frozen=True, slots=True)
class _Opened(Generic[S]):
    job: _Job[S]
    media: Media
    sha256: bytes
    preview: Preview | None


class Describer(Generic[S]):
    """Owns the decoding threads until `close`. One thread calls its methods.

    Args:
        batch: frames given to the network at once.
        wait_seconds: the longest that a frame waits for its batch.
        thumbnail_side: longest side of thumbnails, 0 for none.
        writers: threads that store thumbnails; 0 lets the decoding threads do it.
        threads: which decode. jpegs: a GPU's decoder, which is asked first for what is in memory.
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
        self._limits = limits
        self._sample_fps = sample_fps
        self._batch = batch
        self._wait_seconds = wait_seconds
        self._thumbnail_side = thumbnail_side
        self._jpegs = jpegs
        self._regions = regions
        self._threads = threads
        self._unstored: queue.SimpleQueue[Callable[[], object]] | None = queue.SimpleQueue() if writers else None
        self._pieces: queue.SimpleQueue[_Piece[S]] = queue.SimpleQueue()
        self._most_pieces = 4 * batch
        self._stopped = threading.Event()
        self._jobs: set[_Job[S]] = set()
        self._waiting: queue.SimpleQueue[_Job[S]] = queue.SimpleQueue()
        self._left = self._waiting if jpegs is None else queue.SimpleQueue[_Job[S]]()
        # Daemons: a decoder that is deep in a video must not keep a drained process from ending.
        for number in range(threads):
            self._start(f"decode-{number}", self._left, self._decode_next)
        for number in range(GPU_THREADS if jpegs is not None else 0):
            self._start(f"decode-gpu-{number}", self._waiting, self._decode_next_on_gpu)
        for number in range(writers):
            threading.Thread(target=self._store_all, name=f"store-{number}", daemon=True).start()

    @property
    def working(self) -> int:
        """Items that were added and have not come out."""
        return len(self._jobs)

    @property
    def waiting(self) -> int:
        """Items whose decoding has not begun."""
        return self._waiting.qsize() + (self._left.qsize() if self._left is not self._waiting else 0)

    def add(self, source: S) -> None:
        """Take an item in."""
        job = _Job(source)
        self._jobs.add(job)
        self._waiting.put(job)

    def drop_waiting(self) -> list[S]:
        """Return the items whose decoding has not begun; they will not come out."""
        dropped: list[S] = []
        for waiting in (self._waiting, self._left):
            with suppress(queue.Empty):
                while True:
                    job = waiting.get_nowait()
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

    def _collect(self, seconds: float) -> list[_Piece[S]]:
        """Return pieces with a full batch of frames, or what came within the waiting time, or all that is left."""
        pieces: list[_Piece[S]] = []
        frames = ends = 0
        deadline = time.monotonic() + seconds
        while frames < self._batch and ends < len(self._jobs):
            left = deadline - time.monotonic()
            try:
                if pieces and left > 0 and self._pieces.empty():
                    time.sleep(min(left, _TICK_SECONDS))
                piece = self._pieces.get(timeout=0.0 if pieces else max(left, 0.0))
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

    def _finish(self, job: _Job[S], end: _End) -> Done[S]:
        self._jobs.discard(job)
        error = end.error or job.description.error
        if isinstance(error, InvalidFrame):
            return Done(job.source, error=error)
        if error is not None:
            raise error
        assert end.media is not None
        return Done(job.source, job.description.parts(end.media, end.sha256, end.thumbnail))

    # -- in the threads ----------------------------------------------------------------------------------------------

    def _start(self, name: str, jobs: queue.SimpleQueue[_Job[S]], begin: Callable[[_Job[S]], None]) -> None:
        threading.Thread(target=self._work, args=(jobs, begin), name=name, daemon=True).start()

    def _work(self, jobs: queue.SimpleQueue[_Job[S]], begin: Callable[[_Job[S]], None]) -> None:
        while not self._stopped.is_set():
            try:
                begin(jobs.get(timeout=0.5))
            except queue.Empty:
                continue
            except Exception:  # all that was begun with was handed over by then
                logger.warning("content could not be put away", exc_info=True)

    def _decode_next(self, job: _Job[S]) -> None:
        """Decode an item, and with it small ones that wait."""
        jobs = _with_small(job, self._left, TOGETHER, self._threads)
        if not jobs[-1].source.small:
            *jobs, job = jobs
            self._decode(jobs)
            jobs = [job]
        self._decode(jobs)

    def _decode_next_on_gpu(self, job: _Job[S]) -> None:
        """Decode small items on the GPU; leave to the other threads what it leaves, and what is not small."""
        jobs = _with_small(job, self._waiting, GPU_TOGETHER, GPU_THREADS)
        if not jobs[-1].source.small:
            self._left.put(jobs.pop())
        with ExitStack() as contents:
            fetched = self._fetch(jobs, contents)
            decoded = list(zip(fetched, self._on_gpu(fetched), strict=True))
            self._hand_over_all([(one, picture) for one, picture in decoded if picture is not None])
            for one, picture in decoded:
                if picture is None:
                    self._left.put(one.job)

    def _decode(self, jobs: Sequence[_Job[S]]) -> None:
        with ExitStack() as contents:
            fetched = self._fetch(jobs, contents)
            tried = self._jpegs is not None and all(job.source.small for job in jobs)
            decoded = [None] * len(fetched) if tried else self._on_gpu(fetched)
            self._hand_over_all(list(zip(fetched, decoded, strict=True)))

    def _fetch(self, jobs: Sequence[_Job[S]], contents: ExitStack) -> list[_Fetched[S]]:
        fetched = []
        for job in jobs:
            try:
                with _FETCH.time():
                    fetched.append(_Fetched(job, contents.enter_context(job.source.opened())))
            except Exception as error:
                self._fail(job, error)
        return fetched

    def _on_gpu(self, fetched: Sequence[_Fetched[S]]) -> Sequence[GpuPicture | PipelineError | None]:
        """Return what a GPU made of each content; None is left to the CPU. An error is that of the GPU."""
        if self._jpegs is None:
            return [None] * len(fetched)
        files = [b"" if isinstance(one.content.source, Path) else one.content.source for one in fetched]
        try:
            with _DECODE.time():
                return self._jpegs.open(files, self._embedder.size, self._limits, self._thumbnail_side, self._regions)
        except PipelineError as error:
            return [error] * len(fetched)
        except Exception:  # a fault of ours
            logger.warning("GPU decoding failed, to be done by the CPU items=%d", len(fetched), exc_info=True)
            return [None] * len(fetched)

    def _hand_over_all(self, decoded: Sequence[tuple[_Fetched[S], GpuPicture | PipelineError | None]]) -> None:
        """Hand over the frames of items and how each ended; the regions of images are found all at once."""
        cutter = Cutter(self._regions)
        opened = [image for one, picture in decoded if (image := self._open(one, picture, cutter)) is not None]
        for image in opened:
            try:
                cutter.cut()
                self._hand_over(image)
            except Exception as error:
                self._fail(image.job, error)

    def _open(
        self, fetched: _Fetched[S], picture: GpuPicture | PipelineError | None, cutter: Cutter
    ) -> _Opened[S] | None:
        """Open an item. A video is handed over at once: its content is there only until then."""
        job, content = fetched.job, fetched.content
        preview = Preview(self._thumbnail_side) if self._thumbnail_side else None
        try:
            if isinstance(picture, PipelineError):
                raise picture
            with _DECODE.time():
                media = open_media(
                    content.source, self._embedder.size, self._limits, self._sample_fps, preview, picture, cutter
                )
                job.source.check(media)
                opened = _Opened(job, media, content.sha256, preview)
                if media.kind is Kind.IMAGE:
                    return opened
                self._hand_over(opened)
        except Exception as error:
            self._fail(job, error)
        return None

    def _hand_over(self, opened: _Opened[S]) -> None:
        job, media, sha256 = opened.job, opened.media, opened.sha256
        last, count = None, 0
        for frame in media.frames:
            if last is not None and not self._put(_Piece(job, last)):
                return
            last, count = frame, count + 1
        if last is None:
            raise InvalidFrame(Reason.DECODE, f"{media.format}: no frames")
        _DECODED.inc(count)
        jpeg = b"" if opened.preview is None else opened.preview.jpeg
        if self._unstored is None:
            self._put(_Piece(job, last, self._store(job, media, sha256, jpeg)))
        elif self._put(_Piece(job, last)):
            self._unstored.put(lambda: self._put(_Piece(job, end=self._store(job, media, sha256, jpeg))))

    def _fail(self, job: _Job[S], error: Exception) -> None:
        self._put(_Piece(job, end=_End(error=_reason(error))))

    def _store_all(self) -> None:
        assert self._unstored is not None
        while not self._stopped.is_set():
            with suppress(queue.Empty):
                self._unstored.get(timeout=0.5)()

    def _store(self, job: _Job[S], media: Media, sha256: bytes, jpeg: bytes) -> _End:
        """Store the thumbnail, if there is one, and return how the item ended."""
        if not jpeg:
            return _End(media, sha256)
        try:
            with _STORE.time():
                return _End(media, sha256, job.source.keep(jpeg, sha256))
        except PipelineError as error:
            return _End(error=error)

    def _put(self, piece: _Piece[S]) -> bool:
        """Hand a piece over; return False where nobody wants it. A long video waits until others have been taken."""
        while self._pieces.qsize() >= self._most_pieces and not self._stopped.wait(2 * _TICK_SECONDS):
            pass
        if self._stopped.is_set():
            return False
        self._pieces.put(piece)
        return True


def _with_small(job: _Job[S], waiting: queue.SimpleQueue[_Job[S]], most: int, threads: int) -> list[_Job[S]]:
    """Return a job and those behind it up to one that is not small, but none that another thread could begin with."""
    jobs = [job]
    with suppress(queue.Empty):
        while jobs[-1].source.small and len(jobs) < min(most, waiting.qsize() // threads):
            jobs.append(waiting.get_nowait())
    return jobs


def _reason(error: Exception) -> PipelineError:
    if isinstance(error, PipelineError):
        return error
    # A fault of ours or of a decoder: it costs this item, not its neighbours.
    logger.warning("item could not be decoded", exc_info=error)
    return InvalidFrame(Reason.DECODE, f"{type(error).__name__}: {error}")
