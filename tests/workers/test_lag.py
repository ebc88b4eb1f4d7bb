from __future__ import annotations

from kafka import TopicPartition
from prometheus_client import REGISTRY

from neardup.workers.lag import Lag

A, B, C = (TopicPartition("lag-test", number) for number in range(3))


class Consumer:
    """Has partitions, of which it may know the ends."""

    def __init__(self, **ends: int | None) -> None:
        self.ends = {TopicPartition("lag-test", int(name[1:])): end for name, end in ends.items()}
        self.positions: dict[TopicPartition, int] = {}

    def assignment(self) -> set[TopicPartition]:
        return set(self.ends)

    def highwater(self, partition: TopicPartition) -> int | None:
        return self.ends[partition]

    def position(self, partition: TopicPartition, timeout_ms: int) -> int | None:
        assert timeout_ms <= 1  # it must not hold up the worker
        return self.positions.get(partition)


def told() -> list[float | None]:
    labels = [{"topic": "lag-test", "partition": str(number)} for number in range(3)]
    return [REGISTRY.get_sample_value("neardup_consumer_lag_messages", one) for one in labels]


def test_lag_is_what_is_not_done_of_each_partition_that_is_ours() -> None:
    consumer = Consumer(p0=100, p1=5, p2=None)
    lag = Lag(consumer)
    lag.tell({A: 40, B: 7, C: 3})
    assert told() == [60, 0, None]
    consumer.ends = {B: 9, C: 3}  # the first is another worker's now
    lag.tell({A: 40, B: 7, C: 3})
    assert told() == [None, 2, 0]
    Lag(consumer)
    assert told() == [None, None, None]


def test_a_partition_that_nothing_was_taken_from_is_told_too() -> None:
    consumer = Consumer(p0=100, p1=5, p2=7)
    consumer.positions = {A: 20, B: 5}
    lag = Lag(consumer)
    lag.tell({})
    assert told() == [80, 0, None]
    Lag(consumer)
