"""One Redis server with an append-only file."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from deploy.local.processes import Process, ServiceError, launch

SETTINGS = Path(__file__).parents[1] / "redis" / "redis.conf"


def start_redis(folder: Path, port: int) -> Process:
    """Start the server on 127.0.0.1 with its data and output below the folder."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    # Each test has a database of its own: none is given to another test while a worker may still write to it.
    settings = ["--port", str(port), "--dir", os.fspath(data), "--databases", "4096", "--daemonize", "no"]
    command = ["redis-server", os.fspath(SETTINGS), *settings]
    return launch(command, folder / "pid", folder / "output.log", os.environ)


def redis_answers(port: int, limit_seconds: float) -> None:
    """Return when the server has read its data and takes a write.

    Raises:
        ServiceError: it did not within the limit.
    """
    deadline = time.monotonic() + limit_seconds
    answer = "nothing"
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
                # a write, so that one that is loading, read-only or out of disk does not pass
                connection.sendall(b"PING\r\nSET services-check 1 PX 1000\r\n")
                answer = _read(connection)
        except OSError as error:
            answer = str(error)
        if answer == "+PONG +OK":
            return
        time.sleep(0.05)
    raise ServiceError(f"Redis at 127.0.0.1:{port} does not answer: {answer}")


def _read(connection: socket.socket) -> str:
    received = b""
    while received.count(b"\r\n") < 2:
        more = connection.recv(4096)
        if not more:
            break
        received += more
    return " ".join(received.decode(errors="replace").split("\r\n")).strip()
