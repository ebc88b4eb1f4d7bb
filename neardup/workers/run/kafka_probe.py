"""Whether Kafka answers, asked on a connection of its own.

The clients of a worker reconnect by themselves and tell nobody, so a worker with nothing to do would not notice for
hours. What is asked is which requests the broker knows, as every client does first, and then, where
Kafka wants a login, for that.
"""

from __future__ import annotations

import logging
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.security import security_options, tls_context
from neardup.workers.run.health import Health

logger = logging.getLogger(__name__)
EVERY_SECONDS = 5.0
_TIMEOUT_SECONDS = 3.0
_MOST_BYTES = 2**20
VERSIONS, _HANDSHAKE, _AUTHENTICATE = (18, 0), (17, 1), (36, 0)
"""Kinds of requests and their versions: ApiVersions, SaslHandshake, SaslAuthenticate."""


def kafka_away(settings: Settings) -> str:
    """Return why none of the brokers answers, "" if one does.

    Raises:
        ConfigError: the settings of encryption and login do not fit together, a file cannot be used, or the login is
            refused.
    """
    context = tls_context(settings)
    why = ""
    for address in settings.kafka.split(","):
        host, _, port = address.strip().rpartition(":")
        host = host.strip("[]")
        try:
            with ExitStack() as undo:
                connection = undo.enter_context(socket.create_connection((host, int(port)), _TIMEOUT_SECONDS))
                if context is not None:
                    connection = undo.enter_context(context.wrap_socket(connection, server_hostname=host))
                _ask(connection, VERSIONS)
                if settings.kafka_sasl_mechanism:
                    _log_in(connection, settings)
                return ""
        except (OSError, ValueError) as error:
            why = str(error) or type(error).__name__
    return f"no Kafka answers at {settings.kafka} (NEARDUP_KAFKA): {why}"


def request(kind: tuple[int, int], content: bytes = b"") -> bytes:
    """Return a request as it is sent: length, kind, version, number 1, no client's name, content."""
    return struct.pack(">ihhih", 10 + len(content), *kind, 1, -1) + content


def _ask(connection: socket.socket, kind: tuple[int, int], content: bytes = b"") -> bytes:
    """Return what the answer holds after its length and number."""
    connection.sendall(request(kind, content))
    (length,) = struct.unpack(">i", _read(connection, 4))
    if not 6 <= length <= _MOST_BYTES:  # one who speaks TLS answers with an alert
        raise ValueError("what answers does not speak Kafka's protocol; does it encrypt?")
    return _read(connection, length)[4:]


def _read(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = connection.recv(count - len(found))
        if not more:
            raise ConnectionError("it closed the connection")
        found += more
    return found


def _log_in(connection: socket.socket, settings: Settings) -> None:
    from kafka.net.sasl import get_sasl_mechanism

    name = settings.kafka_sasl_mechanism
    login = get_sasl_mechanism(name)(**security_options(settings))
    answer = _ask(connection, _HANDSHAKE, struct.pack(">h", len(name)) + name.encode())
    words = f"error {struct.unpack_from('>h', answer)[0]}, it does not offer {name}"
    while not any(answer[:2]):
        if login.is_done():
            return
        token = login.auth_bytes()
        answer = _ask(connection, _AUTHENTICATE, struct.pack(">i", len(token)) + token)
        (length,) = struct.unpack_from(">h", answer, 2)  # -1 is no words
        end = 4 + max(length, 0)
        words = answer[4:end].decode(errors="replace")
        if not any(answer[:2]):
            login.receive(answer[end + 4 :])
    raise ConfigError(
        f"Kafka at {settings.kafka} refuses the login of {settings.kafka_sasl_username!r} with {name} "
        f"(NEARDUP_KAFKA_SASL_USERNAME, _PASSWORD, _MECHANISM): {words}"
    )


class Watch:
    """Asks every few seconds, from a thread that ends with the process, and tells when the answer changes."""

    def __init__(self, away: Callable[[], str], health: Health, every_seconds: float = EVERY_SECONDS) -> None:
        """Keep `health.away` right from now on.

        Args:
            away: returns why Kafka does not answer, "" if it does.
        """
        self._away = away
        self._health = health
        self._every_seconds = every_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="reach", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ask no more."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(self._every_seconds):
            try:
                away = self._away()
            except ConfigError as error:  # a certificate that is being renewed, or a password that was changed
                away = str(error)
            if bool(away) != bool(self._health.away):
                logger.warning("%s", away or "Kafka answers again")
                self._health.away = away
