"""Single records of `media`, read where the log says that an item came from."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import OffsetOutOfRangeError

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.clients import connect_consumer
from neardup.workers.kafka.topics import kafka_errors

_POLL_MS = 3000


class MediaReader:
    """Connects when it is first used, and again after a failure; for one thread at a time."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._consumer: KafkaConsumer | None = None

    def record(self, partition: int, offset: int) -> Any:
        """Return the record at a place, None if it is past its time.

        Raises:
            DependencyError: Kafka does not answer.
        """
        try:
            with kafka_errors():
                return self._poll(TopicPartition(self._topic, partition), offset)
        except DependencyError:
            self.close()
            raise

    def close(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            with suppress(Exception):
                self._consumer.close(timeout_ms=1000)
            self._consumer = None

    def _poll(self, partition: TopicPartition, offset: int) -> Any:
        if self._consumer is None:
            self._consumer = connect_consumer(
                self._settings,
                auto_offset_reset="none",
                max_partition_fetch_bytes=1,  # the batch that has it, and none after it
            )
        self._consumer.assign([partition])
        self._consumer.seek(partition, offset)
        try:
            found = self._consumer.poll(timeout_ms=_POLL_MS, max_records=1)
        except OffsetOutOfRangeError:
            return None
        finally:
            self._consumer.assign([])
        records = found.get(partition, ())
        if not records:
            raise DependencyError(f"Kafka gives nothing of {self._topic} from partition {partition.partition}")
        return records[0] if records[0].offset == offset else None
