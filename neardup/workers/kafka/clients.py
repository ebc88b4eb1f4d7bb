"""Every client of Kafka is made here: addresses, encryption and login are the same for all of them.

What differs is given by the caller, in kafka-python's own options.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from neardup.pipeline.errors import ConfigError, DependencyError, install_command
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.security import security_options
from neardup.workers.run.kafka_probe import kafka_away

if TYPE_CHECKING:
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer


def connect_consumer(settings: Settings, **options: Any) -> KafkaConsumer:
    """Return a consumer that is connected; see `_connect` for errors."""
    return _connect("KafkaConsumer", settings, enable_auto_commit=False, metrics_enabled=False, **options)


def connect_producer(settings: Settings, **options: Any) -> KafkaProducer:
    """Return a producer that is connected, and acknowledged by all replicas; see `_connect` for errors."""
    return _connect("KafkaProducer", settings, acks="all", metrics_enabled=False, **options)


def connect_admin(settings: Settings, **options: Any) -> KafkaAdminClient:
    """Return a client for topics and groups that is connected; see `_connect` for errors."""
    return _connect("KafkaAdminClient", settings, **options)


def _connect(kind: str, settings: Settings, **options: Any) -> Any:
    """Return a client.

    Raises:
        ConfigError: kafka-python is not installed, the settings do not fit together, or Kafka refuses the login.
        DependencyError: no broker answers, or its certificate is not trusted.
    """
    try:
        import kafka
        from kafka.errors import KafkaError
    except ModuleNotFoundError as error:
        raise ConfigError(f"streaming needs a Kafka client: {install_command('stream')}") from error
    _keep_response_classes()
    _read_without_a_second_copy()
    # kafka-python 3.0.12 tries a wrong password or certificate until its time is over, and then says nothing of it.
    if settings.kafka_security != "plaintext" and (away := kafka_away(settings)):
        raise DependencyError(away)
    try:
        servers = [one.strip() for one in settings.kafka.split(",")]
        return getattr(kafka, kind)(bootstrap_servers=servers, **security_options(settings), **options)
    except KafkaError as error:
        raise DependencyError(f"no Kafka answers at {settings.kafka} (NEARDUP_KAFKA): {error}") from error


@cache
def _keep_response_classes() -> None:
    """Have answers read by classes that stay.

    kafka-python 3.0.12 makes a class for each version of an answer when it is first needed, and remembers the last one
    by a weak reference. Where two threads make it at once, one of the two is dropped, and with it every answer of this
    kind: the process never connects again. The first class that is registered has all versions, and stays.
    """
    from kafka.protocol.api_header import ResponseClassRegistry

    known = ResponseClassRegistry._response_class_registry
    known.update({key: one[None] for key, one in list(known.items())})
    ResponseClassRegistry.register_response_class = lambda one: known.setdefault(one.API_KEY, one)


@cache
def _read_without_a_second_copy() -> None:
    """Have answers cut out of what was received with one copy.

    kafka-python 3.0.12 copies a part of the receive buffer as a bytearray and then once more as bytes. Media come in
    answers of megabytes, whose copies are fresh memory each time: this took as long as receiving them.
    """
    from kafka.protocol.frame import KafkaBytes

    def read(self: Any, nbytes: int | None = None) -> bytes:
        start, end = self._idx, len(self)
        self._idx = end if nbytes is None else min(start + nbytes, end)
        with memoryview(self) as whole:
            return bytes(whole[start : self._idx])

    KafkaBytes.read = read
