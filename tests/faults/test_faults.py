"""A short set of the schedules that `make faults` runs, and faults put into the product, which must be noticed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.cluster import Lane
from tests.faults.run import run_schedule
from tests.faults.schedule import Fault, Put, Schedule, Wave, make_schedule

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    with closing(Lane(tmp_path_factory.mktemp("lane"))) as made:
        yield made


@pytest.mark.parametrize("seed", [5])
def test_nothing_is_lost_and_nothing_comes_twice(lane: Lane, tmp_path: Path, seed: int) -> None:
    result = run_schedule(lane, make_schedule(seed), tmp_path / "run")
    assert not result.wrong, f"python -m tests.faults --seed {seed} --mode exact"
    assert result.fired > 0


def killed_everywhere() -> Schedule:
    """Return a schedule in which each worker is killed right after it has done something, and all comes again."""
    puts = tuple(Put(f"item-{n}".encode(), f"picture:{n % 12}:{n % 2}") for n in range(40))
    workers = {
        "embed-0": (Fault("sent", 5), Fault("acknowledged", 5)),
        "match-0": (Fault("published", 3), Fault("published", 2)),
        "flag-0": (Fault("flagged", 2), Fault("flagged", 2)),
    }
    return Schedule(0, "exact", (Wave(puts, 0.5), Wave(puts[:10], 0.0, "replayed")), workers, 100, 8)


def test_killed_right_after_each_write(lane: Lane, tmp_path: Path) -> None:
    result = run_schedule(lane, killed_everywhere(), tmp_path / "run")
    assert not result.wrong
    assert result.fired == result.faults


@pytest.mark.parametrize(
    ("mutation", "told"),
    [("no_watermark", "the feed holds item-"), ("no_last_envelope", "has 2 envelopes")],
)
def test_a_watermark_switched_off_is_noticed(lane: Lane, tmp_path: Path, mutation: str, told: str) -> None:
    result = run_schedule(lane, killed_everywhere(), tmp_path / "run", mutation)
    assert any(told in problem for problem in result.wrong), result.wrong
