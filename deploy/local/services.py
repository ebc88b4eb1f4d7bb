"""Kafka and Redis together: their ports, their data, their start and their end.

A data folder belongs to one pair of services. It holds what they wrote, their ports, which stay the same for as long as
they are free, their process ids and their logs. Starting what runs changes nothing.
"""

from __future__ import annotations

import fcntl
import json
import random
import socket
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.local.kafka_node import kafka_answers, start_kafka
from deploy.local.processes import Process, ServiceError, find, stop, write_whole
from deploy.local.redis_server import redis_answers, start_redis

START_SECONDS = 60.0
STOP_SECONDS = 15.0
# Below the range from which the system takes ports for outgoing connections, so that none is taken while Kafka starts.
_PORTS = range(20_000, 32_000)


@dataclass(frozen=True)
class Ports:
    """Where the services listen, all on 127.0.0.1."""

    kafka: int
    controller: int
    redis: int


@dataclass(frozen=True)
class Services:
    """The services of one data folder."""

    data: Path

    @property
    def ports(self) -> Ports | None:
        """Return the ports of the last start, None before the first."""
        try:
            return Ports(**json.loads((self.data / "ports.json").read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    @property
    def running(self) -> dict[str, Process]:
        """Return the processes that run, by the name of the service."""
        found = {name: find(self.data / name / "pid") for name in ("kafka", "redis")}
        return {name: process for name, process in found.items() if process is not None}

    @property
    def environment(self) -> dict[str, str]:
        """Return the settings of neardup that lead to these services, and to what workers keep beside their log."""
        ports = self.ports
        assert ports is not None
        return {
            "NEARDUP_KAFKA": f"127.0.0.1:{ports.kafka}",
            "NEARDUP_REDIS": f"redis://127.0.0.1:{ports.redis}/0",
            "NEARDUP_BLOBS": str(self.data / "blobs"),
            "NEARDUP_STATE_FOLDER": str(self.data / "state"),  # a state belongs to one log and is refused by others
        }

    def start(self) -> None:
        """Start what does not run, and return when all of it answers.

        Raises:
            ServiceError: a service does not start or answer; what this call started has been stopped again.
        """
        with self._locked():
            before = self.running
            try:
                self._start(before)
            except BaseException:
                stop([process for name, process in self.running.items() if name not in before], STOP_SECONDS)
                raise

    def stop(self) -> list[str]:
        """End both, Kafka after it has closed its logs, and return the names of those that had to be killed."""
        with self._locked():
            running = self.running
            killed = stop(running.values(), STOP_SECONDS)
            return [name for name, process in running.items() if process in killed]

    def _start(self, running: dict[str, Process]) -> None:
        ports = self.choose_ports(running)
        if ports != self.ports:
            write_whole(self.data / "ports.json", json.dumps(asdict(ports)))
        if "redis" not in running:
            start_redis(self.data / "redis", ports.redis)
        if "kafka" not in running:
            start_kafka(self.data / "kafka", ports.kafka, ports.controller)
        self._await_port("kafka", ports.kafka)
        self._await_port("redis", ports.redis)
        redis_answers(ports.redis, START_SECONDS)
        kafka_answers(f"127.0.0.1:{ports.kafka}", START_SECONDS)

    def choose_ports(self, running: Collection[str]) -> Ports:
        """Return the ports to use: those of services that run, those of the last start where free, others where not."""
        last = asdict(self.ports or Ports(0, 0, 0))
        owner = {"kafka": "kafka", "controller": "kafka", "redis": "redis"}
        free = (port for port in random.sample(_PORTS, len(_PORTS)) if port not in last.values() and _free(port))
        chosen = {name: last[name] if owner[name] in running or _free(last[name]) else next(free) for name in owner}
        return Ports(**chosen)

    def _await_port(self, name: str, port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if name not in self.running:
                raise ServiceError(f"{name} ended while it started; the end of its log:\n{self._log_tail(name)}")
            if _listens(port):
                return
            time.sleep(0.05)
        raise ServiceError(f"{name} does not listen after {START_SECONDS:.0f} s:\n{self._log_tail(name)}")

    def _log_tail(self, name: str) -> str:
        logs = [self.data / name / file for file in ("kafka.log", "output.log")]
        return "\n".join(line for log in logs if log.exists() for line in log.read_text().splitlines()[-15:])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _free(port: int) -> bool:
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            return False
    return port != 0


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True
