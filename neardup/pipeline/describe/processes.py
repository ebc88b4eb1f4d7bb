"""The engine in supervised processes, each of which decodes and embeds in turn (`child.py`).

Each has a network of its own, or all feed the network of this process, which owns a GPU (`network_server.py`).

Threads of one process take turns at Python's lock; processes do not. A decoder that crashes, hangs, or takes more
memory than an item may, costs one item: its process is ended, another takes its place in a fraction of a second, and
the other items that it had are described by that one. Items that take long have processes of their own, started when
they are needed, so that others do not wait behind them.

The processes end with this one, however it ends, and Ctrl-C reaches this one alone.
"""

from __future__ import annotations

import logging
import os
import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Generic

from neardup.pipeline.describe.child import STARVED, most_bytes
from neardup.pipeline.describe.fair_queue import FairQueue
from neardup.pipeline.describe.launcher import Launched, Launcher, how_it_ended
from neardup.pipeline.describe.network_client import Shape
from neardup.pipeline.describe.network_server import NETWORK_SECONDS, NetworkServer
from neardup.pipeline.describe.observe import SILENT, Observer
from neardup.pipeline.describe.once import Hashes
from neardup.pipeline.describe.orders import Answer, Order, Setup
from neardup.pipeline.describe.source import Done, S
from neardup.pipeline.describe.watch import LOOK_SECONDS, Patience
from neardup.pipeline.embed.embedder import BatchEmbedder
from neardup.pipeline.errors import DependencyError, InvalidFrame, Reason

logger = logging.getLogger(__name__)
CHILD = "neardup.pipeline.describe.child"
AHEAD = 2
"""Orders that a process has: the one that it works on, and the next."""
ORDER_ITEMS = 32
"""Most items of an order; one that is not small is an order of its own."""
_LEAST_ITEMS = 4
_SHARES = 4
"""Orders of each process that the items which wait are cut into when they become few: all end at about one time."""
_IDLE_SECONDS = 30.0
"""A process for what takes long ends when there was nothing for it for so long."""
_START_SECONDS = 300.0
"""A process that has not begun after so long is ended; to convert a network takes half a minute."""
_MOST_EARLY_ENDS = 3
"""So many processes in a row that end before they begin are no chance."""


@dataclass(eq=False)
class _Child:
    """A process, and the numbers of the items that it has, order by order."""

    launched: Launched
    patience: Patience
    long: bool = False
    asked: deque[list[int]] = field(default_factory=deque)
    ready: bool = False
    blame: InvalidFrame | None = None
    blamed: int = 0
    idle_since: float = 0.0


