"""What a machine of a cluster does with a part, without Ray; with it: tests/cluster/test_ray.py."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from neardup.pipeline.archive.plan import unfinished
from neardup.pipeline.archive.shard import place_of, shard_names
from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.workers.backfill import cluster
from neardup.workers.backfill.describe import Engine, Job
from tests.workers.backfill.test_describe import engine, planned, some_pictures


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Job]]:
    """Return the jobs for which an engine was opened."""
    jobs: list[Job] = []

    def open_engine(job: Job) -> Engine:
        jobs.append(job)
        return engine(job)

    monkeypatch.setattr(cluster, "open_engine", open_engine)
    yield jobs
    cluster._close()


def test_parts_of_a_job_are_described_by_one_engine(tmp_path: Path, opened: list[Job]) -> None:
    job = planned(tmp_path / "out", some_pictures(tmp_path / "p", 10))
    for file in unfinished(job.folder):  # each task of Ray has a copy of the job
        cluster._describe(pickle.loads(pickle.dumps(job)), {"part": file})
    assert len(opened) == 1
    assert len(shard_names(job.folder)) == 3


def test_a_part_whose_shard_is_there_is_not_described_again(tmp_path: Path, opened: list[Job]) -> None:
    job = planned(tmp_path / "out", some_pictures(tmp_path / "p", 3))
    [file] = unfinished(job.folder)
    first = cluster._describe(job, {"part": file})
    assert (first["items"], first["failed"]) == (3, 0)
    written = (tmp_path / "out" / place_of(first["name"])).stat().st_mtime_ns
    assert cluster._describe(job, {"part": file}) == {**first, "items": 0}
    assert (tmp_path / "out" / place_of(first["name"])).stat().st_mtime_ns == written
    assert len(opened) == 1


def test_an_engine_that_failed_is_not_used_again(tmp_path: Path, opened: list[Job]) -> None:
    job = planned(tmp_path / "out", some_pictures(tmp_path / "p", 3))
    [file] = unfinished(job.folder)
    with pytest.raises(ConfigError, match="no part"):
        cluster._describe(job, {"part": "missing"})
    assert cluster._describe(job, {"part": file})["items"] == 3
    assert len(opened) == 2


def test_errors_of_ours_come_through_ray_as_they_are() -> None:
    class Wrapped(Exception):
        """As Ray's own, which name what a task raised."""

        def __init__(self, cause: Exception) -> None:
            self.cause = cause

    ours = ConfigError("another model")
    assert cluster._ours(Wrapped(Wrapped(ours))) is ours
    strange = cluster._ours(Wrapped(KeyError("x")))
    assert isinstance(strange, DependencyError)
    assert "Wrapped" in str(strange)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1"])
def test_nobody_at_an_address_is_said_at_once(address: str) -> None:
    with pytest.raises(ConfigError, match=r"no Ray cluster at .*wanted host:port of its head"):
        cluster._check_reachable(address)
