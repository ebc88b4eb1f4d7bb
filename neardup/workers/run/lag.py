"""The lag of a kind of worker: the broker's end of each partition less what is committed, or applied.

It is asked on a connection and a thread of its own, whatever the worker does: a worker that is paused, hangs, or waits
for something to come back is the one whose lag matters. Every worker of a group gives the lag of all its partitions,
so that it stays known while one of them is down. What cannot be asked is not shown, rather than shown as it was.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from kafka import TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError
from kafka.protocol.consumer.offsets import IsolationLevel

from neardup.pipeline.errors import DependencyError, PipelineError
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.clients import connect_admin
from neardup.workers.run.kafka_probe import kafka_away
from neardup.workers.run.telemetry import CONSUMER_LAG

logger = logging.getLogger(__name__)
EVERY_SECONDS = 5.0
PARTITION = 0


@dataclass(slots=True)
class Place:
    """How far a process has come in the one partition of a topic, written by its worker.

    Attributes:
        next: the offset after the last that is applied; None while that is not known.
    """

    next: int | None = None


class Broker(Protocol):
    """What is asked of Kafka."""

    def range(self, topic: str) -> Mapping[int, tuple[int, int]]:
        """Return the first offset and the one after the last of each partition."""

    def committed(self, group: str, topic: str) -> Mapping[int, int]:
        """Return what a group has committed."""

    def close(self) -> None: ...


def messages_behind(broker: Broker, topic: str, done: str | Place, new_group_at_end: bool = False) -> dict[int, int]:
    """Return by partition how many messages are not done.

    Args:
        done: a group whose committed offsets say what is done, or a process's own place.
        new_group_at_end: whether a group that has committed nothing begins at the end.
    """
    if isinstance(done, Place):
        reached = {} if done.next is None else {PARTITION: done.next}
        ranges = {number: one for number, one in broker.range(topic).items() if number in reached}
    else:
        reached, ranges = dict(broker.committed(done, topic)), dict(broker.range(topic))
    behind = {}
    for number, (first, end) in ranges.items():
        start = reached.get(number, end if new_group_at_end else first)
        behind[number] = max(0, end - max(start, first))  # what has expired waits no more
    return behind


class LagWatch:
    """Keeps the metric right until `close`; the only one of its process.

    Args:
        ask: returns messages behind by partition; raises KafkaError or DependencyError.
    """

    def __init__(self, topic: str, ask: Callable[[], Mapping[int, int]], every_seconds: float = EVERY_SECONDS) -> None:
        self._topic, self._ask, self._every_seconds = topic, ask, every_seconds
        self._shown: set[str] = set()
        self._failed = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lag", daemon=True)

    def start(self) -> LagWatch:
        """Ask from now on, from a thread that ends with the process."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Ask no more."""
        self._ended.set()
        self._thread.join(2)

    def look(self) -> None:
        """Ask once, and set the metric."""
        try:
            found = {str(number): behind for number, behind in self._ask().items()}
        except (KafkaError, PipelineError, OSError) as error:
            if not self._failed:
                logger.warning("lag is not known topic=%s error=%s", self._topic, error)
            found, self._failed = {}, True
        else:
            self._failed = False
        for partition in self._shown - found.keys():
            CONSUMER_LAG.remove(self._topic, partition)
        for partition, behind in found.items():
            CONSUMER_LAG.labels(self._topic, partition).set(behind)
        self._shown = set(found)

    def _watch(self) -> None:
        self.look()
        while not self._ended.wait(self._every_seconds):
            self.look()


def watch_lag(
    settings: Settings,
    topic: str,
    done: str | Place,
    new_group_at_end: bool = False,
    waits: Callable[[], bool] = lambda: True,
) -> LagWatch:
    """Show the lag of this kind of worker from now on; see `messages_behind`.

    Args:
        waits: whether anything waits for it at all; else the lag is 0.
    """
    connected: list[Broker] = []

    def ask() -> Mapping[int, int]:
        try:
            if not connected:
                connected.append(KafkaBroker(settings))
            behind = messages_behind(connected[0], topic, done, new_group_at_end)
            return behind if waits() else dict.fromkeys(behind, 0)
        except Exception:
            for one in connected:
                one.close()
            connected.clear()
            raise

    return LagWatch(topic, ask).start()


class KafkaBroker:
    """A connection.

    Raises:
        DependencyError: no broker answers.
    """

    def __init__(self, settings: Settings) -> None:
        if away := kafka_away(settings):  # a client that cannot connect leaves a thread behind
            raise DependencyError(away)
        self._admin = connect_admin(settings, bootstrap_timeout_ms=5_000, request_timeout_ms=10_000)

    def range(self, topic: str) -> dict[int, tuple[int, int]]:
        """See `Broker`. What is not committed by its transaction is not counted."""
        [described] = self._admin.describe_topics([topic])
        partitions = [TopicPartition(topic, one["partition_index"]) for one in described["partitions"]]
        first, end = (self._offsets(partitions, spec) for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST))
        return {one.partition: (first[one], end[one]) for one in partitions}

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """See `Broker`."""
        found = self._admin.list_group_offsets([group]).get(group, {})
        return {one.partition: at.offset for one, at in found.items() if one.topic == topic and at.offset >= 0}

    def close(self) -> None:
        """Disconnect."""
        self._admin.close()

    def _offsets(self, partitions: Iterable[TopicPartition], spec: OffsetSpec) -> dict[TopicPartition, int]:
        asked = self._admin.list_partition_offsets(dict.fromkeys(partitions, spec), IsolationLevel.READ_COMMITTED)
        return {partition: int(one.offset) for partition, one in asked.items()}
