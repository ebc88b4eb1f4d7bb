"""Time in tests. A machine may be busy with something else: a test waits for the thing itself, with a generous end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LATE_SECONDS = 120.0
"""What should happen at once on an idle machine has happened by then, or never will."""
BUSY = 4.0
"""How many times as long as it promises something may take, where it waits for several other processes."""
_LOOK_SECONDS = 0.01


def until(true: Callable[[], object], what: object = "", seconds: float = LATE_SECONDS) -> None:
    """Wait until a condition is true; `what` is the message of the AssertionError if it is not in time.

    Args:
        what: a text, or a function that returns one, such as the end of a log.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError((what() if callable(what) else what) or f"not within {seconds:.0f} s")
        time.sleep(_LOOK_SECONDS)


@contextmanager
def when(true: Callable[[], object], act: Callable[[], object]) -> Iterator[None]:
    """Act from another thread as soon as a condition is true, while the block runs.

    The condition is a sign that the block has begun to wait; if it comes late, so does the act. A block that fails ends
    the wait, without the act.
    """
    errors: list[BaseException] = []
    failed = threading.Event()

    def work() -> None:
        try:
            until(lambda: failed.is_set() or true())
            if not failed.is_set():
                act()
        except BaseException as error:  # also that of `pytest.fail`; Ctrl-C reaches the main thread alone
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    except BaseException:
        failed.set()
        raise
    finally:
        thread.join()
    if errors:
        raise errors[0]


def soonest(
    act: Callable[[], object],
    wanted_seconds: float,
    attempts: int = 10,
    clock: Callable[[], float] = time.monotonic,
) -> float:
    """Return the shortest time of some attempts, in seconds; one within what is wanted is the last.

    What else a machine does makes some attempts slow; what is slow itself is slow in all of them.

    Args:
        clock: such as `time.thread_time`, for seconds of the processor, which others on the machine do not lengthen.
    """
    best = float("inf")
    for _ in range(attempts):
        began = clock()
        act()
        best = min(best, clock() - began)
        if best < wanted_seconds:
            break
    return best
