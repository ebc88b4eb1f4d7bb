"""One of the processes that describe: orders in, answers out, all by one thread.

A zygote forks it, and `processes.ProcessDescriber` speaks to it through a socket. It gets how to describe (`Setup`),
what is known (`Hashes`) and then orders, each of which it answers. None says that it is ready, an error that it cannot
go on. It ends when nobody holds the other end. Its network is its own, or that of the process that speaks to it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from neardup.pipeline.describe.launcher import Signs
from neardup.pipeline.describe.network_client import RemoteNetwork, Shape, Slot
from neardup.pipeline.describe.observe import Observer, Stage
from neardup.pipeline.describe.once import Hashes, Once
from neardup.pipeline.describe.orders import Answer, Ended, Order, Setup
from neardup.pipeline.describe.source import Task
from neardup.pipeline.embed.embedder import Embedder
from neardup.pipeline.errors import DependencyError, PipelineError, for_want_of_memory
from neardup.pipeline.types import Limits

logger = logging.getLogger(__name__)
STARVED = 75
"""The code with which a process ends that was denied memory for an item."""
_BESIDE_BYTES = 512 * 2**20
"""What a process may take beside the one item that takes most: batches, and pictures that wait for theirs."""


def preload() -> None:
    """Import what all processes need, and start no thread."""
    from neardup.pipeline.describe import in_turn
    from neardup.pipeline.embed import embedder
    from neardup.pipeline.media import reader

    if find_spec("openvino") is not None:  # else torch computes, which starts threads and is left to the processes
        from neardup.pipeline.embed import openvino_engine

        del openvino_engine
    del in_turn, embedder, reader


@dataclass(slots=True)
class _Item:
    """See `source.Source`."""

    number: int
    task: Task
    traceparent: str = ""
    sender: str = ""
    small: bool = True
    owner: str = ""
    gone: bool = False


class _Notes(Observer):
    """Keeps what an answer carries."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.spent: list[tuple[Stage, float]] = []
        self.decodes: list[int] = []
        self.batches: list[int] = []

    def took(self, stage: Stage, seconds: float) -> None:
        self.spent.append((stage, seconds))

    def decoded(self, frames: int) -> None:
        self.decodes.append(frames)

    def embedded(self, frames: int) -> None:
        self.batches.append(frames)


def serve(hear: Callable[[], Any], say: Callable[[object], None], signs: Signs, network: Sequence[int] = ()) -> None:
    """Do what is asked, for ever.

    Args:
        network: file descriptors of the socket and the slot by which a network elsewhere is asked.
    """
    from neardup.pipeline.describe.in_turn import InTurn
    from neardup.pipeline.embed import embedder as engines

    setup: Setup = hear()
    embedder: Embedder
    if isinstance(setup.network, Shape):
        embedder = _remote(setup.network, *network)
    else:
        embedder = engines.make_embedder(setup.network, "cpu", threads=1, check=not setup.checked)
    bound_memory(most_bytes(setup.look.limits))
    notes = _Notes()

    def gone(item: _Item) -> bool:
        signs.beat()
        return signs.given_up == item.number

    def at(item: _Item | None) -> None:
        signs.at(item.number if item is not None else 0)

    def starved(item: _Item | None) -> None:
        at(item)
        os._exit(STARVED)  # nobody knows what else was denied memory meanwhile

    def describer(known: Hashes) -> InTurn[_Item]:
        once = Once(known) if setup.once else None
        return InTurn(embedder, setup.look, once, notes, at, gone, starved)

    say(None)
    current = describer(Hashes(()))
    while True:
        asked = hear()
        if isinstance(asked, Hashes):
            current = describer(asked)
            continue
        order: Order = asked
        try:
            done, put_off = current.describe([_Item(*item) for item in order.items], order.long)
            ended = [Ended(one.source.number, one.result, one.sha256, one.error, one.repeated) for one in done]
            say(Answer(ended, [item.number for item in put_off], notes.spent, notes.decodes, notes.batches))
        except Exception as error:
            if for_want_of_memory(error):
                os._exit(STARVED)
            if isinstance(error, PipelineError | OSError):
                raise
            # A fault of ours, which would meet the next process, too: it costs the item, as a crash does.
            logger.exception("items could not be described")
            os._exit(1)
        notes.clear()


def _remote(shape: Shape, connection_descriptor: int, slot_descriptor: int) -> RemoteNetwork:
    slot = Slot(slot_descriptor, shape)
    os.close(slot_descriptor)
    return RemoteNetwork(Connection(connection_descriptor), slot, shape)


def main(connection_descriptor: int, signs_descriptor: int, *network: int) -> None:
    """Serve through a socket, by its file descriptor; see `serve`."""
    connection = Connection(connection_descriptor)
    signs = Signs(signs_descriptor)
    os.close(signs_descriptor)
    heard: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, heard), daemon=True).start()
    try:
        serve(heard.get, connection.send, signs, network)
    except PipelineError as error:
        connection.send(error)
    except Exception as error:
        logger.exception("items could not be described")
        connection.send(DependencyError(f"items could not be described: {type(error).__name__}: {error}"))


def _listen(connection: Connection, heard: SimpleQueue[Any]) -> None:
    """Take whatever comes, at once: so neither side ever waits for the other to listen."""
    try:
        while True:
            heard.put(connection.recv())
    except (EOFError, OSError):
        os._exit(0)


def most_bytes(limits: Limits) -> int:
    """Return what a process may take for items, beside what it has when it begins."""
    return max(limits.max_picture_memory_bytes, limits.max_video_memory_bytes) + _BESIDE_BYTES


def bound_memory(more: int) -> None:
    """Have the system deny this process memory beyond what it has and so much `more`; where it runs short of memory,
    this process is to be ended before others. Does nothing where that cannot be had."""
    if sys.platform != "linux":
        return
    import resource

    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        held = next(int(line.split()[1]) for line in lines if line.startswith("VmData:")) * 1024
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        bound = held + more if hard == resource.RLIM_INFINITY else min(held + more, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
        Path("/proc/self/oom_score_adj").write_text("500")
    except (OSError, StopIteration, ValueError) as error:
        logger.info("memory of a process that describes is not bounded error=%s", error)
