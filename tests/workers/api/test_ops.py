from __future__ import annotations

import pytest

from neardup.pipeline.errors import ConfigError
from neardup.workers.api.ops import Operations, Watched, quantile, read_workers
from neardup.workers.up.status import Look, read_metrics
from tests.workers.api.build import Api

EMBED, MATCH, STANDBY, FLAG = (
    Watched(kind, "127.0.0.1", port) for kind, port in (("embed", 1), ("match", 2), ("match", 3), ("flag", 4))
)
ALL = [EMBED, MATCH, STANDBY, FLAG]


class Stream:
    """Workers whose metrics a test writes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.metrics: dict[Watched, str] = dict.fromkeys(ALL, "")
        self.away: set[Watched] = set()
        self.readings = 0
        self.operations = Operations(ALL, self.read, lambda: self.now, lambda worker: [worker])

    def read(self, worker: Watched) -> tuple[Look | None, str]:
        self.readings += 1
        text = self.metrics[worker]
        return (None, "") if worker in self.away else (read_metrics(text), text)


@pytest.fixture
def stream() -> Stream:
    stream = Stream()
    stream.metrics[EMBED] = """
neardup_items_total{stage="embed",outcome="described"} 100
neardup_items_total{stage="embed",outcome="dead-lettered"} 10
neardup_items_dead_lettered_total{reason="decode"} 7
neardup_items_dead_lettered_total{reason="fetch"} 3
neardup_items_dead_lettered_total{reason="model"} 0
neardup_consumer_lag_messages{topic="media",partition="10"} 5
neardup_consumer_lag_messages{topic="media",partition="2"} 1
"""
    for worker, leads, lag in ((MATCH, 1, 4), (STANDBY, 0, 9)):
        stream.metrics[worker] = f"""
neardup_match_leads {leads}
neardup_match_items 90
neardup_index_descriptors{{part="tail"}} 120
neardup_snapshot_age_seconds {lag}
neardup_index_canary_searches_total{{nearest="near"}} {50 * leads}
neardup_index_canary_misses_total{{nearest="near"}} {1 * leads}
neardup_verdicts_total{{decision="duplicate"}} {30 * leads}
neardup_verdicts_total{{decision="distinct"}} {60 * leads}
neardup_consumer_lag_messages{{topic="log",partition="0"}} {lag}
"""
    stream.metrics[FLAG] = """