class ProcessDescriber(Generic[S]):
    """Owns the processes until `close`; see `driver.Describer`. They start at once, while this one goes on.

    Args:
        count: processes.
        fair: what takes long has processes of its own, at most as many again, so that others do not wait behind it.
        share: makes the network that all processes feed, in a thread; None has each load its own, on the CPU.

    Raises:
        DependencyError: a process cannot be started.
    """

    def __init__(
        self,
        count: int,
        setup: Setup,
        observer: Observer = SILENT,
        fair: bool = False,
        share: Callable[[], BatchEmbedder] | None = None,
    ) -> None:
        self._count, self._setup, self._observer, self._fair = count, setup, observer, fair
        self._server: NetworkServer | None = None
        self._known = Hashes(())
        self._sources: dict[int, S] = {}
        self._last_number = 0
        self._waiting: FairQueue[tuple[int, S]] = FairQueue(_sender_of)
        self._returned: deque[list[int]] = deque()
        self._long: deque[int] = deque()
        self._suspects: set[int] = set()
        self._done: list[Done[S]] = []
        self._proven = False
        self._early_ends = 0
        self._looked_at = 0.0
        self._children: list[_Child] = []
        self._launcher = Launcher(CHILD)
        try:
            if share is not None:
                shape = setup.network if isinstance(setup.network, Shape) else Shape.of(setup.network)
                self._setup = setup._replace(network=shape, fetch_seconds=setup.fetch_seconds + NETWORK_SECONDS)
                self._server = NetworkServer(share, shape)
            for _ in range(count):
                self._start()
        except BaseException:
            self.close()
            raise

    @property
    def working(self) -> int:
        """Items that were added and have not come out."""
        return len(self._sources) + len(self._done)

    @property
    def waiting(self) -> int:
        """Items that no process has."""
        return self._waiting.qsize() + len(self._long) + sum(map(len, self._returned))

    @property
    def ready(self) -> bool:
        """Whether a process can describe, as far as `step` has heard."""
        loaded = self._server is None or self._server.ready
        return loaded and any(child.ready for child in self._children)

    @property
    def pids(self) -> list[int]:
        """Process ids of the processes that run."""
        return [child.launched.pid for child in self._children if child.launched.pid is not None]

    def renew(self, known: Iterable[bytes]) -> None:
        """Begin anew, with hashes of contents that need no description; only while nothing is working."""
        self._known = Hashes(known)
        for child in self._children:
            child.launched.send(self._known)

    def add(self, source: S) -> None:
        """Take an item in."""
        self._last_number += 1
        self._sources[self._last_number] = source
        self._waiting.put((self._last_number, source))

    def drop_waiting(self) -> list[S]:
        """Return the items that no process has; they will not come out."""
        numbers = [number for some in self._returned for number in some] + list(self._long)
        self._returned.clear()
        self._long.clear()
        try:
            while True:
                numbers.append(self._waiting.get_nowait()[0])
        except queue.Empty:
            return [self._sources.pop(number) for number in numbers]

    def close(self) -> None:
        """End all processes, whatever they do."""
        self._launcher.close()
        for child in self._children:
            child.launched.close()
        self._children = []
        if self._server is not None:
            self._server.close()

    def step(self, seconds: float) -> list[Done[S]]:
        """Return items that are done.

        Args:
            seconds: how long to wait where there are none.
        Raises:
            DependencyError: a process does not come up, or something outside failed.
            PipelineError: the network fails.
        """
        deadline = time.monotonic() + seconds
        while True:
            self._check_network()
            self._hand_out()
            left = deadline - time.monotonic()
            connections = [child.launched.connection for child in self._children]
            patience = 0.0 if self._done else max(min(left, LOOK_SECONDS), 0.0)
            heard = wait([self._launcher.control, *connections], patience)
            if self._launcher.control in heard:
                self._launcher.hear()
            for child in [child for child in self._children if child.launched.connection in heard]:
                self._hear(child)
            if time.monotonic() - self._looked_at >= LOOK_SECONDS:
                self._look()
            if self._done or left <= 0:
                done, self._done = self._done, []
                self._hand_out()
                return done

    def describe_now(self, source: S, seconds: float) -> Done[S]:
        """Return how one item ends, added behind all others; those come out of the next `step`.

        Raises:
            DependencyError: it does not come out in time. Others: see `step`.
        """
        self.add(source)
        deadline, others = time.monotonic() + seconds, list[Done[S]]()
        while time.monotonic() < deadline:
            done = self.step(LOOK_SECONDS)
            others += [one for one in done if one.source is not source]
            if found := [one for one in done if one.source is source]:
                self._done = others + self._done
                return found[0]
        raise DependencyError(f"processes that describe items did not answer within {seconds:g} s")

    # -- giving work out ---------------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        """Give every process work ahead, those that have least first."""
        for child in sorted(self._children, key=lambda child: len(child.asked)):
            while not child.long and len(child.asked) < AHEAD and (numbers := self._next()):
                self._give(child, numbers)
        while self._long and (number := self._next_long()) is not None:
            idle = next((child for child in self._children if child.long and not child.asked), None)
            self._give(idle or self._start(long=True), [number])

    def _give(self, child: _Child, numbers: list[int]) -> None:
        child.asked.append(numbers)
        items = [(number, self._sources[number].task) for number in numbers]
        child.launched.send(Order(items, child.long or not self._fair))

    def _next(self) -> list[int]:
        """Return the numbers of the next order, none where nothing waits."""
        if self._returned:
            return self._returned.popleft()
        most = min(max(self._waiting.qsize() // (_SHARES * self._count), _LEAST_ITEMS), ORDER_ITEMS)
        numbers: list[int] = []
        try:
            while len(numbers) < most:
                number, source = self._waiting.get_nowait()
                if source.gone:
                    given_up = InvalidFrame(Reason.TOO_SLOW, "given up before it was begun: nobody waits for it")
                    self._done.append(Done(self._sources.pop(number), error=given_up))
                elif not source.small:
                    if numbers:
                        self._returned.append([number])
                    else:
                        numbers = [number]
                    break
                else:
                    numbers.append(number)
        except queue.Empty:
            pass
        return numbers

    def _next_long(self) -> int | None:
        """Return the next item that may take long; no owner has all places."""
        places = max(2, self._count)
        busy = Counter(self._sources[child.asked[0][0]].owner for child in self._children if child.long and child.asked)
        if busy.total() >= places:
            return None
        for number in self._long:
            owner = self._sources[number].owner
            if busy[owner] < (places - 1 if owner else places):
                self._long.remove(number)
                return number
        return None

    # -- taking answers ----------------------------------------------------------------------------------------------

    def _hear(self, child: _Child) -> None:
        """Take what a process says."""
        try:
            said = child.launched.connection.recv()
        except (EOFError, OSError):
            self._replace(child)
            return
        if isinstance(said, Exception):
            self._check_network()  # whose failure comes first
            raise said
        if said is None:
            child.ready = self._proven = True
            self._early_ends = 0
            return
        answer: Answer = said
        child.asked.popleft()
        child.idle_since = time.monotonic()
        self._long.extend(answer.put_off)
        with self._observer.span((self._sources[one.number].traceparent for one in answer.ended), sum(answer.embedded)):
            pass  # it is over; the answer says whose batch it was
        self._done += [
            Done(self._sources.pop(one.number), one.result, one.sha256, one.error, one.repeated) for one in answer.ended
        ]
        self._suspects.difference_update(one.number for one in answer.ended)
        for stage, seconds in answer.took:
            self._observer.took(stage, seconds)
        for frames in answer.decoded:
            self._observer.decoded(frames)
        for frames in answer.embedded:
            self._observer.embedded(frames)

    def _check_network(self) -> None:
        if self._server is not None:
            self._server.check()

    def _look(self) -> None:
        """End processes that make no progress, and those that nothing is left for; tell of what nobody waits for."""
        self._looked_at = now = time.monotonic()
        for child in list(self._children):
            launched, signs = child.launched, child.launched.signs
            if not child.ready and now - child.idle_since > _START_SECONDS:
                if launched.pid is None:
                    raise DependencyError(f"no process that describes items was started within {_START_SECONDS:g} s")
                self._launcher.kill(launched)
            if not child.asked:
                if child.long and child.ready and now - child.idle_since > _IDLE_SECONDS:
                    self._children.remove(child)
                    self._launcher.kill(launched)
                    launched.close()
                continue
            item = signs.item
            if (source := self._sources.get(item)) is not None and source.gone:
                signs.give_up(item)
            if child.ready and child.blame is None and launched.pid is not None:
                child.blame = child.patience.ended(launched.pid, item, signs.beats)
                if child.blame is not None:
                    child.blamed = item
                    self._launcher.kill(launched)

    def _replace(self, child: _Child) -> None:
        """Put another process in the place of one that died, and find out by which item."""
        code, item = self._launcher.await_end(child.launched), child.launched.signs.item
        self._children.remove(child)
        if not child.ready:
            self._replace_early(child, code)
            return
        logger.warning(
            "process that describes died how=%r item=%d items=%d", how_it_ended(code), item, sum(map(len, child.asked))
        )
        if not child.long:
            self._start()
        asked = [number for numbers in child.asked for number in numbers]
        first = child.asked[0] if child.asked else []
        if item in first and self._is_final(item, child, code):
            self._fail(item, child, code)
            asked.remove(item)
            first = [number for number in first if number != item]
        elif first:  # it may have been chance: once more, each that it may have been alone
            suspects = [item] if item in first else first
            for number in suspects:
                asked.remove(number)
                if number in self._suspects:
                    self._fail(number, child, code)
                else:
                    self._suspects.add(number)
                    if child.long:
                        self._long.append(number)
                    else:
                        self._returned.append([number])
        if child.long:
            self._long.extend(asked)
        elif asked:
            self._returned.append(asked)

    def _replace_early(self, child: _Child, code: int) -> None:
        """Put another process in the place of one that died before it began; what it was given is not to blame."""
        self._early_ends += 1
        if not self._proven or self._early_ends >= _MOST_EARLY_ENDS:
            raise DependencyError(f"a process that describes items {how_it_ended(code)} before it began")
        logger.warning("process that describes died before it began how=%r", how_it_ended(code))
        if child.long:
            self._long.extend(number for numbers in child.asked for number in numbers)
        else:
            self._start()
            self._returned.extend(child.asked)

    def _is_final(self, item: int, child: _Child, code: int) -> bool:
        """Return whether one death is enough; one that was blamed may have ended just before its process did."""
        return (child.blame is not None and child.blamed == item) or code == STARVED

    def _fail(self, item: int, child: _Child, code: int) -> None:
        """Put an item aside by which a process died."""
        if child.blame is not None and child.blamed in (item, 0):
            error = child.blame
        elif code == STARVED:
            mebibytes = most_bytes(self._setup.look.limits) // 2**20
            error = InvalidFrame(Reason.KILLED, f"decoding it takes more than {mebibytes} MiB of memory")
        else:
            error = InvalidFrame(Reason.KILLED, f"the process that decoded it {how_it_ended(code)}")
        self._suspects.discard(item)
        self._done.append(Done(self._sources.pop(item), error=error))

    def _start(self, long: bool = False) -> _Child:
        more = () if self._server is None else self._server.admit()
        try:
            launched = self._launcher.start(more)
        finally:
            for descriptor in more:
                os.close(descriptor)
        setup = self._setup._replace(checked=self._proven)
        patience = Patience(setup.look.limits, fetch_seconds=setup.fetch_seconds)
        child = _Child(launched, patience, long, idle_since=time.monotonic())
        launched.send(setup)
        launched.send(self._known)
        self._children.append(child)
        return child


def _sender_of(waiting: tuple[int, S]) -> Hashable:
    return waiting[1].sender
