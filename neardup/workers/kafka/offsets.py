"""Which offsets may be committed: those before the first message that is not done.

Messages are done in any order, by several threads. Kafka's offsets have gaps, so what counts is the order in which they
were polled. A partition that was taken away forgets its messages: a ticket of that time is worth nothing afterwards,
also when the partition comes back.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Ticket(Generic[P]):
    """One polled message; `term` counts how often its partition was assigned."""

    partition: P
    offset: int
    term: int


@dataclass(slots=True)
class _Partition:
    term: int
    done: OrderedDict[int, bool] = field(default_factory=OrderedDict)
    """Offset -> whether it is done, from the first that is not."""
    next: int = -1
    """What may be committed; -1 before anything may."""
    reported: int = -1
    """What `due` returned last."""


class Offsets(Generic[P]):
    """Safe to be used from many threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._partitions: dict[P, _Partition] = {}
        self._term = 0

    @property
    def term(self) -> int:
        """How many assignments there were."""
        with self._lock:
            return self._term

    def assign(self, partitions: Iterable[P], start: int = -1) -> None:
        """Take partitions up, from wherever the first message then comes; `start` is what is committed, if known."""
        with self._lock:
            self._term += 1
            for partition in partitions:
                self._partitions[partition] = _Partition(self._term, next=start, reported=start)

    def revoke(self, partitions: Iterable[P]) -> dict[P, int]:
        """Forget partitions; return what may still be committed for them."""
        with self._lock:
            gone = {partition: self._partitions.pop(partition, None) for partition in partitions}
        return {partition: one.next for partition, one in gone.items() if one is not None and one.next >= 0}

    def assigned_in(self, partition: P) -> int | None:
        """Return the term in which a partition was assigned, None where it is not ours."""
        with self._lock:
            one = self._partitions.get(partition)
            return None if one is None else one.term

    def add(self, partition: P, offset: int) -> Ticket[P] | None:
        """Note a polled message; return its ticket, or None where the partition is not ours any more."""
        with self._lock:
            one = self._partitions.get(partition)
            if one is None:
                return None
            one.done[offset] = False
            return Ticket(partition, offset, one.term)

    def valid(self, ticket: Ticket[P]) -> bool:
        """Return whether the message's partition has been ours all the time."""
        with self._lock:
            one = self._partitions.get(ticket.partition)
            return one is not None and one.term == ticket.term

    def done(self, ticket: Ticket[P]) -> None:
        """Note that what follows from a message is confirmed."""
        with self._lock:
            one = self._partitions.get(ticket.partition)
            if one is None or one.term != ticket.term:
                return
            one.done[ticket.offset] = True
            while one.done:
                offset, done = next(iter(one.done.items()))
                if not done:
                    break
                del one.done[offset]
                one.next = offset + 1

    def pass_to(self, partition: P, position: int) -> None:
        """Note that a reader stands at this offset. Where all before is done, what is between is no message.

        The end of a transaction takes an offset, too.
        """
        with self._lock:
            one = self._partitions.get(partition)
            if one is not None and not one.done:
                one.next = max(one.next, position)

    def due(self) -> dict[P, int]:
        """Return, of the partitions where it has moved since the last call, the next offset to read."""
        with self._lock:
            moved = {p: one.next for p, one in self._partitions.items() if one.next > one.reported}
            for partition, offset in moved.items():
                self._partitions[partition].reported = offset
            return moved

    def positions(self) -> dict[P, int]:
        """Return the next offset to read of all our partitions where it is known."""
        with self._lock:
            return {partition: one.next for partition, one in self._partitions.items() if one.next >= 0}

    def repeat(self, offsets: dict[P, int]) -> None:
        """Let `due` return these again: their commit has failed."""
        with self._lock:
            for partition in offsets:
                if partition in self._partitions:
                    self._partitions[partition].reported = -1

    def open(self, partition: P) -> int:
        """Return how many messages of a partition are not done, or wait for one that is not."""
        with self._lock:
            one = self._partitions.get(partition)
            return 0 if one is None else len(one.done)
