"""A cluster of Milvus over a Kafka of its own, on loopback, for `make test-cluster`."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from deploy.local.milvus_server import TOPICS
from tests.integration.conftest import Services, kafka, redis, settings, topic_prefix
from tests.timing import LATE_SECONDS

__all__ = ["Cluster", "cluster", "kafka", "redis", "settings", "topic_prefix"]
SCRIPT = Path(__file__).parents[2] / "scripts" / "milvus"


@dataclass(frozen=True)
class Cluster:
    """Where it is, and its processes by name."""

    uri: str
    folder: Path

    def kill_query_node(self, number: int) -> int:
        """End one of the two, as a machine that goes away would, and return its process id; it is started again."""
        nodes = {name: pid for name, pid in self.processes().items() if name.startswith("querynode")}
        pid = sorted(nodes.items())[number][1]
        os.kill(pid, signal.SIGKILL)
        return pid

    def processes(self) -> dict[str, int]:
        """Return process ids by name."""
        lines = (self.folder / "processes").read_text().splitlines()
        return {name: int(pid) for name, pid in map(str.split, lines)}


@pytest.fixture(scope="module")
def cluster(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One with two query nodes."""
    folder = tmp_path_factory.mktemp("cluster") / "milvus"
    topics = [NewTopic(name, num_partitions=1, replication_factor=1) for name in TOPICS]
    with KafkaAdminClient(bootstrap_servers=services.kafka) as admin:
        admin.create_topics(topics)
    tell = 'echo "$NEARDUP_MILVUS"; exec cat >/dev/null'
    command = [SCRIPT, "run", "--cluster", "--data", folder, "--", "sh", "-c", tell]
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
        yield Cluster(uri, folder)
        process.stdin.close()
        assert process.wait(timeout=LATE_SECONDS) == 0
