"""Items fetched and decoded, some at a time, their frames handed over one by one: what every driver does with a thread.

Images of one call are opened first and their regions found all at once. A video is handed over at once: its content is
there only until then.
"""

from __future__ import annotations

import errno
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from neardup.pipeline.describe.description import EmbeddedFrames
from neardup.pipeline.describe.observe import SILENT, Observer
from neardup.pipeline.describe.once import Once
from neardup.pipeline.describe.source import Done, Recalled, S
from neardup.pipeline.errors import DependencyError, InvalidFrame, PipelineError, Reason, for_want_of_memory
from neardup.pipeline.media.budget import Budget
from neardup.pipeline.media.fetch import Fetched
from neardup.pipeline.media.preview import Preview, Viewer, Viewers
from neardup.pipeline.media.reader import DEFAULT_SAMPLE_FPS, open_media
from neardup.pipeline.media.regions import Cutter, Mode
from neardup.pipeline.prove.pack import PACK_SIDE, Packer
from neardup.pipeline.types import Frame, Kind, Limits, Media

if TYPE_CHECKING:  # it imports torch
    from neardup.pipeline.media.nvjpeg import GpuJpegs, GpuPicture

logger = logging.getLogger(__name__)
PASSING = frozenset({Reason.UNREADABLE, Reason.VANISHED, Reason.CHANGED})
"""Reasons that say something about the moment and not about the content of a file."""
_OURS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE})
"""What the system lacks when a temporary folder is full or files are too many; no item is to blame."""


@dataclass(frozen=True, slots=True)
class Look:
    """How items are looked at, the same in every thread and process.

    Attributes:
        size: side of the tiles. thumbnail_side: longest side of thumbnails, 0 for none.
        limits, sample_fps, regions: see `open_media`.
    """

    size: int
    limits: Limits = field(default_factory=Limits)
    sample_fps: float = DEFAULT_SAMPLE_FPS
    regions: Mode = "none"
    thumbnail_side: int = 0


@dataclass(slots=True, eq=False)
class Job(Generic[S]):
    """An item under way, and what is known of it by now.

    Attributes:
        anew: its content was described before, and has to be described all the same.
    """

    source: S
    frames: EmbeddedFrames = field(default_factory=EmbeddedFrames)
    anew: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """How the decoding of an item ended; see `Done`."""

    media: Media | None = None
    sha256: bytes = b""
    thumbnail: str = ""
    error: PipelineError | None = None
    repeated: bool = False
    result: Any = None


@dataclass(frozen=True, slots=True)
class Piece(Generic[S]):
    """What is handed over: a frame, how the item ended, or both; and when it was made."""

    job: Job[S]
    frame: Frame | None = None
    end: End | None = None
    made: float = field(default_factory=time.monotonic)


def finished(piece: Piece[S]) -> Done[S]:
    """Return what became of an item that ends with a piece, once its frames were embedded.

    Raises:
        PipelineError: something outside failed; nothing can be said of the item.
    """
    job, end = piece.job, piece.end
    assert end is not None
    error = end.error or job.frames.error
    if isinstance(error, InvalidFrame):
        return Done(job.source, sha256=end.sha256, error=error)
    if error is not None:
        raise error
    if end.repeated:
        return Done(job.source, end.result, end.sha256, repeated=True)
    assert end.media is not None
    description = job.frames.described(end.media, end.sha256, end.thumbnail)
    return Done(job.source, job.source.task.result(description), end.sha256)


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


def _nothing(*_ignored: object) -> None:
    pass


