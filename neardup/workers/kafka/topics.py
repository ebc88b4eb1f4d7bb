"""The topics: their names, how they are made, and what must be true of one that exists.

The log and the verdicts are the truth, so a topic that could lose a record of them is refused, not repaired: only its
owner knows who else relies on its settings. Timestamps are the broker's: with the sender's, a clock that is off makes
Kafka refuse a record (an hour ahead) or expire it at once (long past).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.settings import Settings

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

MAX_RECORD_BYTES = 16 * 2**20
"""Largest record of `media`, the log and the verdicts, with key, headers and Kafka's own bytes."""
MAX_DEAD_LETTER_BYTES = MAX_RECORD_BYTES + 2**20
"""A dead letter is the largest record and the reason."""
_DAY_MS = 24 * 3600 * 1000
_DEAD_LETTER_DAYS = 30
ASKS_DAYS = 1
"""A proof that comes later decides nothing any more."""
_AT_LEAST = frozenset({"retention.ms", "retention.bytes", "max.message.bytes", "min.insync.replicas"})
_FREE_TO_DIFFER = frozenset({"segment.ms"})
_KINDS = frozenset({"media", "dead-letters", "log", "verdicts", "asks", "spaces"})
_CREATED, _EXISTS = 0, 36
_REFUSED = frozenset({17, 29, 31, 37, 38, 39, 40, 42, 44})
"""Kafka's codes of a request that would fail again: name, rights, partitions, replicas, settings, policy."""


@dataclass(frozen=True, slots=True)
class TopicNames:
    """The names in one space; `media` and `dead_letters` are the same in all spaces."""

    media: str
    dead_letters: str
    log: str
    verdicts: str
    asks: str


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is wanted, or as it was found.

    Attributes:
        replication_factor: brokers that hold a copy; as found, the least of its partitions.
        configs: Kafka's own names and values; as found, all of them.
        ordered: whether offsets are its total order, so that there can be only one partition.
    """

    name: str
    partitions: int
    replication_factor: int
    configs: Mapping[str, str]
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """One topic after `create_topics`: as it now is, and whether this call made it."""

    topic: Topic
    created: bool


def topic_names(root: str, space: str) -> TopicNames:
    """Return the names under a root, see `Settings.topic_root`."""
    return TopicNames(
        f"{root}.media",
        f"{root}.dead-letters",
        f"{root}.log.{space}",
        f"{root}.verdicts.{space}",
        f"{root}.asks.{space}",
    )


def spaces_topic(root: str) -> str:
    """Return the name of the topic that says which space serves, see `spaces`; there is one once a second is made."""
    return f"{root}.spaces"


def wanted_topics(space: str, settings: Settings) -> tuple[Topic, ...]:
    """Return the five topics of a space as they are to be made."""
    names = topic_names(settings.topic_root, space)
    media_ms = math.ceil(settings.media_retention_days * _DAY_MS)
    copies = settings.replication_factor
    return (
        # a day's segments, so that what is past its time does go
        Topic(names.media, settings.media_partitions, copies, _configs(media_ms) | {"segment.ms": str(_DAY_MS)}),
        Topic(names.dead_letters, 1, copies, _configs(_DEAD_LETTER_DAYS * _DAY_MS, MAX_DEAD_LETTER_BYTES)),
        Topic(names.log, 1, copies, _configs(-1), ordered=True),
        Topic(names.verdicts, 1, copies, _configs(-1), ordered=True),
        Topic(
            names.asks, settings.media_partitions, copies, _configs(ASKS_DAYS * _DAY_MS) | {"segment.ms": str(_DAY_MS)}
        ),
    )


def problems(wanted: Topic, found: Topic) -> list[str]:
    """Return in what a topic could lose or refuse records that the wanted one keeps: setting, value, what is wanted."""
    told = []
    if wanted.ordered and found.partitions != 1:
        told.append(f"it has {found.partitions} partitions, wanted 1, because its offsets are an order")
    if found.replication_factor < wanted.replication_factor:
        told.append(f"replication factor is {found.replication_factor}, wanted {wanted.replication_factor} or more")
    safe = {**wanted.configs, "min.insync.replicas": str(_insync(found.replication_factor))}
    for name, value in safe.items():
        has = found.configs[name]
        if name in _AT_LEAST:
            if _number(has) < _number(value):
                told.append(f"{name} is {has}, wanted {value} or more{' (-1 is no limit)' if value == '-1' else ''}")
        elif name not in _FREE_TO_DIFFER and has != value:
            told.append(f"{name} is {has}, wanted {value}")
    if int(found.configs["min.insync.replicas"]) > found.replication_factor:
        told.append(
            f"min.insync.replicas is {found.configs['min.insync.replicas']}, more than the {found.replication_factor} "
            "brokers that hold it: nothing could be written"
        )
    return told


def create_topics(admin: KafkaAdminClient, space: str, settings: Settings) -> list[Made]:
    """Make the topics that are missing, check the others, and return all once they can be used.

    Two callers at once do no harm.

    Raises:
        ConfigError: Kafka refuses a topic, or one exists that could lose data.
        DependencyError: Kafka failed.
    """
    wanted = wanted_topics(space, settings)
    with kafka_errors():
        answer = admin.create_topics({topic.name: _request(topic) for topic in wanted}, raise_errors=False)
        codes = {one["name"]: one["error_code"] for one in answer["topics"]}
        for one in answer["topics"]:
            _raise_for(one)
        admin.wait_for_topics(list(codes))
    return [Made(topic, codes[topic.name] == _CREATED) for topic in _checked(admin, wanted)]


def create_spaces_topic(admin: KafkaAdminClient, settings: Settings) -> None:
    """Make the topic that says which space serves, unless it exists; raises as `create_topics` does."""
    configs = _configs(-1) | {"cleanup.policy": "compact"}
    topic = Topic(spaces_topic(settings.topic_root), 1, settings.replication_factor, configs, ordered=True)
    with kafka_errors():
        answer = admin.create_topics({topic.name: _request(topic)}, raise_errors=False)
        for one in answer["topics"]:
            _raise_for(one)
        admin.wait_for_topics([topic.name])
    _checked(admin, [topic])


def check_topics(admin: KafkaAdminClient, space: str, settings: Settings) -> None:
    """Return if all topics exist and keep what is written to them.

    Raises:
        ConfigError: one is missing or could lose data.
        DependencyError: Kafka failed.
    """
    _checked(admin, wanted_topics(space, settings))


def list_topics(admin: KafkaAdminClient, root: str) -> list[Topic]:
    """Return the topics under a root, of every space, in order of their names; those of its tenants left out."""
    with kafka_errors():
        names = sorted(name for name in admin.list_topics() if is_below(name, root))
    return _describe(admin, names)


def is_below(topic: str, root: str) -> bool:
    """Return whether a topic is one of those under a root; a tenant's name is none of their kinds."""
    return topic.startswith(f"{root}.") and topic[len(root) + 1 :].partition(".")[0] in _KINDS


