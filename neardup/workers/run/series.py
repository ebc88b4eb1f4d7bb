"""Series that are there from a worker's start, at 0, so that rates and alerts have them before the first event.

A counter that appears with its first event has no rate for it, and an alert on it misses the first one.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

from neardup.pipeline.errors import Reason
from neardup.pipeline.log.changes import Outcome
from neardup.pipeline.prove.finding import Finding
from neardup.pipeline.types import Decision
from neardup.workers.run import telemetry

_DECISIONS = tuple(decision.value for decision in Decision)
_FINDINGS = tuple(finding.value for finding in Finding)
_SERIES: dict[str, list[tuple[Any, Iterable[tuple[str, ...]]]]] = {
    "embed": [
        (telemetry.ITEMS_OUT, product(["embed"], ["described", "removed", "dead-lettered", "dropped"])),
        (telemetry.FRAMES_OUT, [("decode",), ("embed",)]),
        (telemetry.STAGE_SECONDS, [("fetch",), ("decode",), ("store",), ("embed",), ("produce",)]),
        (telemetry.SELF_CHECKS, [("passed",), ("failed",)]),
        (telemetry.DEAD_LETTERED, [(reason.value,) for reason in Reason if reason is not Reason.WEBHOOK]),
    ],
    "match": [
        (telemetry.VERDICTS, [(decision,) for decision in _DECISIONS]),
        (telemetry.HISTORY_VERDICTS, [(decision,) for decision in _DECISIONS]),
        (telemetry.STAGE_SECONDS, [("match",), ("publish",), ("snapshot",)]),
        (telemetry.INDEX_DESCRIPTORS, [("scann",), ("tail",)]),
        (telemetry.INDEX_BUILDS, [("swapped-in",), ("failed",)]),
        (telemetry.CANARY_SEARCHES, [("near",), ("far",)]),
        (telemetry.CANARY_MISSES, [("near",), ("far",)]),
    ],
    "flag": [
        (telemetry.ITEMS_OUT, product(["flag"], [*_DECISIONS, "removed", "history"])),
        (telemetry.STAGE_SECONDS, [("flag",)]),
        (telemetry.REVIEWS, product(_DECISIONS, [outcome.value for outcome in Outcome])),
    ],
    "prove": [
        (telemetry.PROOFS, [(finding,) for finding in (*_FINDINGS, "unavailable", "failed")]),
        (telemetry.ASKS_PASSED_OVER, [("expired",), ("malformed",)]),
    ],
    "webhook": [
        (telemetry.WEBHOOK_DELIVERIES, [("taken",), ("refused",), ("dead-lettered",)]),
    ],
    "api": [
        (telemetry.STAGE_SECONDS, [("lookup",), ("snapshot",)]),
    ],
}


def start_at_zero(kind: str) -> None:
    """Make the series of a kind of worker; those that are there already keep their values."""
    for metric, labels in _SERIES.get(kind, ()):
        for values in labels:
            metric.labels(*values)
