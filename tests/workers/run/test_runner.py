from __future__ import annotations

import gc
import threading
import urllib.request
from collections.abc import Callable
from types import SimpleNamespace
from urllib.error import HTTPError

import pytest
from prometheus_client import REGISTRY

from neardup.pipeline.errors import ConfigError, DependencyError, PipelineError
from neardup.workers.run.health import MAX_SILENCE_SECONDS, MAX_START_SECONDS, Health, HealthServer
from neardup.workers.run.runner import DRAIN_SECONDS, LEAST_DRAIN_SECONDS, _live, run_worker
from neardup.workers.run.stopping import Stop
from tests.ports import free_port
from tests.timing import LATE_SECONDS


class Fake:
    """A worker that notes what happened to it; `act` runs in each step."""

    def __init__(self, told: list[str], act: Callable[[], None]) -> None:
        self._told = told
        self._act = act
        told.append("made")

    def step(self) -> None:
        self._told.append("step")
        self._act()

    def ready(self) -> bool:
        return True

    def drain(self, seconds: float) -> None:
        assert 0 < seconds < 10
        self._told.append("drain")

    def close(self) -> None:
        self._told.append("close")


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=LATE_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def failures() -> float:
    return REGISTRY.get_sample_value("neardup_worker_failures_total") or 0.0


def test_a_stopped_worker_is_drained_and_closed() -> None:
    stop, told = threading.Event(), list[str]()
    run_worker("fake", lambda: Fake(told, stop.set), "127.0.0.1", 0, stop)
    assert told == ["made", "step", "drain", "close"]


def test_what_a_worker_is_made_of_is_spared_by_the_collector_as_long_as_it_runs() -> None:
    stop, frozen = threading.Event(), list[int]()

    def act() -> None:
        frozen.append(gc.get_freeze_count())
        stop.set()

    run_worker("fake", lambda: Fake([], act), "127.0.0.1", 0, stop)
    assert frozen[0] > 1000
    assert gc.get_freeze_count() == 0


def test_a_step_that_takes_long_leaves_less_time_for_the_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    stop, now, given = threading.Event(), [100.0], list[float]()
    monkeypatch.setattr("neardup.workers.run.runner.time", SimpleNamespace(monotonic=lambda: now[0]))

    for seconds in (0.0, 4.0, 30.0):
        stop.clear()

        def act(seconds: float = seconds) -> None:
            now[0] += seconds
            stop.set()

        fake = Fake([], act)
        monkeypatch.setattr(fake, "drain", given.append)
        run_worker("fake", lambda made=fake: made, "127.0.0.1", 0, stop)  # type: ignore[misc]
    assert given == [DRAIN_SECONDS, DRAIN_SECONDS - 4.0, LEAST_DRAIN_SECONDS]


def test_a_failure_outside_costs_the_worker_and_a_new_one_goes_on() -> None:
    stop, told, pauses = threading.Event(), list[str](), list[float]()
    answers = iter([DependencyError("gone"), ConnectionResetError(), None])

    def act() -> None:
        answer = next(answers)
        if answer is not None:
            raise answer
        stop.set()

    run_worker("fake", lambda: Fake(told, act), "127.0.0.1", 0, stop, pauses.append)
    assert told == 2 * ["made", "step", "close"] + ["made", "step", "drain", "close"]
    assert pauses == [0.5, 1.0]


def test_what_is_away_is_waited_for_and_readyz_says_so() -> None:
    stop, pauses, port = threading.Event(), list[float](), free_port()

    def make() -> Fake:
        raise DependencyError("no broker\nanswers")

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2000:
            assert get(port, "/readyz") == (503, "not ready: no broker answers\n")
            assert get(port, "/healthz")[0] == 200
            stop.set()

    before = failures()
    run_worker("fake", make, "127.0.0.1", port, stop, pause)
    assert pauses[:7] == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    assert max(pauses) == 15.0
    assert failures() == before + 2000


def test_no_worker_is_made_while_kafka_does_not_answer() -> None:
    stop, told, answers = threading.Event(), list[str](), iter(["away", "away", ""])
    pauses = list[float]()
    run_worker(
        "fake", lambda: Fake(told, stop.set), "127.0.0.1", 0, stop, pauses.append, kafka_away=lambda: next(answers)
    )
    assert told == ["made", "step", "drain", "close"]
    assert len(pauses) == 2


def test_an_error_of_ours_ends_the_process_without_drain() -> None:
    told = list[str]()

    def act() -> None:
        raise PipelineError("50 in a row")

    with pytest.raises(PipelineError, match="50 in a row"):
        run_worker("fake", lambda: Fake(told, act), "127.0.0.1", 0)
    assert told == ["made", "step", "close"]


def test_a_worker_that_reads_a_large_state_is_alive_meanwhile() -> None:
    now = [0.0]
    health, alive = Health(lambda: now[0]), []

    class Reads:
        """One whose making takes ten minutes, and whose second step hangs."""

        def __init__(self) -> None:
            now[0] += 600
            alive.append(health.alive)

        def step(self) -> None:
            alive.append(health.alive)
            now[0] += MAX_SILENCE_SECONDS
            alive.append(health.alive)
            stop.set()

        def ready(self) -> bool:
            return True

        def drain(self, seconds: float) -> None: ...

        def close(self) -> None: ...

    stop = Stop()
    _live(Reads, health, stop)
    assert alive == [True, True, False]
    assert MAX_START_SECONDS > 600


def test_health_ready_and_metrics_are_told_apart() -> None:
    now = [0.0]
    health = Health(lambda: now[0])
    server = HealthServer(health, "127.0.0.1", 0)
    try:
        assert get(server.port, "/healthz") == (200, "ok\n")
        assert get(server.port, "/readyz")[0] == 503
        health.ready = True
        assert get(server.port, "/readyz")[0] == 200
        assert "python_info" in get(server.port, "/metrics")[1]
        assert get(server.port, "/")[0] == 404
        now[0] = MAX_SILENCE_SECONDS
        assert get(server.port, "/healthz")[0] == 503
        assert get(server.port, "/readyz")[0] == 503
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{server.port}"):
            HealthServer(health, "127.0.0.1", server.port)
    finally:
        server.close()
