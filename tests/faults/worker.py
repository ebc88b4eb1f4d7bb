"""One worker as its command starts it, with small batches, a stand-in for the network, and a point to die at.

    ORDER='{"kind": "match", …}' python -m tests.faults.worker

All else is the product's own: the command line, the loops, the clients of Kafka and Redis, decoding, matching, files.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from neardup.pipeline.describe import codec, processes
from neardup.pipeline.embed import embedder
from neardup.workers.cli.app import run
from neardup.workers.embed import engine as embed
from neardup.workers.flag import worker as flag
from neardup.workers.kafka import leader, membership
from neardup.workers.match import worker as match
from neardup.workers.run import fault_points, runner
from tests.faults import child
from tests.faults.child import ChildOrder
from tests.faults.mutations import MUTATIONS
from tests.faults.schedule import PART_DESCRIPTORS, Fault
from tests.pipeline.scan.build import StandIn, a_checkpoint

SESSION_SECONDS = 1.5
"""Of a group's member that was killed; the broker allows 1 s or more."""
PARTITIONS = 3


class Order(msgspec.Struct, frozen=True):
    """What a process is to be.

    Attributes:
        kind: "embed", "match", "prove" or "flag".
        faults: to come, in order, numbered from `first`; the number of each is written to `fired` before it kills.
        mutation: a fault of the product's, see `mutations`; "" for none.
        children: what befalls the processes that describe; None where threads do.
    """

    kind: str
    batches: int
    faults: tuple[Fault, ...] = ()
    first: int = 0
    fired: str = ""
    mutation: str = ""
    children: ChildOrder | None = None


def work(order: Order) -> int:
    """Be this worker until SIGTERM; return the exit code of its command."""
    _tune(order)
    os.environ["NEARDUP_PROCESSES"] = "1" if order.children is None else "2"
    if order.children is not None:
        processes.CHILD = child.__name__
        os.environ[child.ORDER] = msgspec.json.encode(order.children).decode()
    if order.mutation:
        MUTATIONS[order.mutation]()
    if order.faults:
        fault_points.listen(_killer(order))
    return run(["--verbose", "worker", order.kind, "--port", "0"])


def _tune(order: Order) -> None:
    embedder.make_embedder = embed.make_embedder = lambda *_, **__: StandIn(a_checkpoint().space)  # type: ignore[assignment]
    membership.SESSION_SECONDS = SESSION_SECONDS
    leader.SESSION_MS = round(1000 * SESSION_SECONDS)
    codec.MAX_DESCRIPTORS_PER_PART = PART_DESCRIPTORS
    runner.MAX_PAUSE_SECONDS = 1.0
    match.BATCH_RECORDS = order.batches
    flag.BATCH_ENVELOPES = order.batches


def _killer(order: Order) -> Callable[[str], None]:
    """Return what counts the points of this process and its copies, and kills at the one that is named."""
    memory, worker = mmap.mmap(-1, 2), os.getpid()  # shared with copies: which fault is next, how often it was reached

    def reached(name: str) -> None:
        number = memory[0]
        if number >= len(order.faults) or order.faults[number].point != name:
            return
        fault = order.faults[number]
        if fault.whom == "copy" and os.getpid() == worker:
            return  # as at the end of the worker, which writes its last snapshot itself
        memory[1] += 1
        if memory[1] < fault.nth:
            return
        with Path(order.fired).open("a") as file:
            file.write(f"{order.first + number}\n")
        memory[0], memory[1] = number + 1, 0
        if fault.whom == "all":
            os.killpg(0, signal.SIGKILL)
        os.kill(worker if fault.whom == "worker" else os.getpid(), signal.SIGKILL)  # its copy, if this is one, goes on

    return reached


def main() -> int:
    """Be what the environment says."""
    return work(msgspec.json.decode(os.environ["ORDER"], type=Order))


if __name__ == "__main__":
    sys.exit(main())
