from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from neardup.pipeline.match.apply.snapshot import Snapshots
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.log import Tail
from neardup.workers.kafka.topics import open_admin, topic_names
from neardup.workers.match.trim import needed_from, trim
from neardup.workers.match.worker import MatchWorker
from tests.integration.stream import (
    SPACE,
    a_log,
    a_match_worker,
    append,
    await_envelopes,
    make_topics,
    match_process,
    oracle,
    published,
    said,
)
from tests.pipeline.match.build import picture
from tests.timing import BUSY, LATE_SECONDS

logger = logging.getLogger(__name__)
pytestmark = pytest.mark.integration
POINTS = ("applied", "published", "snapshot-half-written")
"""Many more, without processes and broker, are in `tests/workers/match/test_worker.py`."""


@pytest.mark.parametrize("point", POINTS)
def test_one_envelope_for_each_offset_whenever_the_worker_is_killed(
    settings: Settings, tmp_path: Path, point: str
) -> None:
    make_topics(settings)
    log = a_log(POINTS.index(point), 120)
    append(settings, log[:60])
    with match_process(settings, tmp_path / "state", point, 1) as first:
        assert first.wait(LATE_SECONDS) == -9
    append(settings, log[60:])
    with match_process(settings, tmp_path / "state"):
        await_envelopes(settings, len(log))
    assert said(published(settings)) == said(oracle(tmp_path / "oracle", log))


def step_until(worker: MatchWorker, done: Callable[[], bool], seconds: float = LATE_SECONDS) -> float:
    started = time.monotonic()
    while not done():
        assert time.monotonic() - started < seconds
        worker.step()
    return time.monotonic() - started


def test_a_standby_takes_over_in_seconds_and_a_zombie_is_refused(settings: Settings, tmp_path: Path) -> None:
    make_topics(settings)
    log = a_log(9, 120)
    append(settings, log[:40])
    with match_process(settings, tmp_path / "first") as first:
        await_envelopes(settings, 40)
        with closing(a_match_worker(settings, tmp_path / "second")) as second:
            step_until(second, second.ready)
            step_until(second, lambda: second.applied == 39)
            append(settings, log[40:60])
            step_until(second, lambda: second.applied == 59)
            assert not second.leads
            first.send_signal(signal.SIGSTOP)
            append(settings, log[60:80])
            assert step_until(second, lambda: second.leads and second.applied == 79) < 15 * BUSY
            first.send_signal(signal.SIGCONT)  # it still takes itself for the leader, and finds 20 records
            append(settings, log[80:])
            assert first.wait(LATE_SECONDS) != 0
            step_until(second, lambda: second.applied == len(log) - 1)
    assert said(published(settings)) == said(oracle(tmp_path / "oracle", log))


def test_a_killed_leader_is_replaced_in_seconds(settings: Settings, tmp_path: Path) -> None:
    make_topics(settings)
    log = a_log(10, 120)
    append(settings, log[:60])
    with match_process(settings, tmp_path / "first") as first:
        await_envelopes(settings, 60)
        with closing(a_match_worker(settings, tmp_path / "second")) as second:
            step_until(second, lambda: second.ready() and second.applied == 59)
            first.kill()
            append(settings, log[60:])
            seconds = step_until(second, lambda: second.applied == len(log) - 1)
            logger.info("a killed leader was replaced, and its work done, after %.1f s", seconds)
            assert seconds < 15 * BUSY  # the session of 6 s and a rebalance, on a busy machine
    assert said(published(settings)) == said(oracle(tmp_path / "oracle", log))


def test_a_trimmed_log_is_enough_for_who_has_a_snapshot(settings: Settings, tmp_path: Path) -> None:
    make_topics(settings)
    log, topic = a_log(11, 120), topic_names(settings.topic_prefix, SPACE).log
    for cut in range(0, len(log), 40):
        append(settings, log[cut : cut + 40])
        with closing(a_match_worker(settings, tmp_path / "states" / "match-0")) as worker:
            step_until(worker, lambda end=cut + 40: worker.applied == min(end, len(log)) - 1)  # type: ignore[misc]
            worker.drain(LATE_SECONDS)
    with open_admin(settings) as admin:
        trim(admin, topic, needed_from(tmp_path / "states"))
    with closing(Tail(settings, topic)) as tail:
        assert tail.begin() == Snapshots(tmp_path / "states" / "match-0").offsets()[1] + 1 > 0
    more = [picture("after the trim", 1)]
    append(settings, more)
    with closing(a_match_worker(settings, tmp_path / "states" / "match-0")) as worker:
        step_until(worker, lambda: worker.applied == len(log))
    assert said(published(settings)) == said(oracle(tmp_path / "oracle", [*log, *more]))
