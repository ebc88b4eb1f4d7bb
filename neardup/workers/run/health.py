"""What a worker serves over HTTP on a port of its own: `/healthz`, `/readyz`, `/metrics`.

It answers from a thread, so that a worker which hangs is still seen: `/healthz` fails when the loop has not come round
for a while, `/readyz` while the worker is not connected or has nothing to work with yet, and says why.
"""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable
from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from neardup.pipeline.errors import ConfigError

MAX_SILENCE_SECONDS = 120.0
"""Longer than any step of a worker should take; a GPU's first batch is the longest."""
MAX_START_SECONDS = 1800.0
"""Longer than it should take to read a snapshot before the first step, also one of tens of millions of items."""


class Health:
    """What a worker says of itself; written by its loop, and `away` by whoever watches Kafka; read by the server."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beat = clock()
        self._silence = MAX_SILENCE_SECONDS
        self.ready = False
        self.why = ""
        """What the loop waits for, in words, while it is not ready."""
        self.away = ""
        """What does not answer, whatever the loop may think."""

    def beat(self, silence_seconds: float = MAX_SILENCE_SECONDS) -> None:
        """Say that the loop has come round, and for how long it may be silent now."""
        self._beat, self._silence = self._clock(), silence_seconds

    @property
    def alive(self) -> bool:
        """Whether the loop has not been silent for longer than it said."""
        return self._clock() - self._beat < self._silence

    @property
    def not_ready(self) -> str | None:
        """Why the worker cannot work, None if it can."""
        if not self.alive:
            return "the loop has not come round"
        if self.away or not self.ready:
            return self.away or self.why
        return None


class HealthServer:
    """Serves until `close`, from threads that do not keep the process alive.

    Args:
        port: 0 takes a free one; `port` is then the one chosen.
    Raises:
        ConfigError: the address cannot be listened on.
    """

    def __init__(self, health: Health, host: str, port: int) -> None:
        handler = type("Handler", (_Handler,), {"health": health})
        try:
            self._server = http.server.ThreadingHTTPServer((host, port), handler)
        except OSError as error:
            raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="health", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    health: Health

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(HTTPStatus.OK, generate_latest(), CONTENT_TYPE_LATEST)
        elif path == "/healthz":
            self._log(None if self.health.alive else "the loop has not come round")
        elif path == "/readyz":
            why = self.health.not_ready
            self._log(None if why is None else f"not ready: {why}")
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"see /healthz, /readyz, /metrics\n")

    def _log(self, wrong: str | None) -> None:
        status = HTTPStatus.OK if wrong is None else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, f"{wrong or 'ok'}\n".encode())

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing: probes come every few seconds."""
