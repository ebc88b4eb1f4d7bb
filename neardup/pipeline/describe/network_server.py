"""One network for many processes, in a thread of its own: the one that owns a GPU, which they feed.

Each process writes tiles to a slot (`network_client.py`). The thread takes all slots that are filled by then as one
batch, straight from where the tiles lie, which is pinned for the GPU; so batches grow as the network becomes the
bottleneck. A process that ends, however it does, closes its socket, and its slot is unmapped once no batch uses it.
Slots have no names in the file system: nothing is left of them when both processes have gone.
"""

from __future__ import annotations

import logging
import os
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from queue import SimpleQueue

from neardup.pipeline.describe.network_client import CAPACITY, REQUEST, Shape, Slot
from neardup.pipeline.embed.embedder import BatchEmbedder
from neardup.pipeline.embed.pinned import pin
from neardup.pipeline.errors import DependencyError, PipelineError

logger = logging.getLogger(__name__)
MOST_TOGETHER = 4 * CAPACITY
"""Tiles that the network is given at once: four steps, which overlap on a GPU."""
NETWORK_SECONDS = 300.0
"""A network that takes longer to load, or for a batch, has failed."""
_END_SECONDS = 5.0
_JOIN, _END = b"join", b"end"


@dataclass(eq=False)
class _Client:
    """A process that asks. `unpin` is called before its slot is unmapped."""

    connection: Connection
    slot: Slot
    unpin: Callable[[], None] = lambda: None


class NetworkServer:
    """Owns the thread until `close`.

    Args:
        make: returns the network; called in the thread, at once.
        shape: of the network.
    """

    def __init__(self, make: Callable[[], BatchEmbedder], shape: Shape) -> None:
        self._make, self._shape = make, shape
        self._woken, self._wake = Pipe(duplex=False)
        self._joining: SimpleQueue[_Client] = SimpleQueue()
        self._clients: dict[Connection, _Client] = {}
        self._stopped = threading.Event()
        self._error: Exception | None = None
        self._busy_since: float | None = time.monotonic()
        self.ready = False
        self._thread = threading.Thread(target=self._work, name="network", daemon=True)
        self._thread.start()

    def admit(self) -> tuple[int, int]:
        """Return file descriptors of a socket and of a slot for a process to come, which the caller closes."""
        ours, theirs = Pipe()
        descriptor = _open_memory(Slot.count_bytes(self._shape))
        try:
            self._joining.put(_Client(ours, Slot(descriptor, self._shape)))
            self._wake.send_bytes(_JOIN)
            with theirs:
                return os.dup(theirs.fileno()), descriptor
        except BaseException:
            os.close(descriptor)
            raise

    def check(self) -> None:
        """Raise what the network fails with, if it does not fail on single tiles; to be called now and then.

        Raises:
            DependencyError: it does not answer.
            Exception: whatever it raised.
        """
        if self._error is not None:
            raise self._error
        since = self._busy_since
        if since is not None and time.monotonic() - since > NETWORK_SECONDS:
            what = "answer" if self.ready else "load"
            raise DependencyError(f"the network did not {what} within {NETWORK_SECONDS:g} s")

    def close(self) -> None:
        """Have the thread end after the batch that it is at, and wait for that as long as is usual."""
        self._stopped.set()
        with suppress(OSError):
            self._wake.send_bytes(_END)
        self._thread.join(_END_SECONDS)

    # -- in the thread -----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            network = self._make()
            self.ready, self._busy_since = True, None
            while not self._stopped.is_set():
                self._serve(network)
        except Exception as error:
            self._error = error
        finally:
            self._busy_since = None
            for client in list(self._clients.values()):
                self._leave(client)

    def _serve(self, network: BatchEmbedder) -> None:
        """Wait for processes that ask, and answer those that do by then."""
        heard = wait([self._woken, *self._clients])
        if self._woken in heard:
            heard.remove(self._woken)
            while self._woken.poll():  # all, so that those that ask next are answered together
                if self._woken.recv_bytes() == _JOIN:
                    client = self._joining.get()
                    self._clients[client.connection] = client
                    client.unpin = pin(client.slot.memory)
        asked: list[tuple[_Client, int]] = []
        for client in [self._clients[connection] for connection in heard]:  # type: ignore[index]
            count = _count_asked(client)
            if not count:
                self._leave(client)
                continue
            if sum(count for _, count in asked) + count > MOST_TOGETHER:
                self._answer(network, asked)
                asked = []
            asked.append((client, count))
        self._answer(network, asked)

    def _answer(self, network: BatchEmbedder, asked: Sequence[tuple[_Client, int]]) -> None:
        """Write rows to slots. Those that fail together are tried one by one, as one of them may be to blame."""
        if not asked:
            return
        self._busy_since = time.monotonic()
        failure = ""
        try:
            rows = network.rows([client.slot.tiles[:count] for client, count in asked])
            for (client, count), some in zip(asked, rows, strict=True):
                client.slot.rows[:count] = some
        except PipelineError:
            raise
        except Exception as error:
            if len(asked) > 1:
                for one in asked:
                    self._answer(network, [one])
                return
            failure = f"{type(error).__name__}: {error}"
        finally:
            self._busy_since = None
        for client, _ in asked:
            with suppress(OSError):  # it has died meanwhile, which the next look shows
                client.connection.send_bytes(failure.encode())

    def _leave(self, client: _Client) -> None:
        del self._clients[client.connection]
        client.connection.close()
        client.unpin()


def _count_asked(client: _Client) -> int:
    """Return how many tiles a process has in its slot; 0 where it has ended, or asks for what cannot be."""
    try:
        [count] = REQUEST.unpack(client.connection.recv_bytes(REQUEST.size))
    except (EOFError, OSError, struct.error):
        return 0
    if count > CAPACITY:
        logger.warning("process asked for more tiles than its slot has count=%d", count)
        return 0
    return int(count)


def _open_memory(count: int) -> int:
    """Return the file descriptor of memory without a name: it is gone with the last process that has it."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("neardup-slot")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, count)
    return descriptor