@contextmanager
def open_admin(settings: Settings, limit_seconds: float = 10.0) -> Iterator[KafkaAdminClient]:
    """Connect to Kafka for as long as the context lasts.

    Raises:
        ConfigError: the client is not installed.
        DependencyError: no broker answers within the limit.
    """
    from neardup.workers.kafka.clients import connect_admin  # loads Kafka's client, which a scan does without

    with connect_admin(settings, bootstrap_timeout_ms=int(limit_seconds * 1000)) as admin:
        yield admin


def _configs(retention_ms: int, max_bytes: int = MAX_RECORD_BYTES) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(retention_ms),
        "retention.bytes": "-1",
        "max.message.bytes": str(max_bytes),
        "message.timestamp.type": "LogAppendTime",
        "unclean.leader.election.enable": "false",
    }


def _insync(replication_factor: int) -> int:
    """Return how many brokers must hold a record before it is acknowledged; with two, none can be spared."""
    return min(2, replication_factor)


def _number(value: str) -> float:
    return math.inf if value == "-1" else float(value)


def _request(topic: Topic) -> dict[str, Any]:
    return {
        "num_partitions": topic.partitions,
        "replication_factor": topic.replication_factor,
        "configs": {**topic.configs, "min.insync.replicas": str(_insync(topic.replication_factor))},
    }


def _raise_for(answer: Mapping[str, Any]) -> None:
    code, text = answer["error_code"], answer.get("error_message")
    if code in _REFUSED:
        raise ConfigError(f"Kafka refuses the topic {answer['name']}: {text}")
    if code not in (_CREATED, _EXISTS):
        raise DependencyError(f"Kafka could not make the topic {answer['name']}: error {code}, {text}")


def _checked(admin: KafkaAdminClient, wanted: Sequence[Topic]) -> list[Topic]:
    found = {topic.name: topic for topic in _describe(admin, [topic.name for topic in wanted])}
    told = []
    for topic in wanted:
        if topic.name not in found:
            told.append(f"topic {topic.name} does not exist; `neardup topics create` makes it")
        else:
            told += [f"topic {topic.name} is not safe to use: {one}" for one in problems(topic, found[topic.name])]
    if told:
        raise ConfigError("; ".join(told))
    return [found[topic.name] for topic in wanted]


def _describe(admin: KafkaAdminClient, names: Sequence[str]) -> list[Topic]:
    """Return the topics that exist, in the order of the names."""
    if not names:
        return []
    with kafka_errors():
        from kafka.admin import ConfigResource, ConfigResourceType

        metadata = {one["name"]: one for one in admin.describe_topics(list(names)) if one["error_code"] == 0}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in metadata]
        configs = admin.describe_configs(resources, config_filter="all")["topic"] if resources else {}
    return [
        Topic(
            name,
            len(metadata[name]["partitions"]),
            min(len(one["replica_nodes"]) for one in metadata[name]["partitions"]),
            {key: one["value"] for key, one in configs[name].items()},
        )
        for name in names
        if name in metadata
    ]


@contextmanager
def kafka_errors() -> Iterator[None]:
    """Raise DependencyError for what Kafka raises."""
    from kafka.errors import KafkaError

    try:
        yield
    except KafkaError as error:
        raise DependencyError(f"Kafka failed: {error}") from error
