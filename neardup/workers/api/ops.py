"""What the page `/ops` shows, read from the metrics of the workers when somebody looks.

Nothing runs while nobody looks, and several who look share one reading. "Lately" is the difference to the oldest
reading of the last five minutes; before there is one, it is since the workers' start. A worker that does not answer is
shown as such, and the others' figures stand.
"""

from __future__ import annotations

import math
import re
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from neardup.pipeline.errors import ConfigError, Reason
from neardup.workers.up.status import Look, get, read_metrics, state

_WINDOW_SECONDS = 300.0
_FRESH_SECONDS = 1.5
_TIMEOUT_SECONDS = 1.5
_MOST_WORKERS = 64
_WATCHED = re.compile(r"(\w+)=(\[[0-9a-fA-F:]+\]|[\w.-]+):([0-9]{1,5})")
_WANTED = tuple(
    f"neardup_{name}"
    for name in (
        *("items_total", "verdicts_total", "items_dead_lettered_total", "end_to_end_seconds_bucket", "match_leads"),
        *("consumer_lag_messages", "match_items", "index_descriptors", "index_bytes", "snapshot_age_seconds"),
        *("index_canary_searches_total", "index_canary_misses_total", "webhook_deliveries_total"),
    )
)
Key = tuple[str, tuple[tuple[str, str], ...]]
Samples = dict[Key, float]


@dataclass(frozen=True, slots=True)
class Watched:
    """A worker that is looked at."""

    kind: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """Where it is, as in a URL."""
        return f"{self.host}:{self.port}"


@dataclass(slots=True)
class _Reading:
    """All workers at one moment: how each is, and its samples if it answered."""

    at: float
    looks: dict[Watched, Look | None] = field(default_factory=dict)
    samples: dict[Watched, Samples] = field(default_factory=dict)


def read_workers(text: str) -> list[Watched]:
    """Return the workers of a setting, `kind=host:port` with commas between.

    Raises:
        ConfigError: it is formed otherwise.
    """
    found = []
    for one in filter(None, (piece.strip() for piece in text.split(","))):
        match = _WATCHED.fullmatch(one)
        if match is None:
            raise ConfigError(f"api_workers: {one[:100]!r}, wanted kind=host:port, such as embed=127.0.0.1:9401")
        found.append(Watched(match[1], match[2], int(match[3])))
    return found


