"""Ctrl-C while work is under way.

Python raises KeyboardInterrupt between any two instructions, also while a lock is held that other threads wait for. So
during the long parts of a command the first Ctrl-C is noted and acts where progress is reported; a second one acts at
once.
"""

from __future__ import annotations

import signal
import threading
from contextlib import AbstractContextManager
from types import FrameType, TracebackType


class Interrupt(AbstractContextManager["Interrupt"]):
    """Holds Ctrl-C back while it is entered; `check` lets it through."""

    def __init__(self) -> None:
        self._noted = False
        self._before: signal._HANDLER = signal.SIG_DFL
        self._holds = False

    def __enter__(self) -> Interrupt:
        # Only the main thread may set handlers; and where Ctrl-C is ignored (nohup, `&` in a script), it stays so.
        main = threading.current_thread() is threading.main_thread()
        self._holds = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._holds:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._holds:
            signal.signal(signal.SIGINT, self._before)
        if error is None:
            self.check()

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self._noted:
            self._noted = False
            raise KeyboardInterrupt

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self._noted:
            raise KeyboardInterrupt
        self._noted = True
