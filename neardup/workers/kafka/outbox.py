"""Records on their way to Kafka, counted: kafka-python's producer takes in whatever it is given.

All or nothing: the records of one call are confirmed together, by a callback on the producer's thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.clients import connect_producer
from neardup.workers.kafka.topics import MAX_DEAD_LETTER_BYTES
from neardup.workers.run.telemetry import STAGE_SECONDS

Headers = list[tuple[str, bytes]]
_OVERHEAD_BYTES = 2**16
_PRODUCE = STAGE_SECONDS.labels("produce")


@dataclass(frozen=True, slots=True)
class Message:
    """One record to write; `partition` None lets the key decide."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = field(default_factory=list)
    partition: int | None = None

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        return len(self.key or b"") + len(self.value or b"") + sum(len(value) for _, value in self.headers) + 100


class Outbox:
    """Sends from one thread; confirms on another."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._lock = threading.Condition()
        self._bytes = 0
        self._failure: BaseException | None = None

    @property
    def in_flight_bytes(self) -> int:
        """Bytes sent and not confirmed."""
        with self._lock:
            return self._bytes

    def check(self) -> None:
        """Raise DependencyError if Kafka did not take a record; what it belonged to was not confirmed."""
        if self._failure is not None:
            raise DependencyError(f"Kafka did not take a record: {self._failure}") from self._failure

    def send(self, messages: Sequence[Message], confirmed: Callable[[], object]) -> None:
        """Send records; `confirmed` is called once Kafka has them all, unless one fails."""
        self.check()
        call = _Call(len(messages), confirmed, time.monotonic())
        with self._lock:
            self._bytes += sum(message.size for message in messages)
        for message in messages:
            future = self._producer.send(
                message.topic, message.value, message.key, list(message.headers), message.partition
            )
            future.add_callback(self._acknowledged, call, message.size)
            future.add_errback(self._failed)

    def wait(self, seconds: float) -> bool:
        """Return whether everything was confirmed within the time."""
        with self._lock:
            return self._lock.wait_for(lambda: self._bytes == 0 or self._failure is not None, seconds) and (
                self._failure is None
            )

    def wait_below(self, most_bytes: int, seconds: float) -> None:
        """Return when no more than so many bytes are unconfirmed.

        Raises:
            DependencyError: that takes longer than the time, or a record failed.
        """
        with self._lock:
            self._lock.wait_for(lambda: self._bytes <= most_bytes or self._failure is not None, seconds)
            held = self._bytes
        self.check()
        if held > most_bytes:
            raise DependencyError(f"Kafka has acknowledged nothing for {seconds:.0f} s")

    def close(self, seconds: float) -> None:
        """Close the producer; what is not confirmed by then may be written or not."""
        with suppress(Exception):
            self._producer.close(timeout=seconds)

    def _acknowledged(self, call: _Call, size: int, _metadata: object) -> None:
        with self._lock:
            call.left -= 1
            last = call.left == 0
        if last:
            _PRODUCE.observe(time.monotonic() - call.began)
            call.confirmed()
        with self._lock:
            self._bytes -= size
            self._lock.notify_all()

    def _failed(self, error: BaseException) -> None:
        with self._lock:
            self._failure = self._failure or error
            self._lock.notify_all()


@dataclass(slots=True)
class _Call:
    left: int
    confirmed: Callable[[], object]
    began: float


def make_producer(settings: Settings, **options: Any) -> Any:
    """Return an idempotent producer for the largest records.

    Raises:
        DependencyError: no broker answers.
    """
    configs = {
        "enable_idempotence": True,
        "linger_ms": 10,
        "batch_size": 2**18,
        "max_request_size": MAX_DEAD_LETTER_BYTES + _OVERHEAD_BYTES,
        "delivery_timeout_ms": 60_000,
        "request_timeout_ms": 20_000,
        "max_block_ms": 20_000,
        "bootstrap_timeout_ms": 5_000,
        "allow_auto_create_topics": False,
    }
    return connect_producer(settings, **configs | options)
