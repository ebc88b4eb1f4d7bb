"""A cluster of Milvus over a Kafka of its own, on loopback, for `make test-cluster`."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.conftest import Services, kafka, redis, settings, topic_prefix
from tests.timing import LATE_SECONDS

__all__ = ["Cluster", "cluster", "kafka", "redis", "settings", "topic_prefix"]
SCRIPT = Path(__file__).parents[2] / "scripts" / "milvus"


@dataclass(frozen=True)
class Cluster:
    """Where it is, and its processes by name."""

    uri: str
    processes: dict[str, int]

    def kill(self, name: str) -> None:
        """End a process as a machine that goes away would."""
        os.kill(self.processes[name], signal.SIGKILL)

    @property
    def query_nodes(self) -> list[str]:
        """The names of those that search."""
        return [name for name in self.processes if name.startswith("querynode")]


@pytest.fixture
def cluster(services: Services, tmp_path: Path) -> Iterator[Cluster]:
    """One with two query nodes, new for each test."""
    tell = 'echo "$NEARDUP_MILVUS"; exec cat >/dev/null'
    command = [SCRIPT, "run", "--cluster", "--data", tmp_path / "milvus", "--", "sh", "-c", tell]
    environment = {**os.environ, "NEARDUP_KAFKA": services.kafka}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, start_new_session=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        uri = process.stdout.readline().strip()
        if not uri:
            pytest.fail("scripts/milvus --cluster did not start; its words are above")
        lines = (tmp_path / "milvus" / "processes").read_text().splitlines()
        yield Cluster(uri, {name: int(pid) for name, pid in map(str.split, lines)})
        process.stdin.close()
        assert process.wait(timeout=LATE_SECONDS) == 0
