from __future__ import annotations

import socket
import threading
from contextlib import suppress

import pytest

from neardup.workers.run.health import Health, HealthServer
from neardup.workers.up.status import History, Look, Row, counted, look, read_metrics, state
from tests.timing import LATE_SECONDS

EMBED = """
# TYPE neardup_items_total counter
neardup_items_total{outcome="described",stage="embed"} 3020.0
neardup_items_total{outcome="dead-lettered",stage="embed"} 2.0
neardup_items_total{outcome="removed",stage="embed"} 0.0
# TYPE neardup_consumer_lag_messages gauge
neardup_consumer_lag_messages{partition="0",topic="neardup.media"} 40.0
neardup_consumer_lag_messages{partition="1",topic="neardup.media"} 2.0
# TYPE neardup_match_leads gauge
neardup_match_leads 0.0
"""
MATCH = """
# TYPE neardup_verdicts_total counter
neardup_verdicts_total{decision="distinct"} 7.0
neardup_verdicts_total{decision="duplicate"} 3.0
# TYPE neardup_match_leads gauge
neardup_match_leads 1.0
"""


def test_metrics_are_told_as_items_by_outcome_and_the_lag_of_all_partitions() -> None:
    seen = read_metrics(EMBED)
    assert seen.counts == {"described": 3020, "dead-lettered": 2}
    assert (seen.lag, seen.leads) == (42, False)
    seen = read_metrics(MATCH)
    assert seen.counts == {"distinct": 7, "duplicate": 3}
    assert (seen.lag, seen.leads) == (0, True)


def test_a_worker_is_looked_at_over_http() -> None:
    health = Health()
    health.why = "Redis: connection refused"
    server = HealthServer(health, "127.0.0.1", 0)
    try:
        seen = look("0.0.0.0", server.port)
        assert seen is not None
        assert (seen.alive, seen.ready, seen.why) == (True, False, "Redis: connection refused")
        health.ready = True
        seen = look("127.0.0.1", server.port)
        assert seen is not None
        assert (seen.alive, seen.ready, seen.why) == (True, True, "")
    finally:
        server.close()
    assert look("127.0.0.1", server.port) is None


@pytest.mark.parametrize("answer", [b"220 mail.example ESMTP\r\n", b"HTTP/1.0 200 OK\r\n\r\n{ 1", b"\xff\xfe\r\n\r\n"])
def test_something_else_at_the_port_is_no_worker(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LATE_SECONDS)

        def serve() -> None:
            with suppress(TimeoutError, OSError):
                for _ in range(3):
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(1000)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        seen = look("127.0.0.1", listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert seen is None


@pytest.mark.parametrize(
    ("kind", "seen", "answered", "told"),
    [
        ("embed", None, False, "starting"),
        ("embed", None, True, "silent"),
        ("embed", Look(alive=False), True, "hangs"),
        ("embed", Look(), True, "connecting"),
        ("flag", Look(why="Redis: connection refused"), True, "waiting: Redis: connection refused"),
        ("flag", Look(ready=True), True, "ready"),
        ("match", Look(ready=True, leads=True), True, "leads"),
        ("match", Look(ready=True), True, "stands by"),
    ],
)
def test_a_state_is_told_in_words(kind: str, seen: Look | None, answered: bool, told: str) -> None:
    assert state(kind, seen, answered) == told


def test_items_per_second_are_those_of_the_last_looks() -> None:
    now = [0.0]
    history = History(lambda: now[0])
    for items in (0, 100, 200, 300, 400, 500, 500, 500):
        history.add(Look(counts={"described": items}))
        now[0] += 2.0
    assert history.per_second == pytest.approx((500 - 200) / 10)


def test_counts_go_on_when_a_worker_begins_anew() -> None:
    history = History()
    history.add(Look(counts={"described": 5, "dead-lettered": 1}))
    history.add(None)
    assert history.counts == {"described": 5, "dead-lettered": 1}
    history.restarted()
    assert (history.last, history.answered, history.per_second) == (None, False, 0.0)
    history.add(Look(counts={"described": 2}))
    assert history.counts == {"described": 7, "dead-lettered": 1}


def test_a_row_is_one_readable_line() -> None:
    row = Row("embed-1", 9401, "ready", 412.4, 1204, {"dead-lettered": 2, "described": 3020})
    assert row.line() == "embed-1 ready, 412 items/s, lag 1,204, 3,020 described, 2 dead-lettered"
    assert Row("flag", 9403, "starting", 0.25, 0, {}).line() == "flag starting, 0.2 items/s, lag 0"
    assert counted({}) == ""


def test_proofs_that_were_not_made_are_told_in_words() -> None:
    assert counted({"copy": 3, "lapsed": 2, "unavailable": 1}) == (
        "3 copy, 2 not needed (another is a copy), 1 without a stored picture"
    )
