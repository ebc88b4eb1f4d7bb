"""All workers of a stream over a real Kafka and Redis, with the stand-in for a network, and their pages."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from kafka import KafkaProducer
from redis import Redis

from neardup.pipeline.embed.checkpoint import save_checkpoint
from neardup.pipeline.log.records import Removed
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.interface import ReviewQueue
from neardup.pipeline.store.redis import RedisStore
from neardup.workers.api.auth import line_of
from neardup.workers.kafka.log import Appender
from neardup.workers.kafka.topics import topic_names
from tests import timing
from tests.integration.conftest import Services
from tests.pipeline.scan.build import a_checkpoint
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
DATABASE = 15
LIMIT_SECONDS = 180.0
TOKENS = {"ann": "review", "bob": "review", "eve": "read"}


class Stack:
    """`neardup up --api`; `start` and `stop` may follow each other. A token is `nd_` and its name."""

    def __init__(self, services: Services, folder: Path, prefix: str) -> None:
        checkpoint = a_checkpoint()
        folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(checkpoint, folder / "model.safetensors")
        redis = f"{services.redis}/{DATABASE}"
        with Redis.from_url(redis) as client:
            client.flushdb()
        self._port = free_port()
        self._log = folder / "up.log"
        listed = ",".join(line_of(name, role, f"nd_{name}") for name, role in TOKENS.items())
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("NEARDUP_")},
            "NEARDUP_KAFKA": services.kafka,
            "NEARDUP_REDIS": redis,
            "NEARDUP_TOPIC_PREFIX": prefix,
            "NEARDUP_PROVE": "false",
            "NEARDUP_MODEL": str(folder / "model.safetensors"),
            "NEARDUP_MEDIA_PARTITIONS": "1",
            "NEARDUP_API_PORT": str(self._port),
            "NEARDUP_API_TOKENS": listed,
            "NEARDUP_API_RATE_PER_SECOND": "0",
            "XDG_DATA_HOME": str(folder / "data"),
        }
        self.names = topic_names(prefix, checkpoint.space)
        self._producer = KafkaProducer(bootstrap_servers=services.kafka)
        self.store = RedisStore(redis, checkpoint.space)
        self.settings = Settings(kafka=services.kafka, redis=redis, topic_prefix=prefix, prove=False)  # type: ignore[arg-type]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start all workers, and wait until the API is ready."""
        command = [sys.executable, "-m", "tests.integration.stand_in", "up", "--port", "0", "--api"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=self.environment, stderr=log, cwd=ROOT)
        until(self._ready, "the API is ready", self._log)

    def stop(self) -> None:
        """Have all workers drain and end."""
        assert self._process is not None
        self._process.terminate()
        assert self._process.wait(LIMIT_SECONDS) == 0, self._log.read_text()

    def close(self) -> None:
        self._producer.close()
        self.store.close()
        if self._process is not None and self._process.poll() is None:
            self.stop()

    def publish(self, *paths: Path) -> None:
        """Send files to `media` as any Kafka client would, and wait until what is said of them is in Redis."""
        for path in paths:
            self._producer.send(self.names.media, path.read_bytes(), key=path.name.encode()).get(LIMIT_SECONDS)
        for path in paths:
            until(lambda id=path.name: self.store.verdict(id) is not None, f"{path.name} is decided on", self._log)  # type: ignore[misc]

    def clear_queue(self) -> None:
        """Take down what waits for a review."""
        with closing(Appender(self.settings, self.names.log)) as log:
            log.append([Removed(id=one.item) for one in self.store.queue(0, 1000, queue=ReviewQueue.ALL)])
        until(lambda: self.store.queued(queue=ReviewQueue.ALL) == 0, "nothing waits", self._log)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=LIMIT_SECONDS) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def until(true: Callable[[], object], what: str, log: Path | None = None) -> None:
    timing.until(true, lambda: f"{what}; {log.read_text() if log else ''}", LIMIT_SECONDS)
