"""The messages of topic `asks` that one prove worker has taken, and how far it is with them."""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from kafka import TopicPartition
from kafka.errors import KafkaError

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.proofs import Asked
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.log import read_asked
from neardup.workers.kafka.membership import Listener, make_consumer, to_commit
from neardup.workers.kafka.offsets import Offsets, Ticket
from neardup.workers.kafka.rejoin import keep_joining, read_on_after_pause
from neardup.workers.kafka.topics import ASKS_DAYS
from neardup.workers.run.fault_points import reached
from neardup.workers.run.telemetry import ASKS_PASSED_OVER, RECORDS_CONSUMED
from neardup.workers.run.tracing import traceparent_of

logger = logging.getLogger(__name__)
_POLL_RECORDS = 256
_MOST_LATER = 16_384
"""Later work that is kept, more than the match worker asks for at once: so it keeps no other work from being polled."""
_COMMIT_SECONDS = 0.25
_OLD_MS = ASKS_DAYS * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that was taken: what it asks for, and where the item has been, "" for most."""

    asked: Asked
    ticket: Ticket[TopicPartition]
    traceparent: str = ""


class Asks(Protocol):
    """Where work comes from."""

    def take(self, most: int, seconds: float) -> Sequence[Taken]:
        """Return the next messages; wait so long where there are none."""

    def done(self, taken: Sequence[Taken]) -> None:
        """Note that the log has the answers."""

    def ready(self) -> bool:
        """Return whether the group has taken this worker in."""

    def commit(self) -> None:
        """Commit what is done, at once."""

    def close(self) -> None: ...


@dataclass(order=True, slots=True)
class _Waiting:
    """Later work goes after all other that was polled."""

    later: bool
    number: int
    taken: Taken = field(compare=False)


class AskGroup:
    """Shares the partitions of `asks` with others of its group; see `Asks`.

    Args:
        consumer: not subscribed yet. clock: seconds since 1970.
    """

    def __init__(self, consumer: Any, topic: str, clock: Callable[[], float] = time.time) -> None:
        self._consumer = consumer
        self._clock = clock
        self._offsets: Offsets[TopicPartition] = Offsets()
        self._listener = Listener(consumer, self._offsets)
        self._waiting: list[_Waiting] = []
        self._later = 0
        self._numbers = count()
        self._committed_at = 0.0
        keep_joining(consumer).subscribe([topic], listener=self._listener)

    def take(self, most: int, seconds: float) -> list[Taken]:
        """See `Asks`.

        Raises:
            DependencyError: a partition was taken and given back at once.
        """
        self._poll(0.0 if self._waiting else seconds)
        taken: list[Taken] = []
        while self._waiting and len(taken) < most:
            first = heapq.heappop(self._waiting)
            self._later -= first.later
            one = first.taken
            if self._offsets.valid(one.ticket):  # else another worker has it now
                taken.append(one)
        return taken

    def done(self, taken: Sequence[Taken]) -> None:
        """See `Asks`."""
        for one in taken:
            self._offsets.done(one.ticket)
        if time.monotonic() - self._committed_at < _COMMIT_SECONDS:
            return
        self._committed_at = time.monotonic()
        for partition in self._consumer.assignment():
            with suppress(KafkaError):  # it is not known now, and asked for again
                if position := self._consumer.position(partition, timeout_ms=0):
                    if self._offsets.assigned_in(partition) is None:  # no message of it was polled yet
                        self._offsets.assign([partition])
                    self._offsets.pass_to(partition, position)
        if offsets := self._offsets.due():
            self._consumer.commit_async(to_commit(offsets), callback=self._committed)

    def ready(self) -> bool:
        """See `Asks`."""
        return bool(self._listener.heard or self._consumer.assignment())

    def commit(self) -> None:
        """See `Asks`."""
        if offsets := self._offsets.positions():
            try:
                self._consumer.commit(to_commit(offsets), timeout_ms=1000)
            except KafkaError as error:  # those are answered again
                logger.warning("last commit failed error=%s", error)

    def close(self) -> None:
        """Leave the group; what is not committed is answered again."""
        self._listener.closing = True
        with suppress(Exception):
            self._consumer.close(autocommit=False, timeout_ms=1000)

    def _poll(self, seconds: float) -> None:
        """Poll more, or if enough waits, only take part in the group."""
        while self._poll_once(seconds) and self._later and self._later == len(self._waiting) < _MOST_LATER:
            seconds = 0.0  # is there other work behind it?

    def _poll_once(self, seconds: float) -> bool:
        full = len(self._waiting) - self._later >= _POLL_RECORDS or self._later >= _MOST_LATER
        assignment = self._consumer.assignment()
        if full and assignment:
            self._consumer.pause(*assignment)
        elif paused := self._consumer.paused() & assignment:
            self._consumer.resume(*paused)
        lost = self._listener.losses
        read_on_after_pause(self._consumer)
        polled = self._consumer.poll(timeout_ms=round(1000 * seconds), max_records=_POLL_RECORDS)
        for partition, records in polled.items():
            if partition not in self._consumer.assignment():
                continue
            if partition in self._listener.lost_since(lost):  # were these polled before it went, or after it came back?
                raise DependencyError(f"partition {partition.partition} was taken and given back at once")
            RECORDS_CONSUMED.labels(partition.topic).inc(len(records))
            if self._offsets.assigned_in(partition) is None:
                self._offsets.assign([partition], records[0].offset)
            for record in records:
                self._add(partition, record)
        if not self._waiting:
            self.done(())  # those that were passed over
        return bool(polled)

    def _add(self, partition: TopicPartition, record: Any) -> None:
        ticket = self._offsets.add(partition, record.offset)
        if ticket is None:
            return
        asked, why = read_asked(record.value or b""), ""
        if isinstance(asked, str):
            logger.warning("ask passed over partition=%d offset=%d why=%s", partition.partition, record.offset, asked)
            why = "malformed"
        elif 1000 * self._clock() - record.timestamp >= _OLD_MS:
            why = "expired"  # nobody waits for it any more
        if why or isinstance(asked, str):
            ASKS_PASSED_OVER.labels(why).inc()
            self._offsets.done(ticket)
            return
        taken = Taken(asked, ticket, traceparent_of(record.headers))
        self._later += asked.later
        heapq.heappush(self._waiting, _Waiting(asked.later, next(self._numbers), taken))

    def _committed(self, offsets: dict[TopicPartition, Any], answer: object) -> None:
        if isinstance(answer, Exception):
            logger.warning("commit failed, it comes again error=%s", answer)
            self._offsets.repeat(offsets)
        else:
            reached("committed")


def group_of(asks: str) -> str:
    """Return the group of the workers that prove, given the topic."""
    return f"{asks}.prove"


def join(settings: Settings, topic: str) -> AskGroup:
    """Return one more member of the group; raises DependencyError where no broker answers."""
    consumer = make_consumer(settings, group_of(topic), isolation_level="read_committed")
    return AskGroup(consumer, topic)
