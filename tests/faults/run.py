"""One schedule from its start to its verdict."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import msgspec

from neardup.workers.kafka.topics import open_admin
from tests.faults.checks import Count, check
from tests.faults.cluster import Cluster, NotSettled
from tests.faults.lane import Lane
from tests.faults.observe import observe
from tests.faults.schedule import Mode, Schedule


class Result(msgspec.Struct, frozen=True):
    """What came of a schedule.

    Attributes:
        wrong: what does not hold, in words; nothing if all is well.
        died_at: the points where processes were killed. faults: how many kills were meant.
        verdicts, copies, missed: see `checks.Count`.
    """

    seed: int
    mode: Mode
    wrong: tuple[str, ...]
    seconds: float
    died_at: tuple[str, ...]
    faults: int
    events: tuple[str, ...]
    records: int = 0
    verdicts: int = 0
    copies: int = 0
    missed: int = 0


def run_schedule(lane: Lane, schedule: Schedule, folder: Path, mutation: str = "") -> Result:
    """Run a schedule on a lane; its folder is kept if something is wrong."""
    started, count, records = time.monotonic(), Count(), 0
    shutil.rmtree(folder, ignore_errors=True)
    cluster = Cluster(lane, schedule, folder, mutation)
    try:
        _carry_out(cluster, schedule)
        observed = observe(cluster, schedule.events)
        records = len(observed.log)
        wrong = check(observed, schedule.mode, count)
    except NotSettled as error:
        wrong = [f"{error}: {error.__cause__!r}" if error.__cause__ else str(error), *cluster.wrong]
    finally:
        cluster.kill()
    died_at = tuple(cluster.died_at)
    if not wrong:
        shutil.rmtree(folder)
        with open_admin(cluster.settings) as admin:
            admin.delete_topics(
                [
                    cluster.names.media,
                    cluster.names.log,
                    cluster.names.verdicts,
                    cluster.names.asks,
                    cluster.names.dead_letters,
                ]
            )
    return Result(
        seed=schedule.seed,
        mode=schedule.mode,
        wrong=tuple(wrong),
        seconds=round(time.monotonic() - started, 2),
        died_at=died_at,
        faults=sum(map(len, [*schedule.workers.values(), *schedule.children.values()])),
        events=schedule.events,
        records=records,
        verdicts=count.verdicts,
        copies=count.copies,
        missed=count.missed,
    )


def _carry_out(cluster: Cluster, schedule: Schedule) -> None:
    for number, wave in enumerate(schedule.waves):
        cluster.send(wave.actions)
        time.sleep(wave.pause_seconds)
        cluster.happen(wave.event)
        if schedule.mode == "scann" and number == 0:
            cluster.await_index()
    cluster.settle()
    cluster.stop()