neardup_items_total{stage="flag",outcome="distinct"} 60
neardup_end_to_end_seconds_bucket{le="0.1"} 50
neardup_end_to_end_seconds_bucket{le="0.2"} 100
neardup_end_to_end_seconds_bucket{le="+Inf"} 100
"""
    return stream


def test_the_first_look_tells_what_is_known_since_the_start(stream: Stream) -> None:
    told = stream.operations.figures()
    assert told["items_per_second"] is None
    assert told["latency"] == {"p50": pytest.approx(0.1), "p99": pytest.approx(0.198), "lately": False}
    assert told["items"] == 90
    assert told["descriptors"] == {"tail": 120}
    assert told["recall"] == {"searches": 50, "share": pytest.approx(0.98)}
    assert told["verdicts"]["shares"] == {"duplicate": pytest.approx(1 / 3), "distinct": pytest.approx(2 / 3)}
    assert told["dead_letters"] == [
        {"reason": "decode", "count": 7, "lately": 0},
        {"reason": "fetch", "count": 3, "lately": 0},
    ]
    assert [one["state"] for one in told["workers"]] == ["ready", "leads", "stands by", "ready"]


def test_events_that_a_webhook_gave_up_are_dead_letters(stream: Stream) -> None:
    counts = 'neardup_webhook_deliveries_total{{outcome="{}"}} {}\n'
    stream.metrics[FLAG] += counts.format("taken", 90) + counts.format("dead-lettered", 4)
    told = stream.operations.figures()["dead_letters"]
    assert told[1] == {"reason": "webhook", "count": 4, "lately": 0}
    assert told[2]["reason"] == "fetch"


def test_each_partition_is_told_once_in_order(stream: Stream) -> None:
    lag = [(one["topic"], one["partition"], one["messages"]) for one in stream.operations.figures()["lag"]]
    assert lag == [("log", 0, 9), ("media", 2, 1), ("media", 10, 5)]


def test_rates_and_latency_are_those_of_the_last_minutes(stream: Stream) -> None:
    stream.operations.figures()
    stream.now = 10.0
    stream.metrics[EMBED] = stream.metrics[EMBED].replace("} 100\n", "} 150\n").replace("} 7\n", "} 9\n")
    stream.metrics[FLAG] = stream.metrics[FLAG].replace("} 100\n", "} 200\n")
    told = stream.operations.figures()
    assert told["items_per_second"] == 5
    assert told["latency"] == {"p50": pytest.approx(0.15), "p99": pytest.approx(0.199), "lately": True}
    assert told["dead_letters"][0] == {"reason": "decode", "count": 9, "lately": 2}
    stream.now = 400.0
    assert stream.operations.figures()["lately_seconds"] == 0  # the first two readings are too old


def test_a_worker_that_began_anew_counts_from_0(stream: Stream) -> None:
    stream.operations.figures()
    stream.now = 10.0
    stream.metrics[EMBED] = 'neardup_items_total{stage="embed",outcome="described"} 20\n'
    assert stream.operations.figures()["items_per_second"] == 2


def test_a_worker_that_is_away_is_told_and_the_others_stand(stream: Stream) -> None:
    stream.away = {EMBED}
    told = stream.operations.figures()
    assert [(one["state"], one["ready"]) for one in told["workers"]][:2] == [
        ("does not answer", False),
        ("leads", True),
    ]
    assert told["items"] == 90
    stream.away = set(ALL)
    stream.now = 10.0
    told = stream.operations.figures()
    assert {one["state"] for one in told["workers"]} == {"does not answer"}
    assert told["items"] is told["items_per_second"] is told["verdicts"] is told["recall"]["share"] is None


def test_who_looks_at_the_same_time_shares_a_reading(stream: Stream) -> None:
    stream.operations.figures()
    stream.now = 1.0
    stream.operations.figures()
    assert stream.readings == len(ALL)


@pytest.mark.parametrize(
    ("buckets", "share", "wanted"),
    [
        ({}, 0.5, None),
        ({"1": 0, "+Inf": 0}, 0.5, None),
        ({"1": 10, "2": 10, "+Inf": 10}, 0.5, 0.5),
        ({"1": 0, "2": 10, "+Inf": 10}, 0.5, 1.5),
        ({"1": 5, "2": 5, "+Inf": 10}, 0.9, 2.0),
    ],
)
def test_quantiles_are_those_of_prometheus(buckets: dict[str, float], share: float, wanted: float | None) -> None:
    assert quantile(buckets, share) == wanted


def test_the_setting_names_workers() -> None:
    assert read_workers(" embed=a-1.example:9401, match=[::1]:2,") == [
        Watched("embed", "a-1.example", 9401),
        Watched("match", "[::1]", 2),
    ]
    with pytest.raises(ConfigError, match="wanted kind=host:port"):
        read_workers("127.0.0.1:9401")


def test_readers_see_the_page_and_its_figures(api: Api) -> None:
    api.context._operations = Stream().operations
    assert "Operations" in api.client.get("/ops", headers=api.as_("ann")).text
    assert len(api.client.get("/ops/figures", headers=api.as_("ann")).json()["workers"]) == len(ALL)
    nobody = {"Authorization": "Bearer nd_nobody"}
    assert api.client.get("/ops", headers=nobody, follow_redirects=False).headers["location"] == "/login?next=/ops"
    assert api.client.get("/ops/figures", headers=nobody).status_code == 401
