"""A real Kafka and a real Redis, through `scripts/services`; the fixture `services` is in `tests/conftest.py`.

With NEARDUP_KAFKA and NEARDUP_REDIS in the environment those are taken instead: `scripts/services run -- pytest …`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from redis import Redis

from neardup.pipeline.settings import Settings

SCRIPT = Path(__file__).parents[2] / "scripts" / "services"
_DATABASES = count()


@dataclass(frozen=True)
class Services:
    """Where they are: Kafka as host:port, Redis as a URL without database."""

    kafka: str
    redis: str


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
