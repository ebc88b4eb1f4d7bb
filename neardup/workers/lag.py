"""The lag of the partitions that a consumer has now; those that went are another worker's to tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka import TopicPartition

from neardup.pipeline.telemetry import CONSUMER_LAG


class Lag:
    """Of the only consumer of this process; used by its thread."""

    def __init__(self, consumer: Any) -> None:
        """Forget what a consumer before this one told."""
        CONSUMER_LAG.clear()
        self._consumer = consumer
        self._told: set[TopicPartition] = set()

    def tell(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Set the metric.

        Args:
            offsets: by partition, the next offset to read once all before it is done.
        """
        now = {}
        for partition in self._consumer.assignment():
            end = self._consumer.highwater(partition)
            if end is None:
                continue
            # Of one that nothing was taken from yet, all that follows its position waits.
            offset = offsets.get(partition, self._consumer.position(partition, timeout_ms=1))
            if offset is not None:
                now[partition] = max(end - offset, 0)
        for partition in self._told - now.keys():
            CONSUMER_LAG.remove(partition.topic, str(partition.partition))
        for partition, messages in now.items():
            CONSUMER_LAG.labels(partition.topic, str(partition.partition)).set(messages)
        self._told = set(now)
