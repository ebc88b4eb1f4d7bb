"""Threads that fetch and decode items, hand over their frames one by one, and store their thumbnails and packs.

Without a GPU all threads take what waits. With one, two of them give it what is small and in memory, many at a time,
and leave the rest to the others. Senders take turns, see `fair_queue`.

A thread that comes upon what takes long, a video or a very large picture, starts another in its place, hands over what
it has, and ends after it: small pictures never wait behind long videos. Of those only so many are decoded at once.
"""

from __future__ import annotations

import errno
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from neardup.pipeline.embed.description import Description
from neardup.pipeline.errors import DependencyError, InvalidFrame, PipelineError, Reason
from neardup.pipeline.media.budget import Budget
from neardup.pipeline.media.fetch import Fetched
from neardup.pipeline.media.preview import Preview, Viewer, Viewers
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.media.regions import Cutter, Mode
from neardup.pipeline.prove.pack import PACK_SIDE, Packer
from neardup.pipeline.types import Frame, Kind, Limits, Media
from neardup.workers.describe.fair_queue import FairQueue
from neardup.workers.describe.heavy import Heavy
from neardup.workers.run.telemetry import FRAMES_OUT, STAGE_SECONDS

if TYPE_CHECKING:  # it imports torch
    from neardup.pipeline.media.nvjpeg import GpuJpegs, GpuPicture

logger = logging.getLogger(__name__)
TOGETHER, GPU_TOGETHER = 8, 64
"""Items that a thread begins with at once, if that many wait: searching images for regions together costs half, and a
GPU does many in the time of one."""
GPU_THREADS = 2
"""Threads that decode on a GPU, beside those that decode on the CPU: one prepares while the GPU works for the other,
and more would only wait for each other at Python's lock."""
_FULL_SECONDS = 0.01
_OURS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE})
"""What the system lacks when a temporary folder is full or files are too many; no item is to blame."""
_FETCH, _DECODE, _STORE = (STAGE_SECONDS.labels(stage) for stage in ("fetch", "decode", "store"))
_DECODED = FRAMES_OUT.labels("decode")


class Source(Protocol):
    """Where an item's content comes from, and its thumbnail and pack go to; called in threads."""

    @property
    def traceparent(self) -> str:
        """Where the item has been, see `tracing`; "" if that is not known."""

    @property
    def sender(self) -> Hashable:
        """Whose it is: items of one sender wait for each other, and senders take turns."""

    @property
    def small(self) -> bool:
        """Whether the content is here, and soon decoded: then items that come after it may wait for it."""

    @property
    def owner(self) -> str:
        """Who sent it, and may not have all places for what takes long; "" where nobody is told apart."""

    @property
    def gone(self) -> bool:
        """Whether nobody waits for it any more."""

    def opened(self) -> AbstractContextManager[Fetched]:
        """Return the content while the context lasts; raises InvalidFrame where it cannot be had."""

    def check(self, media: Media) -> None:
        """Raise InvalidFrame if the content may not be what it is."""

    def keep(self, jpeg: bytes, sha256: bytes) -> str:
        """Store a thumbnail and return where; raises DependencyError."""

    @property
    def packed(self) -> bool:
        """Whether a pack for proofs is wanted, see `prove.pack`."""

    def keep_pack(self, pack: bytes, sha256: bytes) -> None:
        """Store it; raises DependencyError."""


S = TypeVar("S", bound=Source)


@dataclass(slots=True, eq=False)
class Job(Generic[S]):
    """An item, and what is known of it by now."""

    source: S
    description: Description = field(default_factory=Description)


@dataclass(frozen=True, slots=True)
class End:
    """How the decoding of an item ended."""

    media: Media | None = None
    sha256: bytes = b""
    thumbnail: str = ""
    error: PipelineError | None = None


@dataclass(frozen=True, slots=True)
class Piece(Generic[S]):
    """What is handed over: a frame, how the item ended, or both; and when it was made."""

    job: Job[S]
    frame: Frame | None = None
    end: End | None = None
    made: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class _Fetched(Generic[S]):
    job: Job[S]
    content: Fetched


@dataclass(frozen=True, slots=True)
class _Opened(Generic[S]):
    job: Job[S]
    media: Media
    sha256: bytes
    preview: Preview | None
    packer: Packer | None


