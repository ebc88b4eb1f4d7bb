"""Whether Kafka answers, asked on a connection of its own.

The clients of a worker reconnect by themselves and tell nobody, so a worker with nothing to do would not notice for
hours. What is asked is which requests the broker knows, as every client does first.
"""

from __future__ import annotations

import logging
import socket
import struct
import threading

from neardup.workers.run.health import Health

logger = logging.getLogger(__name__)
EVERY_SECONDS = 5.0
_TIMEOUT_SECONDS = 3.0
_QUESTION = struct.pack(">ihhih", 10, 18, 0, 1, -1)  # length, ApiVersions, version 0, number 1, no client's name


def kafka_answers(addresses: str, timeout_seconds: float = _TIMEOUT_SECONDS) -> bool:
    """Return whether one of the brokers, host:port with commas between, answers."""
    return any(_answers(address.strip(), timeout_seconds) for address in addresses.split(","))


def _answers(address: str, timeout_seconds: float) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout_seconds) as connection:
            connection.sendall(_QUESTION)
            return len(connection.recv(4)) > 0
    except (OSError, ValueError):
        return False


class Watch:
    """Asks every few seconds, from a thread that ends with the process, and tells when the answer changes."""

    def __init__(self, addresses: str, health: Health, every_seconds: float = EVERY_SECONDS) -> None:
        """Keep `health.away` right from now on."""
        self._addresses = addresses
        self._health = health
        self._every_seconds = every_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="reach", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ask no more."""
        self._ended.set()

    def _watch(self) -> None:
        why = f"no Kafka answers at {self._addresses}"
        while not self._ended.wait(self._every_seconds):
            away = "" if kafka_answers(self._addresses) else why
            if away != self._health.away:
                logger.warning("%s", away or f"Kafka answers again at {self._addresses}")
            self._health.away = away
