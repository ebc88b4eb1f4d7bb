"""How a worker is, seen from outside: read from its /healthz, /readyz and /metrics, and put in words."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException

from prometheus_client.parser import text_string_to_metric_families

_TIMEOUT_SECONDS = 3.0
_RATE_LOOKS = 6
_COUNTS = {
    "neardup_items_total": "outcome",
    "neardup_verdicts_total": "decision",
    "neardup_history_verdicts_total": "decision",
    "neardup_proofs_total": "finding",
    "neardup_webhook_deliveries_total": "outcome",
}
"""Counters whose sum is the number of items done, and the label that distinguishes them."""
_MOST_WHY = 120
_WORDS = {"lapsed": "not needed (another is a copy)", "unavailable": "without a stored picture"}
"""What a person reads for an outcome whose name says too little."""


@dataclass(frozen=True, slots=True)
class Look:
    """A worker at one moment.

    Attributes:
        alive, ready: as its probes say. why: it is not ready.
        lag: messages that wait for it. leads: a match worker publishes.
        counts: items by outcome, since the process started.
    """

    alive: bool = True
    ready: bool = False
    why: str = ""
    lag: int = 0
    leads: bool = False
    counts: dict[str, int] = field(default_factory=dict)


def look(host: str, port: int) -> Look | None:
    """Return how the worker at this port is, None if nothing answers there, or something else does."""
    address = f"http://{'127.0.0.1' if host in ('0.0.0.0', '') else host}:{port}"
    try:
        alive, _ = get(f"{address}/healthz")
        ready, said = get(f"{address}/readyz")
        _, metrics = get(f"{address}/metrics")
        return read_metrics(metrics, alive, ready, "" if ready else said.removeprefix("not ready: ").strip())
    except (OSError, HTTPException, ValueError):
        return None


def read_metrics(text: str, alive: bool = True, ready: bool = True, why: str = "") -> Look:
    """Return what metrics in Prometheus' text format tell of a worker."""
    lag, leads, counts = 0, False, dict[str, int]()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "neardup_consumer_lag_messages":
                lag += int(sample.value)
            elif sample.name == "neardup_match_leads":
                leads = bool(sample.value)
            elif sample.name in _COUNTS and sample.value:
                label = sample.labels[_COUNTS[sample.name]]
                counts[label] = counts.get(label, 0) + int(sample.value)
    return Look(alive, ready, why, lag, leads, counts)


def get(url: str, timeout_seconds: float = _TIMEOUT_SECONDS) -> tuple[bool, str]:
    """Return whether a worker's server answers 200, and what it says.

    Raises:
        OSError, ValueError, http.client.HTTPException: nothing answers there, or something else does.
    """
    try:
        with urllib.request.urlopen(url, timeout=timeout_seconds) as answer:
            return answer.status == HTTPStatus.OK, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return False, error.read().decode()


class History:
    """What several looks at one worker say together; its counters begin anew when it is started again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._looks: deque[tuple[float, int]] = deque(maxlen=_RATE_LOOKS)
        self.last: Look | None = None

    def add(self, seen: Look | None) -> None:
        """Take in a look."""
        self.last = seen
        if seen is not None:
            self._counts = seen.counts
            self._looks.append((self._clock(), sum(seen.counts.values())))

    def restarted(self) -> None:
        """Note that the next look is at a new process."""
        self._before, self._counts = self.counts, {}
        self._looks.clear()
        self.last = None

    @property
    def answered(self) -> bool:
        """Whether this process has answered."""
        return bool(self._looks)

    @property
    def counts(self) -> dict[str, int]:
        """Items by outcome, of this process and those before it."""
        names = {**self._before, **self._counts}
        return {name: self._before.get(name, 0) + self._counts.get(name, 0) for name in names}

    @property
    def per_second(self) -> float:
        """Items per second over the last looks."""
        if len(self._looks) < 2:
            return 0.0
        (start, first), (end, last) = self._looks[0], self._looks[-1]
        return max(0, last - first) / max(end - start, 1e-3)


def state(kind: str, seen: Look | None, answered: bool) -> str:
    """Return one word for a worker whose process runs, or a few where it waits for something.

    Args:
        answered: this process has answered before.
    """
    if seen is None:
        return "silent" if answered else "starting"
    if not seen.alive:
        return "hangs"
    if not seen.ready:
        return f"waiting: {seen.why[:_MOST_WHY]}" if seen.why else "connecting"
    if kind == "match":
        return "leads" if seen.leads else "stands by"
    return "ready"


def counted(counts: dict[str, int]) -> str:
    """Return counts in words, most first."""
    most_first = sorted(counts.items(), key=lambda one: -one[1])
    return ", ".join(f"{number:,} {_WORDS.get(name, name)}" for name, number in most_first)


@dataclass(frozen=True, slots=True)
class Row:
    """One worker on the status display; numbers are those of `History`."""

    name: str
    port: int
    state: str
    per_second: float
    lag: int
    counts: dict[str, int]

    def cells(self) -> tuple[str, ...]:
        """Return what stands in its row, under `HEADINGS`."""
        rate = f"{self.per_second:,.0f}" if self.per_second >= 10 else f"{self.per_second:.1f}"
        return self.name, str(self.port), self.state, rate, f"{self.lag:,}", counted(self.counts)

    def line(self) -> str:
        """Return it as a line of a log."""
        name, _, state, rate, lag, done = self.cells()
        return f"{name} {state}, {rate} items/s, lag {lag}" + (f", {done}" if done else "")


HEADINGS = ("worker", "port", "state", "items/s", "lag", "done")
