"""A webhook's receiver on this machine: checks signatures, keeps what came, and fails as it is told to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

DRIP_SECONDS = 120
"""How long the answer "drip" takes."""
KEY = b"a key of more than 24 bytes!"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
Answer = Callable[[int], "int | str"]
"""From the number of a request, from 0 on: a status, "reset", "drip", "away", or "503 7" with what to wait for."""


@dataclass
class Received:
    """What came, in order; `taken` are those that were answered with 200."""

    url: str = ""
    answer: Answer = lambda _number: 200
    all: list[str] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    traceparents: list[str] = field(default_factory=list)
    connections: int = 0

    @property
    def settings(self) -> dict[str, str]:
        """What names it in the environment of a worker."""
        return {
            "NEARDUP_WEBHOOK_URL": self.url,
            "NEARDUP_WEBHOOK_SECRETS": SECRET,
            "NEARDUP_WEBHOOK_PRIVATE": "true",
        }

    @property
    def events(self) -> list[str]:
        return [body["data"]["id"] for body in self.taken]


def signature(id: str, timestamp: str, body: bytes, key: bytes = KEY) -> str:
    digest = hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


@contextmanager
def receiving(answer: Answer = lambda _number: 200) -> Iterator[Received]:
    received = Received(answer=answer)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            received.connections += 1
            super().setup()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            id, timestamp = self.headers["webhook-id"], self.headers["webhook-timestamp"]
            wanted = signature(id, timestamp, body)
            good = wanted in self.headers["webhook-signature"].split() and abs(time.time() - int(timestamp)) < 300
            said = received.answer(len(received.all)) if good else 401
            received.all.append(id)
            received.traceparents.append(self.headers.get("traceparent", ""))
            if said == "reset":
                self.close_connection = True
                return
            if said == "drip":
                with suppress(OSError):  # the other side has had enough
                    for _ in range(20 * DRIP_SECONDS):
                        self.wfile.write(b"H")
                        time.sleep(0.05)
                self.close_connection = True
                return
            if said == 200:
                received.taken.append(json.loads(body))
            status, _, pause = str(said).partition(" ")
            self.send_response(302 if said == "away" else int(status))
            if said == "away":
                self.send_header("Location", "/elsewhere")
            if pause:
                self.send_header("Retry-After", pause)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    received.url = f"http://127.0.0.1:{server.server_address[1]}/hook?key=1"
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
