"""A process that describes, as the product forks it, with a stand-in for the network, and points to die at.

It is the `program` of the worker's launcher in place of `neardup.pipeline.describe.child`, whose work it does.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from neardup.pipeline.describe import child, codec
from neardup.pipeline.describe.launcher import Signs
from neardup.pipeline.describe.orders import Answer
from neardup.pipeline.embed import embedder
from neardup.pipeline.types import Embedded, Pixels
from tests.faults.schedule import PART_DESCRIPTORS, Fault
from tests.pipeline.scan.build import StandIn, a_checkpoint

ORDER = "FAULTS_CHILD"
"""The variable of the environment that holds a `ChildOrder`."""


class ChildOrder(msgspec.Struct, frozen=True):
    """What befalls the processes of one worker: these faults, one after the other, noted in a file before they kill."""

    faults: tuple[Fault, ...]
    fired: str


def preload() -> None:
    """Import what all processes need, without the network, in whose place a stand-in comes."""
    from neardup.pipeline.describe import in_turn
    from neardup.pipeline.media import reader

    del in_turn, reader


def main(connection_descriptor: int, signs_descriptor: int, *network: int) -> None:
    """Serve through a socket, by its file descriptor."""
    codec.MAX_DESCRIPTORS_PER_PART = PART_DESCRIPTORS
    reached = _Killer(msgspec.json.decode(os.environ[ORDER], type=ChildOrder))
    embedder.make_embedder = lambda *_, **__: _Watched(reached)  # type: ignore[assignment]
    at, serve = Signs.at, child.serve

    def begun(self: Signs, item: int) -> None:
        at(self, item)
        if item:
            reached("decoding")

    def answering(
        hear: Callable[[], Any], say: Callable[[object], None], signs: Signs, network: Sequence[int] = ()
    ) -> None:
        def answered(message: object) -> None:
            say(message)
            if isinstance(message, Answer):
                reached("answered")
                reached.listens = True

        serve(hear, answered, signs, network)

    Signs.at, child.serve = begun, answering  # type: ignore[method-assign]
    child.main(connection_descriptor, signs_descriptor, *network)


class _Watched(StandIn):
    def __init__(self, reached: Callable[[str], None]) -> None:
        super().__init__(a_checkpoint().space)
        self._reached = reached

    def embed(self, tiles: Pixels) -> Embedded:
        self._reached("embedding")
        return super().embed(tiles)


class _Killer:
    """Counts the points of this process, and kills it, or the one that forks it, at the one that is named.

    It listens from the first answer on: a worker begins with a picture that is known to be good, and one that fails
    twice with that is right to end. The file, locked, says which of the faults is next, whichever of the processes
    comes to it.
    """

    def __init__(self, order: ChildOrder) -> None:
        self.listens = False
        self._order = order
        self._times = Counter[str]()

    def __call__(self, name: str) -> None:
        """Note that a point was reached."""
        if not self.listens:
            return
        self._times[name] += 1
        with Path(self._order.fired).open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            number = len(file.read().split())
            if number >= len(self._order.faults):
                return
            fault = self._order.faults[number]
            if fault.point != name or self._times[name] < fault.nth:
                return
            file.write(f"{number}\n")
            file.flush()
            os.kill(os.getppid() if fault.whom == "all" else os.getpid(), signal.SIGKILL)
