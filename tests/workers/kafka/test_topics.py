from __future__ import annotations

from dataclasses import replace

import pytest

from neardup.pipeline.settings import Settings
from neardup.workers.kafka.topics import MAX_RECORD_BYTES, Topic, problems, topic_names, wanted_topics

DAY_MS = 86_400_000


def wanted(name: str, **options: object) -> Topic:
    topics = wanted_topics("f00d", Settings(**options))  # type: ignore[arg-type]
    return {topic.name.split(".")[1]: topic for topic in topics}[name]


def found_as(topic: Topic, partitions: int = 1, replication_factor: int = 1, **configs: str) -> Topic:
    """The topic as Kafka would describe it, but for what is given."""
    given = {name.replace("_", "."): value for name, value in configs.items()}
    described = {"min.insync.replicas": "1", "segment.bytes": "1073741824", **topic.configs, **given}
    return Topic(topic.name, partitions, replication_factor, described)


def test_the_space_is_in_the_names_of_what_depends_on_it() -> None:
    names = topic_names("neardup", "f00d")
    assert (names.media, names.dead_letters) == ("neardup.media", "neardup.dead-letters")
    assert (names.log, names.verdicts) == ("neardup.log.f00d", "neardup.verdicts.f00d")


def test_log_and_verdicts_are_one_partition_kept_for_ever() -> None:
    for topic in (wanted("log"), wanted("verdicts", media_partitions=64)):
        assert topic.partitions == 1
        assert topic.configs["cleanup.policy"] == "delete"
        assert (topic.configs["retention.ms"], topic.configs["retention.bytes"]) == ("-1", "-1")


def test_media_has_the_partitions_and_the_days_of_the_settings() -> None:
    topic = wanted("media", media_partitions=3, media_retention_days=0.5, replication_factor=2)
    assert (topic.partitions, topic.replication_factor) == (3, 2)
    assert topic.configs["retention.ms"] == str(DAY_MS // 2)
    assert topic.configs["max.message.bytes"] == str(16 * 1024 * 1024)


def test_a_dead_letter_has_room_for_the_largest_record_and_its_reason() -> None:
    topic = wanted("dead-letters")
    assert int(topic.configs["max.message.bytes"]) > MAX_RECORD_BYTES
    assert topic.configs["retention.ms"] == str(30 * DAY_MS)


@pytest.mark.parametrize("name", ["media", "dead-letters", "log", "verdicts"])
def test_a_topic_as_wanted_has_no_problems(name: str) -> None:
    topic = wanted(name)
    assert problems(topic, found_as(topic, topic.partitions)) == []


@pytest.mark.parametrize("name", ["log", "verdicts"])
@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("cleanup_policy", "compact", "cleanup.policy is compact, wanted delete"),
        ("cleanup_policy", "compact,delete", "cleanup.policy is compact,delete, wanted delete"),
        ("retention_ms", "604800000", "retention.ms is 604800000, wanted -1 or more (-1 is no limit)"),
        ("retention_bytes", "1000", "retention.bytes is 1000, wanted -1 or more (-1 is no limit)"),
        ("max_message_bytes", "1048588", "max.message.bytes is 1048588, wanted 16777216 or more"),
        ("message_timestamp_type", "CreateTime", "message.timestamp.type is CreateTime, wanted LogAppendTime"),
        ("unclean_leader_election_enable", "true", "unclean.leader.election.enable is true, wanted false"),
    ],
)
def test_a_setting_that_could_lose_data_is_told(name: str, setting: str, value: str, told: str) -> None:
    topic = wanted(name)
    assert problems(topic, found_as(topic, **{setting: value})) == [told]


def test_more_than_one_partition_has_no_total_order() -> None:
    topic = wanted("log")
    assert problems(topic, found_as(topic, partitions=2)) == [
        "it has 2 partitions, wanted 1, because its offsets are an order"
    ]


def test_more_or_fewer_partitions_of_media_are_no_problem() -> None:
    topic = wanted("media", media_partitions=8)
    assert problems(topic, found_as(topic, partitions=1)) == []
    assert problems(topic, found_as(topic, partitions=100)) == []


def test_media_kept_longer_is_no_problem_and_shorter_is() -> None:
    topic = wanted("media", media_retention_days=2)
    assert problems(topic, found_as(topic, retention_ms="-1")) == []
    assert problems(topic, found_as(topic, retention_ms=str(2 * DAY_MS))) == []
    [told] = problems(topic, found_as(topic, retention_ms=str(DAY_MS)))
    assert told == f"retention.ms is {DAY_MS}, wanted {2 * DAY_MS} or more"


@pytest.mark.parametrize(
    ("copies", "insync", "safe"), [(1, 1, True), (2, 1, False), (2, 2, True), (3, 1, False), (3, 3, True)]
)
def test_an_acknowledged_record_is_on_two_brokers_where_there_are_two(copies: int, insync: int, safe: bool) -> None:
    topic = wanted("log")
    told = problems(topic, found_as(topic, replication_factor=copies, min_insync_replicas=str(insync)))
    assert told == ([] if safe else ["min.insync.replicas is 1, wanted 2 or more"])


def test_more_replicas_in_sync_than_replicas_can_never_be_written() -> None:
    topic = wanted("log")
    [told] = problems(topic, found_as(topic, replication_factor=1, min_insync_replicas="2"))
    assert told.startswith("min.insync.replicas is 2, more than the 1 brokers")


def test_fewer_copies_than_set_are_a_problem() -> None:
    topic = replace(wanted("log"), replication_factor=3)
    assert problems(topic, found_as(topic, replication_factor=1)) == ["replication factor is 1, wanted 3 or more"]


def test_every_problem_is_told() -> None:
    topic = wanted("log")
    assert len(problems(topic, found_as(topic, partitions=2, retention_ms="1", cleanup_policy="compact"))) == 3
