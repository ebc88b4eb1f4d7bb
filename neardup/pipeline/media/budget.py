"""What decoding one item may cost, counted while it is decoded: processor seconds, pixels, memory.

Seconds are those of the decoding thread on a processor, not of the clock: a machine that is busy with other things
costs no item its verdict. Decoders run without threads of their own, so that nothing escapes the count.

A budget runs while a library decodes, and is found by `current` in its thread, so that whatever decodes can count:
after each frame of a video, each block that a decoder of pictures reads, each row of strips. What runs in one native
call is estimated before.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.media.refuse import beyond
from neardup.pipeline.types import Limits

T = TypeVar("T")
_FRAME_SECONDS = 1 / 25
"""A frame stands for so much of a film at most: hours between two frames buy no time."""


def _never() -> bool:
    return False


class Budget:
    """The budget of one item; used by one thread at a time.

    Args:
        limits: what the item may ask for.
        gone: says whether nobody waits for the item any more; asked from the decoding thread.
        long: called before what takes long, a video or a very large picture; once.
        clock: seconds that this thread was on a processor.
    """

    def __init__(
        self,
        limits: Limits,
        gone: Callable[[], bool] = _never,
        long: Callable[[], object] = _never,
        clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._limits = limits
        self._gone = gone
        self._long = long
        self._clock = clock
        self._before = 0.0
        self._since: float | None = None
        self._pixels = 0
        self._film = 0.0
        self._shown = 0.0

    @property
    def seconds(self) -> float:
        """Processor seconds spent so far."""
        return self._before + (0.0 if self._since is None else self._clock() - self._since)

    @property
    def granted(self) -> float:
        """Processor seconds that may be spent, given how much of the film was shown."""
        return self._limits.max_decode_seconds + self._limits.max_decode_ratio * self._film

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the block, and be the current budget of this thread in it."""
        outer = getattr(_current, "budget", None)
        if outer is self:
            yield
            return
        _current.budget, self._since = self, self._clock()
        try:
            yield
        finally:
            self._before, self._since = self.seconds, None
            _current.budget = outer

    def metered(self, values: Iterator[T]) -> Generator[T]:
        """Yield values, counting what each takes to come and not what is done with it."""
        try:
            while True:
                with self.running():
                    try:
                        value = next(values)
                    except StopIteration:
                        return
                yield value
        finally:
            if isinstance(values, Generator):
                values.close()

    def check(self) -> None:
        """Raise where the item has cost too much, or nobody waits for it.

        Raises:
            InvalidFrame: TOO_SLOW.
        """
        if self._gone():
            raise InvalidFrame(Reason.TOO_SLOW, "given up: nobody waits for it any more")
        if self.seconds > self.granted:
            raise self._too_slow(f"not decoded within {self.granted:.1f} seconds of processor time")

    def frame(self, seconds: float, pixels: int) -> None:
        """Count a decoded frame.

        Args:
            seconds: where it stands in the film.
        Raises:
            InvalidFrame: TOO_SLOW.
        """
        self._film += min(max(seconds - self._shown, 0.0), _FRAME_SECONDS)
        self._shown = max(self._shown, seconds)
        self._pixels += pixels
        if self._pixels > self._limits.max_video_pixels:
            found = f"more than {self._limits.max_video_pixels} pixels in all frames that were decoded"
            raise beyond("max_video_pixels", found, Reason.TOO_SLOW)
        self.check()

    def long(self) -> None:
        """Say that what follows takes long; it may wait for its turn.

        Raises:
            InvalidFrame: TOO_SLOW.
        """
        long, self._long = self._long, _never
        long()
        self.check()

    def expect(self, seconds: float) -> None:
        """Check before a call that cannot be interrupted, by what it will take at the least.

        Raises:
            InvalidFrame: TOO_SLOW.
        """
        if self.seconds + seconds > self.granted:
            raise self._too_slow(f"would take {seconds:.1f} seconds to decode, {self.granted:.1f} are allowed")
        self.check()

    def allocate(self, amount: int) -> None:
        """Check what decoding will keep in memory, in bytes, before it does.

        Raises:
            InvalidFrame: BOMB.
        """
        if amount > self._limits.max_video_memory_bytes:
            most = self._limits.max_video_memory_bytes
            raise beyond(
                "max_video_memory_bytes", f"would take {amount} bytes of memory to decode, the limit is {most}"
            )

    def _too_slow(self, found: str) -> InvalidFrame:
        return beyond(self._limits.decode_setting, found, Reason.TOO_SLOW)


class _Current(threading.local):
    budget: Budget | None = None


_current = _Current()
_FREE = Budget(Limits(max_decode_seconds=float("inf"), max_video_pixels=2**63, max_video_memory_bytes=2**63))


def current() -> Budget:
    """Return the budget that runs in this thread; one without end if none does."""
    return _current.budget or _FREE


class Metered(io.BytesIO):
    """Content that a decoder reads block by block: each time the budget is checked."""

    def read(self, size: Any = -1, /) -> bytes:
        """See io.BytesIO; raises InvalidFrame."""
        current().check()
        return super().read(size)
