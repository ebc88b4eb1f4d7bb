"""Starts workers quickly: imports everything once, and each worker is a fork of that.

    python -m tests.faults.zygote

Reads orders as JSON lines, answers with lines of what started and what ended. A worker is a process and a process group
of its own; when the input ends, all of them are killed. Importing takes 3 s of processor time, forking 10 ms.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys

import msgspec

from neardup.pipeline.index import exact, vectors  # noqa: F401 (so that workers need not import them)
from neardup.pipeline.index.scann.generation import import_scann
from neardup.pipeline.prove import documents, pack  # noqa: F401 (as well)
from neardup.workers.run.stopping import Stopped, end_at_once
from tests.faults.worker import Order, work

_DIE_WITH_PARENT = 1
"""Linux: PR_SET_PDEATHSIG."""


class Start(msgspec.Struct, frozen=True):
    """Start a worker with this environment, its output appended to a file."""

    name: str
    order: Order
    environment: dict[str, str]
    output: str


class Told(msgspec.Struct, frozen=True):
    """A worker started (code None) or ended (its exit code, negative for a signal)."""

    name: str
    pid: int
    code: int | None = None


def main() -> None:
    """Take orders until there are no more."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    import_scann()
    decoder, workers = msgspec.json.Decoder(Start), dict[int, str]()
    pending = b""
    _tell(answers, Told("", os.getpid()))
    try:
        while True:
            if select.select([0], [], [], 0.02)[0]:
                got = os.read(0, 2**16)
                if not got:
                    return
                *lines, pending = (pending + got).split(b"\n")
                for line in lines:
                    start = decoder.decode(line)
                    pid = _fork(start, answers)
                    workers[pid] = start.name
                    _tell(answers, Told(start.name, pid))
            while workers:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                _tell(answers, Told(workers.pop(pid), pid, os.waitstatus_to_exitcode(status)))
    finally:
        for pid in workers:
            os.killpg(pid, signal.SIGKILL)


def _fork(start: Start, answers: int) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.setpgid(pid, pid)  # also here, so that it is one whoever comes first
        return pid
    code = 70
    try:
        end_at_once()
        os.close(answers)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        output = os.open(start.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, file in enumerate((nothing, output, output)):
            os.dup2(file, number)
        os.environ.update(start.environment)
        code = work(start.order)
        sys.stdout.flush()
        sys.stderr.flush()
    except Stopped:
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _tell(answers: int, told: Told) -> None:
    os.write(answers, msgspec.json.encode(told) + b"\n")


if __name__ == "__main__":
    main()
