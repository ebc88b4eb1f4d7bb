"""Many bad records in a row hold up nobody: neither those behind them in their partition, nor other partitions."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from kafka import KafkaProducer

from neardup.pipeline.settings import Settings
from neardup.workers.kafka.topics import TopicNames
from tests.integration.test_embed_worker import (
    a_file,
    committed,
    described,
    embedding,
    environment,
    names,
    producer,
    read,
    until,
)

pytestmark = pytest.mark.integration
__all__ = ["environment", "names", "producer"]  # fixtures
BAD, GOOD = 1003, 40


def test_a_thousand_bad_records_in_a_row_are_dead_letters_once_and_hold_up_nobody(
    settings: Settings, names: TopicNames, producer: KafkaProducer, environment: dict[str, str], tmp_path: Path
) -> None:
    for number in range(BAD):
        producer.send(names.media, os.urandom(1000), f"bad/{number}".encode(), partition=0)
    for number in range(GOOD):
        producer.send(names.media, a_file(number, "PNG"), f"good/{number}".encode(), partition=number % 2)
    producer.flush()
    with embedding(environment, tmp_path) as worker:
        until(lambda: len(described(settings, names)) == GOOD, "the good ones are described")
        until(lambda: sum(committed(settings, names).values()) == BAD + GOOD, "all is committed")
        metrics = worker.get("/metrics")[1]
        assert f'neardup_partition_dead_letters_total{{partition="0"}} {BAD}.0' in metrics
        assert 'neardup_partition_dead_letters_total{partition="1"} 0.0' in metrics
        assert 'neardup_self_checks_total{outcome="failed"} 0.0' in metrics
        assert 'neardup_self_checks_total{outcome="passed"} 0.0' not in metrics
        assert worker.log.read_text().count("item dead-lettered") < BAD / 2  # a flood does not flood the log
        assert worker.stop()[0] == 0
    letters = read(settings, names.dead_letters)
    assert Counter(letter.key for letter in letters) == {f"bad/{number}".encode(): 1 for number in range(BAD)}
