"""The engine in one thread: some items are decoded, then embedded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Generic

from neardup.pipeline.describe.decode import Decoder, Job, Look, Piece, finished
from neardup.pipeline.describe.description import embed_each
from neardup.pipeline.describe.observe import SILENT, Observer
from neardup.pipeline.describe.once import Once
from neardup.pipeline.describe.source import Done, S
from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.errors import InvalidFrame, Reason

BATCH = 64
"""Most frames given to the network at once."""


def _nothing(*_ignored: object) -> None:
    pass


class InTurn(Generic[S]):
    """What a process that describes does.

    Args:
        once: who describes a content; None describes all.
        at: called with the item that it is at, None where it is at none.
        gone: returns whether the work on an item is to end; called while it goes on.
        starved: called with an item for which memory did not suffice, None where it may be any of them.
    """

    def __init__(
        self,
        embedder: Embedder,
        look: Look,
        once: Once | None = None,
        observer: Observer = SILENT,
        at: Callable[[S | None], object] = _nothing,
        gone: Callable[[S], bool] = lambda _: False,
        starved: Callable[[S | None], object] = _nothing,
    ) -> None:
        self._embedder, self._once, self._observer = embedder, once, observer
        self._at, self._gone, self._starved = at, gone, starved
        self._decoder: Decoder[S] = Decoder(
            look, self._put, self._is_gone, observer, once,
            begin=self._begin, starved=lambda job: starved(job.source),
        )  # fmt: skip
        self._pieces: list[Piece[S]] = []
        self._frames = 0
        self._done: list[Done[S]] = []
        self._put_off: list[S] = []
        self._too_long: Job[S] | None = None
        self._current: S | None = None

    def describe(self, sources: Sequence[S], long: bool = True) -> tuple[list[Done[S]], list[S]]:
        """Return how items ended, and which were put off because they would take `long`, where they may not.

        Raises:
            PipelineError: something outside failed; nothing can be said of the items.
        """
        self._done, self._put_off = [], []
        self._decoder.decode([Job(source) for source in sources], None, _nothing if long else self._long)
        self._embed()
        self._begin(None)
        return self._done, self._put_off

    def _begin(self, job: Job[S] | None) -> None:
        self._current = None if job is None else job.source
        self._at(self._current)

    def _is_gone(self, job: Job[S]) -> bool:
        return self._gone(job.source)

    def _long(self, job: Job[S], _after: ExitStack) -> None:
        self._too_long = job
        raise InvalidFrame(Reason.TOO_SLOW, "put off")

    def _put(self, piece: Piece[S]) -> bool:
        if piece.job is self._too_long and piece.end is not None:
            if self._once is not None:
                self._once.forget(piece.end.sha256)
            self._put_off.append(piece.job.source)
            self._too_long = None
            return True
        self._pieces.append(piece)
        self._frames += piece.frame is not None
        if self._frames >= BATCH:
            self._embed()
        return True

    def _embed(self) -> None:
        """Embed the frames that wait, and take out the items that end with them."""
        pieces, frames, self._pieces, self._frames = self._pieces, self._frames, [], 0
        current = self._current
        self._at(None)
        if frames:
            with self._observer.timed("embed"):
                batch = [(piece.job.frames, piece.frame) for piece in pieces if piece.frame]
                embed_each(self._embedder, batch, lambda: self._starved(None))
            self._observer.embedded(frames)
        self._done.extend(finished(piece) for piece in pieces if piece.end is not None)
        self._at(current)
