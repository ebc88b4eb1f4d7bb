from __future__ import annotations

import pytest
from prometheus_client import REGISTRY, Counter

from neardup.workers.run import telemetry
from neardup.workers.run.series import start_at_zero


def test_series_of_a_worker_are_there_before_anything_happens_and_keep_their_values() -> None:
    labels = {"reason": "truncated"}
    start_at_zero("embed")
    before = REGISTRY.get_sample_value("neardup_items_dead_lettered_total", labels)
    assert before is not None
    telemetry.DEAD_LETTERED.labels("truncated").inc()
    start_at_zero("embed")
    assert REGISTRY.get_sample_value("neardup_items_dead_lettered_total", labels) == before + 1


@pytest.mark.parametrize(
    "metric", [m for m in vars(telemetry).values() if isinstance(m, Counter) and m._labelnames], ids=str
)
def test_labelled_counters_with_closed_lists_are_there(metric: Counter) -> None:
    for kind in ("embed", "match", "flag", "api", "prove", "webhook"):
        start_at_zero(kind)
    unknown = telemetry.RECORDS_CONSUMED, telemetry.API_REQUESTS, telemetry.PARTITION_DEAD_LETTERS
    if metric in unknown:  # topics, routes and partitions are not known beforehand
        return
    assert [sample for family in metric.collect() for sample in family.samples]
