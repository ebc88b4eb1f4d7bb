from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from neardup.pipeline.settings import Settings
from neardup.workers.match import MatchWorker
from tests.integration.stream import (
    a_log,
    append,
    await_envelopes,
    make_topics,
    match_process,
    oracle,
    published,
    said,
)

pytestmark = pytest.mark.integration
POINTS = ("took-over", "applied", "published", "vectors-flushed", "snapshot-half-written", "snapshot-named", "saved")


def step_until(worker: MatchWorker, done: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        worker.step()


@pytest.mark.parametrize("point", POINTS)
def test_one_envelope_for_each_offset_whenever_the_worker_is_killed(
    settings: Settings, tmp_path: Path, point: str
) -> None:
    make_topics(settings)
    log = a_log(POINTS.index(point), 120)
    append(settings, log[:60])
    with match_process(settings, tmp_path / "state", point, 1) as first:
        assert first.wait(40) == -9
    append(settings, log[60:])
    with match_process(settings, tmp_path / "state"):
        await_envelopes(settings, len(log))
    assert said(published(settings)) == said(oracle(tmp_path / "oracle", log))