@dataclass(frozen=True)
class Decoder(Generic[S]):
    """Decodes items; safe to be used by several threads.

    Attributes:
        put: takes a piece; returns False where nobody wants it. Each item ends with one that says how.
        gone: returns whether the work on an item is to end.
        once: who describes a content; None describes all.
        jpegs: a GPU's decoder, which is asked first for what is in memory.
        store: takes a function that puts the item's last piece, once its thumbnail is kept; None does that at once.
        begin: called with an item before it is opened, and before its frames are decoded.
        starved: called with an item for which memory did not suffice.
    """

    look: Look
    put: Callable[[Piece[S]], bool]
    gone: Callable[[Job[S]], bool]
    observer: Observer = SILENT
    once: Once | None = None
    jpegs: GpuJpegs | None = None
    store: Callable[[Callable[[], object]], None] | None = None
    begin: Callable[[Job[S]], object] = _nothing
    starved: Callable[[Job[S]], object] = _nothing

    def decode(
        self,
        jobs: Sequence[Job[S]],
        give_back: Callable[[Job[S]], object] | None,
        begin_long: Callable[[Job[S], ExitStack], object],
    ) -> None:
        """Decode items, each of them at once or after others.

        Args:
            give_back: takes those that were not begun when one of them turned out to take long; None has them wait.
            begin_long: called before what takes long; what it adds to the stack is called after it.
        """
        with ExitStack() as contents:
            fetched = self._fetch(jobs, contents, give_back)
            small = all(job.source.small for job in jobs)  # which a GPU has left, if there is one
            decoded = [None] * len(fetched) if small else self._on_gpu(fetched)
            self._hand_over_all(list(zip(fetched, decoded, strict=True)), give_back, begin_long)

    def decode_on_gpu(
        self,
        jobs: Sequence[Job[S]],
        give_back: Callable[[Job[S]], object],
        begin_long: Callable[[Job[S], ExitStack], object],
    ) -> None:
        """Decode small items on the GPU, and give back what it leaves to the CPU."""
        with ExitStack() as contents:
            fetched = self._fetch(jobs, contents, give_back)
            decoded = list(zip(fetched, self._on_gpu(fetched), strict=True))
            self._hand_over_all([one for one in decoded if one[1] is not None], give_back, begin_long)
            for one, picture in decoded:
                if picture is None:
                    self._forget(one.content.sha256)
                    give_back(one.job)

    def fail(self, job: Job[S], error: Exception, sha256: bytes = b"") -> None:
        """End an item with an error."""
        if for_want_of_memory(error):
            self.starved(job)
        reason = _reason(error)
        if isinstance(reason, InvalidFrame) and reason.reason in PASSING:
            self._forget(sha256)
        self.put(Piece(job, end=End(error=reason, sha256=sha256)))

    def _forget(self, sha256: bytes) -> None:
        if self.once is not None:
            self.once.forget(sha256)

    def _fetch(
        self, jobs: Sequence[Job[S]], contents: ExitStack, give_back: Callable[[Job[S]], object] | None
    ) -> list[_Fetched[S]]:
        fetched = []
        for job in jobs:
            if job.source.gone:
                self.fail(job, InvalidFrame(Reason.TOO_SLOW, "given up before it was begun: nobody waits for it"))
                continue
            self.begin(job)
            try:
                with self.observer.timed("fetch"):
                    content = contents.enter_context(job.source.task.opened())
            except Exception as error:
                self.fail(job, error)
                continue
            if self.once is not None and not self.once.take(content.sha256):
                self.put(Piece(job, end=End(sha256=content.sha256, repeated=True)))
            elif not self._recall(job, content.sha256, give_back):
                fetched.append(_Fetched(job, content))
        return fetched

    def _recall(self, job: Job[S], sha256: bytes, give_back: Callable[[Job[S]], object] | None) -> bool:
        """End an item whose content was described before; return False where it is to be described now."""
        # `isinstance` would take longer for a protocol than all else that is done for an item here
        recall: Callable[[bytes], Recalled | None] | None = getattr(job.source.task, "recall", None)
        if job.anew or recall is None or (recalled := recall(sha256)) is None:
            return False
        if self.store is not None and give_back is not None:
            self.store(partial(self._end_recalled, job, recalled, sha256, give_back))
            return True
        return self._end_recalled(job, recalled, sha256)

    def _end_recalled(
        self,
        job: Job[S],
        recalled: Recalled,
        sha256: bytes,
        give_back: Callable[[Job[S]], object] = _nothing,
    ) -> bool:
        try:
            with self.observer.timed("store"):
                result = recalled()
        except Exception as error:  # in a thread that stores, nobody else would hear of it
            self.fail(job, error, sha256)
            return True
        if result is None:
            job.anew = True
            give_back(job)
            return False
        self.put(Piece(job, end=End(sha256=sha256, repeated=True, result=result)))
        return True

    def _on_gpu(self, fetched: Sequence[_Fetched[S]]) -> Sequence[GpuPicture | PipelineError | None]:
        """Return what a GPU made of each content; None is left to the CPU. An error is that of the GPU."""
        if self.jpegs is None:
            return [None] * len(fetched)
        look = self.look
        files = [b"" if isinstance(one.content.source, Path) else one.content.source for one in fetched]
        try:
            with self.observer.timed("decode"):
                packed = any(one.job.source.task.packed for one in fetched)
                side = max(look.thumbnail_side, PACK_SIDE) if packed else look.thumbnail_side
                return self.jpegs.open(files, look.size, look.limits, side, look.regions)
        except PipelineError as error:
            return [error] * len(fetched)
        except Exception:  # a fault of ours
            logger.warning("GPU decoding failed, to be done by the CPU items=%d", len(fetched), exc_info=True)
            return [None] * len(fetched)

    def _hand_over_all(
        self,
        decoded: Sequence[tuple[_Fetched[S], GpuPicture | PipelineError | None]],
        give_back: Callable[[Job[S]], object] | None,
        begin_long: Callable[[Job[S], ExitStack], object],
    ) -> None:
        """Hand over the frames of items and how each ended; the regions of images are found all at once."""
        cutter = Cutter(self.look.regions)
        left, opened = deque(decoded), deque[_Opened[S]]()

        def hand_over_opened() -> None:
            while opened:
                image = opened.popleft()
                self.begin(image.job)
                try:
                    cutter.cut()
                    self._hand_over(image)
                except Exception as error:
                    self.fail(image.job, error, image.sha256)

        def long(job: Job[S], after: ExitStack) -> None:
            hand_over_opened()
            while left and give_back is not None:
                fetched, picture = left.popleft()
                if picture is None:
                    self._forget(fetched.content.sha256)
                    give_back(fetched.job)
                elif (image := self._open(fetched, picture, cutter, _nothing)) is not None:
                    opened.append(image)
            hand_over_opened()
            self.begin(job)
            begin_long(job, after)

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
        long: Callable[[Job[S], ExitStack], object],
    ) -> _Opened[S] | None:
        """Open an item, and hand it over if it is a video.

        Args:
            long: called where this takes long, before it does.
        """
        job, content, look = fetched.job, fetched.content, self.look
        preview = Preview(look.thumbnail_side) if look.thumbnail_side else None
        packer = Packer() if job.source.task.packed else None
        viewers: list[Viewer] = [viewer for viewer in (preview, packer) if viewer is not None]
        self.begin(job)
        with ExitStack() as after:
            try:
                if isinstance(picture, PipelineError):
                    raise picture
                budget = Budget(look.limits, lambda: self.gone(job), lambda: long(job, after))
                with self.observer.timed("decode") if picture is None else nullcontext():
                    viewer = Viewers(viewers) if viewers else None
                    media = open_media(
                        content.source, look.size, look.limits, look.sample_fps, viewer, picture, cutter, budget
                    )
                    job.source.task.check(media)
                    opened = _Opened(job, media, content.sha256, preview, packer)
                    if media.kind is Kind.IMAGE:
                        return opened
                    self._hand_over(opened)
            except Exception as error:
                self.fail(job, error, content.sha256)
        return None

    def _hand_over(self, opened: _Opened[S]) -> None:
        job, last, count = opened.job, None, 0
        for frame in opened.media.frames:
            if last is not None and not self.put(Piece(job, last)):
                return
            last, count = frame, count + 1
        if last is None:
            raise InvalidFrame(Reason.DECODE, f"{opened.media.format}: no frames")
        job.source.task.check_end()
        self.observer.decoded(count)
        if self.store is None:
            self.put(Piece(job, last, self._keep(opened)))
        elif self.put(Piece(job, last)):
            self.store(lambda: self.put(Piece(job, end=self._keep(opened))))

    def _keep(self, opened: _Opened[S]) -> End:
        """Store thumbnail and pack, where there are any, and return how the item ended."""
        task, media, sha256 = opened.job.source.task, opened.media, opened.sha256
        try:
            jpeg = b"" if opened.preview is None else opened.preview.jpeg
            shared = jpeg if media.kind is Kind.IMAGE and self.look.thumbnail_side == PACK_SIDE else b""
            pack = b"" if opened.packer is None else opened.packer.packed(media.width, media.height, shared)
            if not jpeg and not pack:
                return End(media, sha256)
            with self.observer.timed("store"):
                if pack:
                    task.keep_pack(pack, sha256)
                return End(media, sha256, task.keep(jpeg, sha256) if jpeg else "")
        except Exception as error:  # in a thread that stores, nobody else would hear of it
            if for_want_of_memory(error):
                self.starved(opened.job)
            return End(error=_reason(error), sha256=sha256)


def _reason(error: Exception) -> PipelineError:
    """Return an error without its traceback, which would keep frames and content in memory."""
    if for_want_of_memory(error):
        return InvalidFrame(Reason.KILLED, "memory did not suffice to decode it")
    if isinstance(error, InvalidFrame):
        return InvalidFrame(error.reason, error.detail)
    if isinstance(error, PipelineError):
        return error
    if isinstance(error, OSError) and error.errno in _OURS:
        return DependencyError(f"{error.filename or 'this machine'}: {error.strerror}")
    # A fault of ours or of a decoder: it costs this item, not its neighbours.
    logger.info("item could not be decoded", exc_info=error)
    return InvalidFrame(Reason.DECODE, f"{type(error).__name__}: {error}")
