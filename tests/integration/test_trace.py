"""A traceparent given at publication is in the log lines of every worker, and in the headers of all that follows, up to
what a webhook sends."""

from __future__ import annotations

import io
import json
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition

from neardup.pipeline.settings import Settings
from neardup.pipeline.store.redis import RedisStore
from neardup.workers.kafka.outbox import Message, Outbox, make_producer
from neardup.workers.kafka.topics import topic_names
from tests.integration.test_prometheus import free_port
from tests.integration.test_up import CHECKPOINT, Up, environment, running, until
from tests.pipeline.scan.build import a_picture
from tests.timing import LATE_SECONDS
from tests.workers.receiver import receiving

pytestmark = pytest.mark.integration
__all__ = ["environment"]  # a fixture
BY_KAFKA, BY_HTTP = "1" * 32, "2" * 32


def traceparent(trace_id: str) -> str:
    return f"00-{trace_id}-00f067aa0ba902b7-01"


def png(seed: int, side: int = 64) -> bytes:
    file = io.BytesIO()
    a_picture(seed, side).save(file, "PNG")
    return file.getvalue()


def told(up: Up) -> list[dict[str, object]]:
    """Return the lines of the log that are whole, each of which is JSON."""
    whole, _, _ = up.log().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def workers_that_told(up: Up, trace_id: str) -> set[object]:
    return {line["worker"] for line in told(up) if line.get("trace_id") == trace_id}


def handed_on(settings: Settings, topic: str, count: int) -> list[str]:
    """Return the traceparents of the first so many records."""
    place = TopicPartition(topic, 0)
    with closing(KafkaConsumer(bootstrap_servers=settings.kafka, isolation_level="read_committed")) as consumer:
        consumer.assign([place])
        consumer.seek(place, 0)
        found: list[str] = []
        deadline = time.monotonic() + LATE_SECONDS
        while len(found) < count and time.monotonic() < deadline:
            records = consumer.poll(timeout_ms=500).get(place, [])
            found += [dict(record.headers).get("traceparent", b"").decode() for record in records]
        return sorted(found)


def test_a_trace_goes_through_all_workers(environment: dict[str, str], settings: Settings, tmp_path: Path) -> None:
    workers = {"embed", "match", "prove", "flag", "webhook"}
    environment["NEARDUP_LOG_FORMAT"] = "json"
    names = topic_names(settings.topic_prefix, CHECKPOINT.space)
    port = free_port()
    with (
        receiving() as received,
        closing(RedisStore(settings.redis.get_secret_value(), CHECKPOINT.space)) as store,
        running(environment | received.settings, tmp_path, "--api", "--api-port", str(port), verbose=True) as up,
    ):
        up.await_ready((*workers, "api"))
        until(lambda: "the webhook is this worker's now" in up.log(), "the webhook has a worker")
        outbox = Outbox(make_producer(settings))
        try:
            headers = [("traceparent", traceparent(BY_KAFKA).encode())]
            outbox.send([Message(names.media, b"untraced", png(1))], lambda: None)
            until(lambda: store.applied() == 0, f"the original is told; {up.log()}")
            outbox.send([Message(names.media, b"by-kafka", png(1, 48), headers)], lambda: None)
            assert outbox.wait(LATE_SECONDS)
        finally:
            outbox.close(1)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/items?id=by-http&wait=25",
            png(1, 96),
            {"Content-Type": "image/png", "traceparent": traceparent(BY_HTTP)},
        )
        with urllib.request.urlopen(request, timeout=LATE_SECONDS) as answer:
            assert answer.status in (200, 202)  # a busy machine may not have decided by then
        until(lambda: store.applied() == 4, f"all are told; {up.log()}")
        until(lambda: workers_that_told(up, BY_KAFKA) == workers, up.log())
        until(lambda: workers_that_told(up, BY_HTTP) == {*workers, "api"}, up.log())
        traced = sorted([traceparent(BY_KAFKA), traceparent(BY_HTTP)])
        wanted = sorted(["", *traced, *traced])  # copies are described, and proved
        assert handed_on(settings, names.log, 5) == wanted
        assert handed_on(settings, names.verdicts, 5) == wanted
        assert sorted(received.traceparents) == traced
