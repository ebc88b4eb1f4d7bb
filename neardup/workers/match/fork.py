"""Work on the memory as it is now, by a copy of this process, while this one goes on changing it.

The copy has one thread, whatever this process has: the work must not wait for another thread, as torch and the clients
of Kafka and Redis do. It reads memory and writes files. It dies with this process: it holds the lock of the folder that
the next one will want.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from neardup.pipeline.errors import PipelineError

_LOOK_SECONDS = 0.05
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_MOST_ERROR_BYTES = 4096
"""A pipe takes as much at once, whether somebody reads or not."""


class Background:
    """One piece of work; begun by the constructor, in as long as it takes to copy the page table.

    Attributes:
        error: why it failed, once it has; "" before and otherwise.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self._code: int | None = None
        self.error = ""
        self._said, say = os.pipe()
        parent = os.getpid()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads: see above
            self._pid = os.fork()
        if self._pid == 0:
            _work_and_exit(work, parent, say)
        os.close(say)

    def done(self) -> bool | None:
        """Return whether it succeeded; None while it is under way."""
        if self._code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._end(os.waitstatus_to_exitcode(status))
        return None if self._code is None else self._code == 0

    def wait(self, seconds: float) -> bool:
        """Return whether it succeeded; what is not done in time is killed."""
        deadline = time.monotonic() + seconds
        while self.done() is None and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        if self.done() is None:
            self.give_up(max(seconds, 0.0))
        return self._code == 0

    def give_up(self, seconds: float) -> None:
        """End what is under way, which took longer than these seconds."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._end(-signal.SIGKILL, f"it was not done within {seconds:.1f} s and is given up")

    def _end(self, code: int, error: str = "") -> None:
        self._code = code
        said = os.read(self._said, _MOST_ERROR_BYTES).decode(errors="replace")
        os.close(self._said)
        if code != 0:
            self.error = error or said or _cause(code)


def _cause(code: int) -> str:
    """Return what is known of a process that said nothing."""
    if code >= 0:
        return f"its process ended with {code} and said nothing"
    by = signal.Signals(-code).name
    return f"its process was ended by {by}" + (", for want of memory perhaps" if by == "SIGKILL" else "")


def _said_of(error: BaseException) -> str:
    """Return an error in words; of one that nobody foresaw, also where it was raised: there is no traceback."""
    if isinstance(error, PipelineError) and str(error):
        return str(error)
    name = type(error).__name__
    where = traceback.extract_tb(error.__traceback__)[-1:]
    at = "".join(f" ({Path(one.filename).name}:{one.lineno} in {one.name})" for one in where)
    return f"{name}: {error}{at}" if str(error) else f"{name}{at}"


def _work_and_exit(work: Callable[[], object], parent: int, say: int) -> None:
    code = 1
    try:
        if hasattr(_LIBC, "prctl"):  # Linux
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(code)
        gc.disable()  # nothing of the process that was copied is to be closed by this one
        os.nice(19)
        work()
        code = 0
    except BaseException as error:
        os.write(say, _said_of(error).encode(errors="replace")[:_MOST_ERROR_BYTES])
    finally:
        os._exit(code)
