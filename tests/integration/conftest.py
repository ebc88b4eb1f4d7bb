"""A real Kafka and a real Redis, through `scripts/services`; the fixture `services` is in `tests/conftest.py`.

With NEARDUP_KAFKA and NEARDUP_REDIS in the environment those are taken instead: `scripts/services run -- pytest …`.
"""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from redis import Redis

from neardup.pipeline.settings import Settings
from tests.timing import LATE_SECONDS

SCRIPT = Path(__file__).parents[2] / "scripts" / "services"
_DATABASES = count()


@dataclass(frozen=True)
class Services:
    """Where they are: Kafka as host:port, Redis as a URL without database."""

    kafka: str
    redis: str


@contextmanager
def running_services(folder: Path) -> Iterator[Services]:
    """Run services of one's own. They end with this process, however it ends: that closes their command's input."""
    tell = 'echo "$NEARDUP_KAFKA $NEARDUP_REDIS"; exec cat >/dev/null'
    command = [SCRIPT, "run", "--data", folder, "--", "sh", "-c", tell]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told = process.stdout.readline().split()
        if len(told) != 2:
            pytest.fail("scripts/services did not start; its words are above")
        yield Services(told[0], told[1].rpartition("/")[0])
        process.stdin.close()
        assert process.wait(timeout=LATE_SECONDS) == 0


@pytest.fixture(scope="session")
def kafka(services: Services) -> str:
    """The address of the broker, host:port."""
    return services.kafka


@pytest.fixture
def redis(services: Services) -> str:
    """The URL of a Redis database that is empty and this test's own."""
    url = f"{services.redis}/{next(_DATABASES)}"
    with Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> str:
    """A first part of topic names that no other test has."""
    return f"{re.sub('[^a-z0-9]+', '-', request.node.name.lower())[:60]}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def settings(kafka: str, redis: str, topic_prefix: str) -> Settings:
    """Settings that lead to the services, with topics and a Redis database of the test's own."""
    return Settings(kafka=kafka, redis=redis, topic_prefix=topic_prefix, prove=False)  # type: ignore[arg-type]


@pytest.fixture
def admin(kafka: str) -> Iterator[KafkaAdminClient]:
    with KafkaAdminClient(bootstrap_servers=kafka) as client:
        yield client
