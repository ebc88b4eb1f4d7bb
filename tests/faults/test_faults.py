"""A short set of the schedules that `make faults` runs, and faults put into the product, which must be noticed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from deploy.local.services import Services
from tests.faults.content import EDITS
from tests.faults.lane import ROOT, Lane
from tests.faults.run import run_schedule
from tests.faults.schedule import Edit, Fault, Put, Schedule, Wave, make_schedule
from tests.timing import LATE_SECONDS, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]
EDITED = 39
"""A seed whose schedule changes banks and decides, kills every kind of worker and empties Redis."""


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    with closing(Lane(tmp_path_factory.mktemp("lane"))) as made:
        yield made


def test_nothing_is_lost_and_nothing_comes_twice_with_scann(lane: Lane, tmp_path: Path) -> None:
    result = run_schedule(lane, make_schedule(11, "scann"), tmp_path / "run")
    assert not result.wrong, ("python -m tests.faults --seed 11 --mode scann", *result.wrong)
    assert result.died_at


def test_banks_and_decisions_are_lost_as_little(lane: Lane, tmp_path: Path) -> None:
    schedule = make_schedule(EDITED)
    assert any(isinstance(one, Edit) for wave in schedule.waves for one in wave.actions)
    result = run_schedule(lane, schedule, tmp_path / "run")
    assert not result.wrong, (f"python -m tests.faults --seed {EDITED}", *result.wrong)
    assert result.died_at


def killed_everywhere(proves: bool = False) -> Schedule:
    """Return a schedule in which each worker is killed right after it has written something, and all comes again.

    Where verdicts wait for proofs, processes describe, and die as well.
    """
    puts = tuple(Put(f"item-{n}".encode(), f"picture:{n % 12}:{n % (EDITS if proves else 2)}") for n in range(40))
    workers = {
        "embed-0": (Fault("sent", 5), Fault("acknowledged", 5)),
        "match-0": (Fault("published", 3), Fault("published", 2)),
        "flag-0": (Fault("flagged", 2), Fault("flagged", 2)),
    }
    if proves:
        workers["prove-0"] = (Fault("proved", 1), Fault("appended", 1), Fault("appended", 2))
    children = (Fault("decoding", 1), Fault("answered", 1), Fault("embedding", 1, "all"))
    waves = (
        Wave(puts[:15], 0.3, "redis-lost"),
        Wave(puts[15:], 0.5, "redis-killed"),
        Wave(puts[:10], 0.0, "replayed"),
    )
    described = {"embed-0": children} if proves else {}
    return Schedule(0, "exact", waves, workers, snapshot_records=100, batches=4, proves=proves, children=described)


@pytest.mark.parametrize("proves", [False, True])
def test_killed_right_after_each_write(lane: Lane, tmp_path: Path, proves: bool) -> None:
    result = run_schedule(lane, killed_everywhere(proves), tmp_path / "run")
    assert not result.wrong
    assert len(result.died_at) == result.faults


def test_sigterm_ends_all_that_was_started(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults", "--seed", "3", "--mode", "exact", "--folder", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        until(lambda: list(tmp_path.glob("exact-3/match-*.log")), "no worker has started")
        workers = [worker for zygote in _children_of(process.pid) for worker in _children_of(zygote)]
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=LATE_SECONDS)
        assert (process.returncode, output) == (130, "")
        assert time.monotonic() - began < LATE_SECONDS / 2  # and not once the schedule is over
    assert workers
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert Services(tmp_path / "lane-0" / "services").running == {}


def _children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


@pytest.mark.parametrize(
    ("mutation", "proves", "told"),
    [
        # What is flagged once more comes twice, or, where a kill fell between, only out of its order.
        ("no_watermark", False, ("the feed holds item-", "the feed is not in the order")),
        ("no_last_envelope", False, ("has 2 envelopes",)),
        ("answers_lost", True, ("waits for proofs, and was never decided",)),
        ("decided_again", True, ("is decided again",)),
    ],
)
def test_a_fault_is_noticed(lane: Lane, tmp_path: Path, mutation: str, proves: bool, told: tuple[str, ...]) -> None:
    result = run_schedule(lane, killed_everywhere(proves), tmp_path / "run", mutation)
    assert any(one in problem for one in told for problem in result.wrong), result.wrong
