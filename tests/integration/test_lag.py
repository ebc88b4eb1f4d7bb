"""The lag of real workers: it grows while a worker is held up, covers all partitions, and ends at 0."""

from __future__ import annotations

import re
import time
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaProducer

from neardup.pipeline.log.records import Envelope
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.leader import Publisher
from neardup.workers.kafka.log import Tail
from neardup.workers.kafka.topics import TopicNames
from neardup.workers.run.lag import KafkaBroker, Place, messages_behind
from tests.integration.test_embed_worker import (
    Running,
    a_file,
    committed,
    embedding,
    environment,
    names,
    producer,
    until,
)
from tests.timing import LATE_SECONDS

pytestmark = pytest.mark.integration
__all__ = ["environment", "names", "producer"]  # fixtures


def lag(worker: Running) -> list[int]:
    """Return the lag of each partition that the worker shows."""
    found = re.findall(r"^neardup_consumer_lag_messages\{.*\} (\S+)$", worker.get("/metrics")[1], re.MULTILINE)
    return [int(float(one)) for one in found]


def test_lag_grows_while_a_worker_is_paused_and_is_that_of_all_partitions_in_each_worker(
    settings: Settings, names: TopicNames, producer: KafkaProducer, environment: dict[str, str], tmp_path: Path
) -> None:
    def send(count: int) -> None:
        for number in range(count):
            producer.send(names.media, a_file(number % 7, "PNG"), f"p{number}".encode(), partition=number % 3)
        producer.flush()

    slow = {"SLOW_SECONDS": "3", "NEARDUP_MAX_IN_FLIGHT_BYTES": "1", "NEARDUP_KNOWN_CONTENT_BYTES": "0"}
    with embedding(environment, tmp_path, **slow) as worker:
        until(lambda: lag(worker) == [0, 0, 0], "nothing waits")
        send(300)
        until(lambda: 150 <= sum(lag(worker)) <= 300, "what was not even polled counts")
        until(lambda: "neardup_consumer_paused 1.0" in worker.get("/metrics")[1], "it is paused")
        send(600)
        until(lambda: sum(lag(worker)) > 600, "it grows")
        with embedding(environment, tmp_path, **slow) as other:
            until(lambda: len(lag(other)) == 3, "the other shows all partitions")
            worker.process.kill()
            assert sum(lag(other)) > 300
    with embedding(environment, tmp_path) as worker:
        until(lambda: sum(committed(settings, names).values()) == 900, "everything committed")
        until(lambda: lag(worker) == [0, 0, 0], "nothing waits")


def test_who_has_read_all_verdicts_is_not_behind(settings: Settings, names: TopicNames) -> None:
    with closing(Publisher(settings, names)) as publisher:
        publisher.publish([Envelope(offset=0), Envelope(offset=1)])
        publisher.publish([Envelope(offset=2)])
    with closing(Tail(settings, names.verdicts)) as verdicts, closing(KafkaBroker(settings)) as broker:
        place = Place(verdicts.position())
        assert messages_behind(broker, names.verdicts, place) == {0: 5}  # each transaction ends with a marker
        read, deadline = 0, time.monotonic() + LATE_SECONDS
        while read < 3:
            read += len(verdicts.poll(0.5, 10))
            assert time.monotonic() < deadline, f"{read} of 3"
        verdicts.poll(0.5, 10)
        place.next = verdicts.position()
        assert messages_behind(broker, names.verdicts, place) == {0: 0}
        assert messages_behind(broker, names.media, "nobody") == {0: 0, 1: 0, 2: 0}
