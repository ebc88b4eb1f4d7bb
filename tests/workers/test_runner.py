from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable
from urllib.error import HTTPError

import pytest

from neardup.pipeline.errors import ConfigError, DependencyError, PipelineError
from neardup.workers.health import MAX_SILENCE_SECONDS, Health, HealthServer
from neardup.workers.runner import MAX_FAILURES, run_worker


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
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_stopped_worker_is_drained_and_closed() -> None:
    stop, told = threading.Event(), list[str]()
    run_worker("fake", lambda: Fake(told, stop.set), "127.0.0.1", 0, stop)
    assert told == ["made", "step", "drain", "close"]


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


def test_failures_in_a_row_are_bounded() -> None:
    pauses = list[float]()

    def make() -> Fake:
        raise DependencyError("no broker")

    with pytest.raises(DependencyError, match="no broker"):
        run_worker("fake", make, "127.0.0.1", 0, pause=pauses.append)
    assert len(pauses) == MAX_FAILURES - 1
    assert max(pauses) == 15.0


def test_an_error_of_ours_ends_the_process_without_drain() -> None:
    told = list[str]()

    def act() -> None:
        raise PipelineError("50 in a row")

    with pytest.raises(PipelineError, match="50 in a row"):
        run_worker("fake", lambda: Fake(told, act), "127.0.0.1", 0)
    assert told == ["made", "step", "close"]


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
