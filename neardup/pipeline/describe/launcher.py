"""Starts and ends processes by way of a zygote, and says how they ended."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from queue import SimpleQueue

from neardup.pipeline.describe.zygote import ENDED, KILL, MESSAGE, START, STARTED
from neardup.pipeline.errors import DependencyError

_RUN = (
    "import importlib, sys; sys.path[:] = sys.argv[3:]; "
    "importlib.import_module('neardup.pipeline.describe.zygote').main(int(sys.argv[1]), sys.argv[2])"
)
"""Imports from where this process does, and never from the folder that a user happens to stand in, as `-m` would."""
_ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Large pages, with which decoding and the network take a little less; unless the user has set it."""
_NO_THREADS = {"OPENBLAS_NUM_THREADS": "1"}
"""A zygote with threads cannot fork, whatever the user has set."""
_END_SECONDS = 30.0


class Signs:
    """What a process shows of itself in shared memory, without being asked: where it is, and that it goes on."""

    BYTES = 64

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, self.BYTES)
        self._fields = memoryview(self._memory).cast("q")

    @property
    def item(self) -> int:
        """Number of the item that it is at; 0 where it is at none of them."""
        return self._fields[0]

    @property
    def beats(self) -> int:
        """Goes up while the item makes progress."""
        return self._fields[1]

    @property
    def given_up(self) -> int:
        """Number of the item for which nobody waits any more."""
        return self._fields[2]

    def at(self, item: int) -> None:
        """Show which item it is at; for the process itself."""
        self._fields[0] = item
        self._fields[1] += 1

    def beat(self) -> None:
        """Show that it goes on; for the process itself."""
        self._fields[1] += 1

    def give_up(self, item: int) -> None:
        """Have it end the work on an item; for the one who started it."""
        self._fields[2] = item


@dataclass(eq=False)
class Launched:
    """A process. `pid`: None until it runs. `code`: how it ended, negative for a signal; None while it runs."""

    number: int
    connection: Connection
    signs: Signs
    pid: int | None = None
    code: int | None = None
    _outbox: SimpleQueue[memoryview | None] = field(default_factory=SimpleQueue)

    def __post_init__(self) -> None:
        threading.Thread(target=self._send_all, name="send-orders", daemon=True).start()

    def send(self, message: object) -> None:
        """Send a message without waiting: a decoder may keep the process from listening for as long as it decodes.

        Whether the process has died is seen when it is listened to.
        """
        self._outbox.put(ForkingPickler.dumps(message))

    def close(self) -> None:
        """Close the connection, once what sends on it has stopped; the process has ended, or is being ended."""
        self._outbox.put(None)

    def _send_all(self) -> None:
        """Send until `close`. This thread closes: a descriptor that it still writes to could be another's by then."""
        runs = True
        while (message := self._outbox.get()) is not None:
            if runs:
                try:
                    self.connection.send_bytes(message)
                except OSError:
                    runs = False
        self.connection.close()


@dataclass(eq=False)
class Launcher:
    """Owns a zygote and its processes; to be closed.

    Attributes:
        program: see `zygote.main`.

    Raises:
        DependencyError: no process can be started.
    """

    program: str
    _numbers: int = 0
    _running: dict[int, Launched] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ours, theirs = socket.socketpair()
        path = [entry or str(Path.cwd()) for entry in sys.path]
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-c", _RUN, str(theirs.fileno()), self.program, *path],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # away from Ctrl-C
                    env={**_ENVIRONMENT, **os.environ, **_NO_THREADS},
                )
            except OSError as error:
                ours.close()
                raise DependencyError(f"no process to describe items: {error.strerror}") from error
        self.control = ours

    def start(self, more: Sequence[int] = ()) -> Launched:
        """Start a process.

        Args:
            more: file descriptors that it gets behind those of its connection and signs; the caller closes them.
        """
        self._numbers += 1
        ours, theirs = socket.socketpair()
        with tempfile.TemporaryFile() as file, theirs:
            file.truncate(Signs.BYTES)
            launched = Launched(self._numbers, Connection(ours.detach()), Signs(file.fileno()))
            message = MESSAGE.pack(START, launched.number, 0)
            try:
                socket.send_fds(self.control, [message], [theirs.fileno(), file.fileno(), *more])
            except OSError as error:
                launched.close()
                raise self._gone() from error
        self._running[launched.number] = launched
        return launched

    def kill(self, launched: Launched) -> None:
        """End a process at once, whatever it does."""
        with suppress(OSError):
            self.control.sendall(MESSAGE.pack(KILL, launched.number, 0))

    def await_end(self, launched: Launched) -> int:
        """Return how a process ended that is ending.

        Raises:
            DependencyError: it does not.
        """
        self.control.settimeout(_END_SECONDS)
        try:
            while launched.code is None:
                self.hear()
        finally:
            self.control.settimeout(None)
        launched.close()
        return launched.code

    def hear(self) -> None:
        """Take one message of the zygote.

        Raises:
            DependencyError: it has died, and with it all processes.
        """
        try:
            data = self.control.recv(MESSAGE.size, socket.MSG_WAITALL)
        except OSError as error:
            raise self._gone() from error
        if len(data) < MESSAGE.size:
            raise self._gone()
        what, number, value = MESSAGE.unpack(data)
        if what == STARTED and number in self._running:
            self._running[number].pid = value
        elif what == ENDED and number in self._running:
            self._running.pop(number).code = value

    def close(self) -> None:
        """End all processes, whatever they do."""
        self.control.close()
        if not any(launched.pid for launched in self._running.values()):
            self._process.kill()  # it still imports, which nobody needs to wait for
        for launched in self._running.values():
            launched.close()
        self._running = {}
        try:
            self._process.wait(_END_SECONDS)  # it kills its children, and goes
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _gone(self) -> DependencyError:
        code = self._process.poll()
        how = "does not answer" if code is None else how_it_ended(code)
        return DependencyError(f"the process that starts those which describe items {how}")


def how_it_ended(code: int) -> str:
    """Return how a process ended, in words."""
    if code >= 0:
        return f"ended with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
