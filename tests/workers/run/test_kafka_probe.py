from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator

import pytest

from neardup.workers.run.health import Health
from neardup.workers.run.kafka_probe import Watch, kafka_answers
from tests.timing import until


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
    assert kafka_answers(listener.address)
    assert listener.asked == [b"\0\0\0\x0a\0\x12\0\0\0\0\0\1\xff\xff"]


def test_one_broker_of_several_is_enough(listener: Listener) -> None:
    assert kafka_answers(f"127.0.0.1:1, {listener.address}")


def test_one_that_is_silent_gone_or_no_address_does_not_answer(listener: Listener) -> None:
    listener.speaks = False
    assert not kafka_answers(listener.address)
    assert not kafka_answers("127.0.0.1:1")
    assert not kafka_answers("nonsense")


def test_readiness_follows_and_each_change_is_one_line(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    health = Health()
    health.ready = True
    caplog.set_level(logging.WARNING)
    watch = Watch(listener.address, health, every_seconds=0.01)
    try:
        for speaks, why in ((False, f"no Kafka answers at {listener.address}"), (True, None)):
            listener.speaks = speaks
            until(lambda why=why: health.not_ready == why, "readiness follows")  # type: ignore[misc]
            count = len(listener.asked)
            until(lambda count=count: len(listener.asked) >= count + 3, "it is asked")  # type: ignore[misc]
    finally:
        watch.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"no Kafka answers at {listener.address}",
        f"Kafka answers again at {listener.address}",
    ]
