from __future__ import annotations

import time
from contextlib import closing

import pytest
from kafka import KafkaAdminClient, KafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from neardup.workers.kafka.rejoin import keep_joining
from tests.timing import LATE_SECONDS

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("attempt", range(3))
def test_a_member_that_polls_for_moments_gets_its_partitions(
    kafka: str, admin: KafkaAdminClient, topic_prefix: str, attempt: int
) -> None:
    topic = f"{topic_prefix}-{attempt}"
    admin.create_topics({topic: {"num_partitions": 1}}, wait_for_metadata=True)
    with closing(
        keep_joining(
            KafkaConsumer(
                bootstrap_servers=kafka,
                group_id=topic,
                enable_auto_commit=False,
                partition_assignment_strategy=[CooperativeStickyAssignor],
            )
        )
    ) as consumer:
        consumer.subscribe([topic])
        deadline = time.monotonic() + LATE_SECONDS
        while not consumer.assignment():
            assert time.monotonic() < deadline, "the join was forgotten"
            consumer.poll(timeout_ms=1)