class Decoders(Generic[S]):
    """Owns the threads until `close`.

    Attributes:
        pieces: what was decoded; each item ends with one that says how.
    """

    def __init__(
        self,
        size: int,
        limits: Limits,
        sample_fps: float,
        threads: int,
        most_pieces: int,
        thumbnail_side: int,
        writers: int,
        jpegs: GpuJpegs | None,
        regions: Mode,
    ) -> None:
        """Start the threads.

        Args:
            most_pieces: beyond so many a decoder waits.
            others: see `describe.Describer`.
        """
        self.pieces: queue.SimpleQueue[Piece[S]] = queue.SimpleQueue()
        self._size, self._limits, self._sample_fps = size, limits, sample_fps
        self._threads, self._most_pieces = threads, most_pieces
        self._thumbnail_side, self._jpegs, self._regions = thumbnail_side, jpegs, regions
        self._unstored: queue.SimpleQueue[Callable[[], object]] | None = queue.SimpleQueue() if writers else None
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
        """Items whose decoding has not begun."""
        left = self._left.qsize() if self._left is not self._waiting else 0
        return self._waiting.qsize() + left + len(self._later)

    def add(self, job: Job[S]) -> None:
        """Take an item in."""
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
        threading.Thread(target=self._work, args=(jobs, begin), name=name, daemon=True).start()

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

    def _decode_next_on_gpu(self, job: Job[S]) -> None:
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

    def _decode(self, jobs: Sequence[Job[S]]) -> None:
        with ExitStack() as contents:
            fetched = self._fetch(jobs, contents)
            small = all(job.source.small for job in jobs)  # which a GPU has left, if there is one
            decoded = [None] * len(fetched) if small else self._on_gpu(fetched)
            self._hand_over_all(list(zip(fetched, decoded, strict=True)))

    def _fetch(self, jobs: Sequence[Job[S]], contents: ExitStack) -> list[_Fetched[S]]:
        fetched = []
        for job in jobs:
            if job.source.gone:
                self._fail(job, InvalidFrame(Reason.TOO_SLOW, "given up before it was begun: nobody waits for it"))
                continue
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
                packed = any(one.job.source.packed for one in fetched)
                side = max(self._thumbnail_side, PACK_SIDE) if packed else self._thumbnail_side
                return self._jpegs.open(files, self._size, self._limits, side, self._regions)
        except PipelineError as error:
            return [error] * len(fetched)
        except Exception:  # a fault of ours
            logger.warning("GPU decoding failed, to be done by the CPU items=%d", len(fetched), exc_info=True)
            return [None] * len(fetched)

    def _hand_over_all(self, decoded: Sequence[tuple[_Fetched[S], GpuPicture | PipelineError | None]]) -> None:
        """Hand over the frames of items and how each ended; the regions of images are found all at once."""
        cutter = Cutter(self._regions)
        left, opened = deque(decoded), list[_Opened[S]]()

        def hand_over_opened() -> None:
            while opened:
                image = opened.pop(0)
                try:
                    cutter.cut()
                    self._hand_over(image)
                except Exception as error:
                    self._fail(image.job, error)

        def long() -> None:
            hand_over_opened()
            while left:
                fetched, picture = left.popleft()
                if picture is None:
                    self._left.put(fetched.job)
                elif (image := self._open(fetched, picture, cutter, _nothing)) is not None:
                    opened.append(image)
            hand_over_opened()

        while left:
            fetched, picture = left.popleft()
            if (image := self._open(fetched, picture, cutter, long)) is not None:
                opened.append(image)
        hand_over_opened()

    def _open(
        self,
        fetched: _Fetched[S],
        picture: GpuPicture | PipelineError | None,
        cutter: Cutter,
        long: Callable[[], object],
    ) -> _Opened[S] | None:
        """Open an item. A video is handed over at once: its content is there only until then.

        Args:
            long: called where this takes long, before it does.
        """
        job, content = fetched.job, fetched.content
        preview = Preview(self._thumbnail_side) if self._thumbnail_side else None
        packer = Packer() if job.source.packed else None
        viewers: list[Viewer] = [viewer for viewer in (preview, packer) if viewer is not None]
        with ExitStack() as after:
            try:
                if isinstance(picture, PipelineError):
                    raise picture

                def begin_long() -> None:
                    long()
                    self._begin_long(job, after)

                def gone() -> bool:
                    return self._stopped.is_set() or job.source.gone

                budget = Budget(self._limits, gone, begin_long)
                with _DECODE.time() if picture is None else nullcontext():
                    viewer = Viewers(viewers) if viewers else None
                    media = open_media(
                        content.source, self._size, self._limits, self._sample_fps, viewer, picture, cutter, budget
                    )
                    job.source.check(media)
                    opened = _Opened(job, media, content.sha256, preview, packer)
                    if media.kind is Kind.IMAGE:
                        return opened
                    self._hand_over(opened)
            except Exception as error:
                self._fail(job, error)
        return None

    def _begin_long(self, job: Job[S], after: ExitStack) -> None:
        """Have another thread take this one's place, and wait until this item may take long."""
        owner = job.source.owner

        def replace() -> None:
            if not self._replaced.yes:
                self._replaced.yes = True
                self._start("decode-more", self._left, self._decode_next)

        if self._heavy.enter(owner, lambda: self._stopped.is_set() or job.source.gone, replace):
            after.callback(self._resume)
            after.callback(self._heavy.leave, owner)

    def _resume(self) -> None:
        """Go on with one of those that were left for later."""
        with suppress(IndexError):
            if self._later and not self._heavy.full:
                self._left.put(self._later.popleft())

    def _hand_over(self, opened: _Opened[S]) -> None:
        job, last, count = opened.job, None, 0
        for frame in opened.media.frames:
            if last is not None and not self._put(Piece(job, last)):
                return
            last, count = frame, count + 1
        if last is None:
            raise InvalidFrame(Reason.DECODE, f"{opened.media.format}: no frames")
        _DECODED.inc(count)
        if self._unstored is None:
            self._put(Piece(job, last, self._store(opened)))
        elif self._put(Piece(job, last)):
            self._unstored.put(lambda: self._put(Piece(job, end=self._store(opened))))

    def _fail(self, job: Job[S], error: Exception) -> None:
        self._put(Piece(job, end=End(error=_reason(error))))

    def _store_all(self) -> None:
        assert self._unstored is not None
        while not self._stopped.is_set():
            with suppress(queue.Empty):
                self._unstored.get(timeout=0.5)()

    def _store(self, opened: _Opened[S]) -> End:
        """Store thumbnail and pack, where there are any, and return how the item ended."""
        source, media, sha256 = opened.job.source, opened.media, opened.sha256
        jpeg = b"" if opened.preview is None else opened.preview.jpeg
        pack = b"" if opened.packer is None else opened.packer.packed(media.width, media.height)
        if not jpeg and not pack:
            return End(media, sha256)
        try:
            with _STORE.time():
                if pack:
                    source.keep_pack(pack, sha256)
                return End(media, sha256, source.keep(jpeg, sha256) if jpeg else "")
        except PipelineError as error:
            return End(error=error)

    def _put(self, piece: Piece[S]) -> bool:
        """Hand a piece over; return False where nobody wants it. A long video waits until others have been taken."""
        while self.pieces.qsize() >= self._most_pieces and not self._stopped.wait(_FULL_SECONDS):
            pass
        if self._stopped.is_set():
            return False
        self.pieces.put(piece)
        return True


class _Replaced(threading.local):
    """Whether this thread ends after what it is at."""

    yes = False


def _nothing() -> None:
    pass


def _with_small(job: Job[S], waiting: FairQueue[Job[S]], most: int, threads: int) -> list[Job[S]]:
    """Return a job and those behind it up to one that is not small, but none that another thread could begin with."""
    jobs = [job]
    with suppress(queue.Empty):
        while jobs[-1].source.small and len(jobs) < min(most, waiting.qsize() // threads):
            jobs.append(waiting.get_nowait())
    return jobs


def _sender_of(job: Job[S]) -> Hashable:
    return job.source.sender


def _reason(error: Exception) -> PipelineError:
    """Return an error without its traceback, which would keep frames and content in memory."""
    if isinstance(error, InvalidFrame):
        return InvalidFrame(error.reason, error.detail)
    if isinstance(error, PipelineError):
        return error
    if isinstance(error, OSError) and error.errno in _OURS:
        return DependencyError(f"{error.filename or 'this machine'}: {error.strerror}")
    # A fault of ours or of a decoder: it costs this item, not its neighbours.
    logger.warning("item could not be decoded", exc_info=error)
    return InvalidFrame(Reason.DECODE, f"{type(error).__name__}: {error}")
