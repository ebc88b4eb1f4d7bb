"""Connections are closed side by side, within one time."""

from __future__ import annotations

import threading
import time

from neardup.workers.run.closing import close_all
from tests.timing import until


class One:
    def __init__(self, gate: threading.Event | None = None, error: Exception | None = None) -> None:
        self.closed = False
        self._gate = gate
        self._error = error

    def close(self) -> None:
        if self._gate is not None:
            self._gate.wait(120)
        if self._error is not None:
            raise self._error
        self.closed = True


def test_one_that_fails_keeps_no_other_from_being_closed() -> None:
    one, other = One(error=OSError("gone")), One()
    assert close_all((one, None, other), 10.0)
    assert (one.closed, other.closed) == (False, True)


def test_waits_do_not_add_up() -> None:
    gate = threading.Event()
    stuck, quick = [One(gate) for _ in range(100)], One()
    began = time.monotonic()
    assert not close_all((*stuck, quick), 1.0)
    assert time.monotonic() - began < 50.0  # and not 100 x 1 s
    until(lambda: quick.closed, "it is closed")
    gate.set()
