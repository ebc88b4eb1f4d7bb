"""A process that has imported everything and forks the processes that describe: they start in a fraction of a second.

`launcher.Launcher` starts it and speaks to it through a socket. Messages have a fixed length: what, and two numbers. It
has one thread, so that forking is safe, and ends its children when it ends; it ends with the process that started it,
however that ends.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import logging
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

logger = logging.getLogger(__name__)
MESSAGE = struct.Struct("<cqq")
START, KILL, STARTED, ENDED = b"s", b"k", b"S", b"E"
"""Start child n, with file descriptors; kill child n; child n has a process id; child n ended with a code."""
_PR_SET_PDEATHSIG = 1
_MOST_DESCRIPTORS = 4
_NOT_FORKED = 71
_END_SECONDS = 2.0


def main(control_descriptor: int, program: str) -> None:
    """Fork children that run `program.main` until the socket closes.

    Args:
        program: a module with `preload()`, which imports and starts no thread, and `main(connection, signs)`, which
            gets the file descriptors that came with the message, which may be more than these two.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # a service manager sends it to all, and items are under way
    control = socket.socket(fileno=control_descriptor)
    module = importlib.import_module(program)
    module.preload()
    gc.collect()
    gc.freeze()  # so that a collection in a child does not copy what all share
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    children: dict[int, int] = {}
    try:
        while True:
            heard, _, _ = select.select([control.fileno(), woken], [], [])
            if woken in heard:
                with suppress(BlockingIOError):
                    os.read(woken, 4096)
                _reap(control, children)
            if control.fileno() in heard:
                data, descriptors, _, _ = socket.recv_fds(control, MESSAGE.size, _MOST_DESCRIPTORS, socket.MSG_WAITALL)
                if len(data) < MESSAGE.size:
                    return
                what, number, _ = MESSAGE.unpack(data)
                if what == KILL and number in children:
                    os.kill(children[number], signal.SIGKILL)
                elif what == START:
                    pid = _fork(module, descriptors, (control.fileno(), woken, wake))
                    if pid is None:
                        control.sendall(MESSAGE.pack(ENDED, number, _NOT_FORKED))
                    else:
                        children[number] = pid
                        control.sendall(MESSAGE.pack(STARTED, number, pid))
    except OSError:
        return  # nobody listens any more
    finally:
        _end_all(children.values())


def _end_all(pids: Iterable[int]) -> None:
    """Kill processes and wait a moment for their end: process 1 of a container may be one that reaps nobody."""
    left = set(pids)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + _END_SECONDS
    while left and time.monotonic() < until:
        left = {pid for pid in left if os.waitpid(pid, os.WNOHANG) == (0, 0)}
        time.sleep(0.002)


def _reap(control: socket.socket, children: dict[int, int]) -> None:
    for number, pid in list(children.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            del children[number]
            control.sendall(MESSAGE.pack(ENDED, number, os.waitstatus_to_exitcode(status)))


def _fork(module: Any, descriptors: list[int], ours: tuple[int, ...]) -> int | None:
    """Return the process id of a new child, which never returns; None where the system has no room for one."""
    pid: int | None
    try:
        pid = os.fork()
    except OSError as error:
        logger.warning("no process that describes can be forked error=%s", error.strerror)
        pid = None
    if pid != 0:
        for descriptor in descriptors:
            os.close(descriptor)
        return pid
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in ours:
            os.close(descriptor)
        if sys.platform == "linux":  # also one that hangs where it holds Python's lock
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        module.main(*descriptors)
        code = 0
    finally:
        os._exit(code)
