"""SIGTERM and Ctrl-C for commands that run until they are stopped: workers, and `up`.

Such a command first imports and loads for seconds, and may wait for a broker for as long as it takes. Meanwhile there
is nothing to drain: SIGTERM raises `Stopped`, which ends the process with 0 on the way out of whatever it is at. Once
it works, SIGTERM and Ctrl-C set a flag that its loop looks at. Imports nothing but Python's own: `cli` enters it before
anything else.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

_SERVICES = ("worker", "up")
_told = False


class Stopped(SystemExit):
    """Told to stop before there was anything to drain; no Exception, so that nobody takes it for a failure."""

    def __init__(self) -> None:
        super().__init__(0)


class Stopping(Protocol):
    """What `threading.Event` and `Stop` have in common."""

    def set(self) -> None: ...

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


class Stop:
    """An event that a signal handler may set.

    `threading.Event` takes a lock for that, which never comes free where the signal interrupts the `wait` that has it.
    """

    def __init__(self) -> None:
        self._marks: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._set = False

    def set(self) -> None:
        """Have all that wait go on, now and later."""
        self._set = True
        self._marks.put(None)

    def is_set(self) -> bool:
        """Return whether it was set."""
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        """Return whether it is set, after at most so many seconds."""
        if self._set:
            return True
        try:
            self._marks.get(timeout=timeout)
        except queue.Empty:
            return self._set
        self._marks.put(None)  # for the next who waits
        return True


def is_service(arguments: Sequence[str]) -> bool:
    """Return whether a command line is one of a command that runs until it is stopped."""
    return next((word for word in arguments if not word.startswith("-")), "") in _SERVICES


def end_at_once() -> None:
    """Have SIGTERM raise `Stopped` from now on; for the main thread."""
    signal.signal(signal.SIGTERM, _end)


@contextmanager
def ends_at_once() -> Iterator[None]:
    """Have SIGTERM raise `Stopped` within, unless it does so anyway."""
    before = signal.getsignal(signal.SIGTERM)
    if before is _end or threading.current_thread() is not threading.main_thread():
        yield
        return
    end_at_once()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def until_signalled(stopping: Stopping) -> Iterator[None]:
    """Let SIGTERM and SIGINT set the event; a second SIGINT interrupts at once.

    Raises:
        Stopped: SIGTERM came before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, _frame: FrameType | None) -> None:
        if stopping.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stopping.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        if _told:  # `Stopped` was lost, as in a destructor
            raise Stopped
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def nothing_to_drain(stopping: Stopping) -> Iterator[None]:
    """Within `until_signalled`: have SIGTERM and SIGINT raise `Stopped`, while a worker connects and loads.

    Raises:
        Stopped: the event is set, or one of them comes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _frame: FrameType | None) -> None:
        again = stopping.is_set()
        stopping.set()
        if not again:
            raise Stopped
        if number == signal.SIGINT:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        if stopping.is_set():
            raise Stopped
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(_number: int, _frame: FrameType | None) -> None:
    global _told
    if not _told:  # once it has come, it is on its way out, and what is tidied up there is not interrupted
        _told = True
        raise Stopped
