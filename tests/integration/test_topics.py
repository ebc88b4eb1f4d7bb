from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from neardup.pipeline.embed.checkpoint import save_checkpoint
from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.topics import (
    MAX_RECORD_BYTES,
    check_topics,
    create_topics,
    list_topics,
    open_admin,
    topic_names,
)
from tests.pipeline.scan.build import a_checkpoint
from tests.timing import LATE_SECONDS

pytestmark = pytest.mark.integration

SPACE = "f00d"


def make(admin: KafkaAdminClient, name: str, partitions: int = 1, **configs: str) -> None:
    given = {key.replace("_", "."): value for key, value in configs.items()}
    admin.create_topics({name: {"num_partitions": partitions, "configs": given}}, wait_for_metadata=True)


def test_topics_are_made_as_wanted_and_making_them_again_changes_nothing(
    admin: KafkaAdminClient, settings: Settings
) -> None:
    first = create_topics(admin, SPACE, settings)
    again = create_topics(admin, SPACE, settings)
    names = topic_names(settings.topic_prefix, SPACE)
    assert [one.topic.name for one in first] == [names.media, names.dead_letters, names.log, names.verdicts, names.asks]
    assert [one.topic.partitions for one in first] == [8, 1, 1, 1, 8]
    assert [one.created for one in first + again] == 5 * [True] + 5 * [False]
    assert [one.topic for one in again] == [one.topic for one in first]
    check_topics(admin, SPACE, settings)


def test_callers_at_once_make_each_topic_once(settings: Settings) -> None:
    def call(_number: int) -> list[bool]:
        with open_admin(settings) as own:
            return [one.created for one in create_topics(own, SPACE, settings)]

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(call, range(4)))
    assert [sum(created) for created in zip(*made, strict=True)] == [1, 1, 1, 1, 1]


def test_a_second_space_shares_media_and_dead_letters(admin: KafkaAdminClient, settings: Settings) -> None:
    create_topics(admin, SPACE, settings)
    second = create_topics(admin, "beef", settings)
    assert [one.created for one in second] == [False, False, True, True, True]
    assert len(list_topics(admin, settings.topic_prefix)) == 8


@pytest.mark.parametrize(
    ("partitions", "configs", "told"),
    [
        (1, {"cleanup_policy": "compact"}, "cleanup.policy is compact, wanted delete"),
        (1, {}, "retention.ms is 604800000, wanted -1 or more"),
        (3, {"retention_ms": "-1"}, "it has 3 partitions, wanted 1"),
    ],
)
def test_a_log_that_could_lose_data_is_refused(
    admin: KafkaAdminClient, settings: Settings, partitions: int, configs: dict[str, str], told: str
) -> None:
    log = topic_names(settings.topic_prefix, SPACE).log
    make(admin, log, partitions, **configs)
    with pytest.raises(ConfigError) as caught:
        create_topics(admin, SPACE, settings)
    assert f"topic {log} is not safe to use: {told}" in str(caught.value)
    with pytest.raises(ConfigError):
        check_topics(admin, SPACE, settings)


def test_workers_are_told_of_topics_that_nobody_made(admin: KafkaAdminClient, settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"media does not exist; `neardup topics create` makes it"):
        check_topics(admin, SPACE, settings)


def test_more_copies_than_brokers_are_refused(admin: KafkaAdminClient, settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"Kafka refuses the topic .*replication factor of 2"):
        create_topics(admin, SPACE, settings.model_copy(update={"replication_factor": 2}))


def test_no_broker_is_an_error_of_the_surroundings() -> None:
    nowhere = open_admin(Settings(kafka="127.0.0.1:1"), limit_seconds=0.2)
    with pytest.raises(DependencyError, match=r"no Kafka answers at 127\.0\.0\.1:1 "), nowhere:
        pass


def test_the_largest_record_goes_through_and_has_the_brokers_time(admin: KafkaAdminClient, settings: Settings) -> None:
    media, dead, *_ = [one.topic.name for one in create_topics(admin, SPACE, settings)]
    producer = KafkaProducer(bootstrap_servers=settings.kafka, max_request_size=2 * MAX_RECORD_BYTES)
    largest = bytes(MAX_RECORD_BYTES - 1000)
    producer.send(media, largest, key=b"k", partition=0, timestamp_ms=0).get(timeout=LATE_SECONDS)
    producer.send(dead, largest, key=b"k", headers=[("reason", b"r" * 100_000)]).get(timeout=LATE_SECONDS)
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(media, 0)])
    [[record]] = consumer.poll(timeout_ms=120_000).values()
    consumer.close()
    assert record.value == largest
    assert abs(record.timestamp / 1000 - time.time()) < LATE_SECONDS


def test_the_command_makes_and_lists(settings: Settings, tmp_path: Path) -> None:
    save_checkpoint(a_checkpoint(), tmp_path / "model.safetensors")
    given = {
        "MODEL": str(tmp_path / "model.safetensors"),
        "KAFKA": settings.kafka,
        "TOPIC_PREFIX": settings.topic_prefix,
    }
    environment = {**os.environ, **{f"NEARDUP_{name}": value for name, value in given.items()}}

    def topics(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "neardup.workers.cli.main", "topics", *words]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=LATE_SECONDS, check=False
        )

    made = json.loads(topics("create", "--partitions", "3", "--json").stdout)
    assert [(one["created"], one["partitions"], one["retention_ms"]) for one in made] == [
        (True, 3, 7 * 86_400_000),
        (True, 1, 30 * 86_400_000),
        (True, 1, -1),
        (True, 1, -1),
        (True, 3, 86_400_000),
    ]
    again = topics("create")
    assert again.returncode == 0
    assert f"{settings.topic_prefix}.media: exists, 3 partitions, kept 7 days" in again.stdout
    assert "stays at 3 partitions, not 8" in again.stderr
    listed = topics("list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == sorted(one["name"] for one in made)
    refused = topics("create", "--replication-factor", "3")
    assert refused.returncode == 2
    assert "replication factor is 1, wanted 3 or more" in refused.stderr
