"""What a door writes: records to the log, items to `media`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kafka.errors import KafkaError

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.records import Record
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.log import Appender
from neardup.workers.kafka.outbox import Headers, make_producer
from neardup.workers.kafka.topics import TopicNames

_SEND_SECONDS = 15.0


@contextmanager
def kafka_errors() -> Iterator[None]:
    """Raise DependencyError for whatever Kafka raises."""
    try:
        yield
    except KafkaError as error:
        raise DependencyError(f"Kafka: {type(error).__name__}: {error}") from error


class KafkaWrites:
    """See `context.Writes`; connects when it is first used, and again after a failure."""

    def __init__(self, settings: Settings, names: TopicNames) -> None:
        self._settings = settings
        self._names = names
        self._lock = threading.Lock()
        self._appender: Appender | None = None
        self._producer: Any = None

    def append(self, records: Sequence[Record]) -> list[int]:
        """See `context.Writes`."""
        with kafka_errors():
            with self._lock:
                appender = self._appender = self._appender or Appender(self._settings, self._names.log)
            return appender.append(records)

    def publish(self, item_id: str, value: bytes, headers: Headers) -> tuple[int, int]:
        """See `context.Writes`."""
        with self._lock:
            producer = self._producer = self._producer or make_producer(self._settings)
        with kafka_errors():
            sent = producer.send(self._names.media, value, item_id.encode(), headers).get(timeout=_SEND_SECONDS)
        return int(sent.partition), int(sent.offset)
