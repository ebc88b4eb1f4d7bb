from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator

import pytest

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.settings import Settings, load
from neardup.workers.run.health import Health
from neardup.workers.run.kafka_probe import Watch, kafka_away
from tests.timing import until


def at(address: str) -> Settings:
    return load(kafka=address)


class Listener:
    """Takes connections; answers what comes while `speaks`."""

    def __init__(self) -> None:
        self.speaks = True
        self.asked: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.asked.append(connection.recv(100))
                if self.speaks:
                    connection.sendall(b"\0\0\0\6\0\0\0\1\0\0")

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def test_a_broker_is_asked_for_the_requests_that_it_knows(listener: Listener) -> None:
    assert kafka_away(at(listener.address)) == ""
    assert listener.asked == [b"\0\0\0\x0a\0\x12\0\0\0\0\0\1\xff\xff"]


def test_one_broker_of_several_is_enough(listener: Listener) -> None:
    assert kafka_away(at(f"127.0.0.1:1, {listener.address}")) == ""


def test_one_that_is_silent_gone_or_no_address_does_not_answer(listener: Listener) -> None:
    listener.speaks = False
    for address, why in (
        (listener.address, "it closed the connection"),
        ("127.0.0.1:1", "Connection refused"),
        ("nonsense", "invalid literal"),
    ):
        words = kafka_away(at(address))
        assert words.startswith(f"no Kafka answers at {address} (NEARDUP_KAFKA): ")
        assert why in words


def test_readiness_follows_and_each_change_is_one_line(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    away = f"no Kafka answers at {listener.address} (NEARDUP_KAFKA): it closed the connection"
    health = Health()
    health.ready = True
    caplog.set_level(logging.WARNING)
    watch = Watch(lambda: kafka_away(at(listener.address)), health, every_seconds=0.01)
    try:
        for speaks, why in ((False, away), (True, None)):
            listener.speaks = speaks
            until(lambda why=why: health.not_ready == why, "readiness follows")  # type: ignore[misc]
            count = len(listener.asked)
            until(lambda count=count: len(listener.asked) >= count + 3, "it is asked")  # type: ignore[misc]
    finally:
        watch.close()
    assert [record.getMessage() for record in caplog.records] == [
        away,
        "Kafka answers again",
    ]


def test_settings_that_no_longer_hold_are_an_outage_and_the_watch_goes_on() -> None:
    def away() -> str:
        raise ConfigError("refused")

    health = Health()
    health.ready = True
    watch = Watch(away, health, every_seconds=0.01)
    try:
        until(lambda: health.not_ready == "refused", "readiness follows")
    finally:
        watch.close()