class Operations:
    """Reads the workers; may be asked by many threads at once.

    Args:
        workers: a name that stands for several machines is looked up each time.
        read: returns how a worker is and the text of its metrics, None and "" if it does not answer.
    """

    def __init__(
        self,
        workers: Iterable[Watched],
        read: Callable[[Watched], tuple[Look | None, str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        resolve: Callable[[Watched], list[Watched]] | None = None,
    ) -> None:
        self._workers = list(workers)
        self._read = read or _read
        self._resolve = resolve or _resolve
        self._clock = clock
        self._lock = threading.Lock()
        self._readings: deque[_Reading] = deque()
        self._answered: set[Watched] = set()

    def figures(self) -> dict[str, Any]:
        """Return what the page shows; None where it is not known."""
        with self._lock:
            if not self._readings or self._clock() - self._readings[-1].at >= _FRESH_SECONDS:
                self._take()
            return self._summary()

    def _take(self) -> None:
        workers = [found for one in self._workers for found in self._resolve(one)][:_MOST_WORKERS]
        reading = _Reading(self._clock())
        with ThreadPoolExecutor(max(1, min(len(workers), 16)), "ops") as pool:
            for worker, (seen, text) in zip(workers, pool.map(self._read, workers), strict=True):
                reading.looks[worker] = seen
                if seen is not None:
                    reading.samples[worker] = _samples(text)
                    self._answered.add(worker)
        self._readings.append(reading)
        while self._readings[0].at < reading.at - _WINDOW_SECONDS:
            self._readings.popleft()

    def _summary(self) -> dict[str, Any]:
        now, then = self._readings[-1], self._readings[0]
        seconds = now.at - then.at
        total = _summed(now.samples.values())
        lately = _summed(_increase(samples, then.samples.get(worker, {})) for worker, samples in now.samples.items())
        buckets = _by(lately, "end_to_end_seconds_bucket", "le") if seconds > 0 else {}
        recent = max(buckets.values(), default=0) > 0
        if not recent:
            buckets = _by(total, "end_to_end_seconds_bucket", "le")
        put_aside, newly = _put_aside(total), _put_aside(lately)
        verdicts = _by(total, "verdicts_total", "decision")
        searches, misses = (
            _by(total, f"index_canary_{what}_total", "nearest").get("near") for what in ("searches", "misses")
        )
        return {
            "lately_seconds": round(seconds, 1),
            "workers": [self._worker(worker, look, now, then) for worker, look in now.looks.items()],
            "items_per_second": _rate(lately, seconds),
            "lag": _lag(now),
            "latency": {"p50": quantile(buckets, 0.5), "p99": quantile(buckets, 0.99), "lately": recent},
            "items": _most(now, "match_items"),
            "descriptors": _most_by(now, "index_descriptors", "part"),
            "index_bytes": _most(now, "index_bytes"),
            "snapshot_age_seconds": _most(now, "snapshot_age_seconds", "match"),
            "recall": {"searches": searches, "share": 1 - (misses or 0) / searches if searches else None},
            "verdicts": {"count": sum(verdicts.values()), "shares": _shares(verdicts)} if verdicts else None,
            "dead_letters": [
                {"reason": reason, "count": count, "lately": newly.get(reason, 0.0)}
                for reason, count in sorted(put_aside.items(), key=lambda one: (-one[1], one[0]))
                if count
            ],
        }

    def _worker(self, worker: Watched, look: Look | None, now: _Reading, then: _Reading) -> dict[str, Any]:
        increase = _increase(now.samples.get(worker, {}), then.samples.get(worker, {}))
        shown = state(worker.kind, look, worker in self._answered) if look is not None else "does not answer"
        return {
            "kind": worker.kind,
            "address": worker.address,
            "state": shown,
            "ready": look is not None and look.ready,
            "items_per_second": _rate(increase, now.at - then.at) if look is not None and look.counts else None,
        }


def quantile(buckets: Mapping[str, float], share: float) -> float | None:
    """Return a quantile of a histogram, straight within a bucket; the last finite bound beyond that; None without data.

    Args:
        buckets: cumulative counts by upper bound, as Prometheus has them.
    """
    bounds = sorted((float(bound), count) for bound, count in buckets.items())
    if not bounds or bounds[-1][1] <= 0:
        return None
    rank = share * bounds[-1][1]
    low = below = 0.0
    for bound, count in bounds:
        if count >= rank and count > below:
            return low if math.isinf(bound) else low + (bound - low) * (rank - below) / (count - below)
        low, below = (low if math.isinf(bound) else bound), count
    return low


def _read(worker: Watched) -> tuple[Look | None, str]:
    address = f"http://{worker.address}"
    try:
        ready, said = get(f"{address}/readyz", _TIMEOUT_SECONDS)
        _, metrics = get(f"{address}/metrics", _TIMEOUT_SECONDS)
        text = "".join(line for line in metrics.splitlines(keepends=True) if line.startswith(_WANTED))
        return read_metrics(text, True, ready, "" if ready else said.removeprefix("not ready: ").strip()), text
    except (OSError, ValueError, HTTPException):
        return None, ""


def _resolve(worker: Watched) -> list[Watched]:
    """Return a worker for each address that its name stands for; the worker itself if that is unknown."""
    try:
        found = socket.getaddrinfo(worker.host, worker.port, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return [worker]
    return [Watched(worker.kind, host, worker.port) for host in sorted({str(one[4][0]) for one in found})]


def _samples(text: str) -> Samples:
    return {
        (sample.name.removeprefix("neardup_"), tuple(sorted(sample.labels.items()))): float(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _increase(now: Samples, then: Samples) -> Samples:
    """Return by how much each rose; one that is lower has begun anew."""
    return {key: value - before if (before := then.get(key, 0.0)) <= value else value for key, value in now.items()}


def _summed(many: Iterable[Samples]) -> Samples:
    total: Samples = defaultdict(float)
    for one in many:
        for key, value in one.items():
            total[key] += value
    return total


def _by(samples: Samples, name: str, label: str) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for (one, labels), value in samples.items():
        if one == name:
            found[dict(labels)[label]] += value
    return dict(found)


def _put_aside(samples: Samples) -> dict[str, float]:
    """Return dead letters by reason; those of `webhook` are events that its receiver did not take."""
    given_up = _by(samples, "webhook_deliveries_total", "outcome").get("dead-lettered", 0.0)
    return {**_by(samples, "items_dead_lettered_total", "reason"), Reason.WEBHOOK.value: given_up}


def _rate(increase: Samples, seconds: float) -> float | None:
    """Return items per second, as embed workers count them, or else whoever counts; None if nobody does."""
    live = {key: value for key, value in increase.items() if ("outcome", "history") not in key[1]}
    stages = _by(live, "items_total", "stage")
    verdicts = _by(increase, "verdicts_total", "decision")
    if verdicts:
        stages.setdefault("match", sum(verdicts.values()))
    if seconds <= 0 or not stages:
        return None
    return stages.get("embed", max(stages.values())) / seconds


def _lag(now: _Reading) -> list[dict[str, Any]]:
    """Return each partition once: a standby reports the same as the leader."""
    most: dict[tuple[str, str, str], float] = {}
    for worker, samples in now.samples.items():
        for (name, labels), value in samples.items():
            if name == "consumer_lag_messages":
                names = dict(labels)
                key = worker.kind, names["topic"], names["partition"]
                most[key] = max(most.get(key, 0.0), value)
    order = sorted(most, key=lambda key: (key[1], key[0], int(key[2])))
    return [{"worker": key[0], "topic": key[1], "partition": int(key[2]), "messages": most[key]} for key in order]


def _most(now: _Reading, name: str, kind: str = "") -> float | None:
    found = [
        value
        for worker, samples in now.samples.items()
        if kind in ("", worker.kind)
        for (one, _), value in samples.items()
        if one == name
    ]
    return max(found, default=None)


def _most_by(now: _Reading, name: str, label: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for worker, samples in now.samples.items():
        if worker.kind == "match":
            for part, value in _by(samples, name, label).items():
                found[part] = max(found.get(part, 0.0), value)
    return found


def _shares(counts: Mapping[str, float]) -> dict[str, float] | None:
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()} if total else None
