"""A full state disk stops snapshots, never verdicts: on a real file system that is too small."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from prometheus_client import REGISTRY

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.index import IndexOptions
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.match.apply.snapshot import VECTORS, Snapshots
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.decide.evidence import Evidence
from neardup.workers.match.saver import SnapshotPolicy
from neardup.workers.match.worker import Connections, MatchWorker
from tests.integration.stream import SPACE, oracle, said
from tests.pipeline.match.build import D, a_calibration
from tests.workers.broker import Broker, FakeLeadership, FakePublisher
from tests.workers.match.test_scann import Flow
from tests.workers.match.test_worker import run, tail

Kind = Literal["exact", "scann"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path, room: int) -> Path:
    """Write a file that leaves so many bytes free."""
    filler = disk / "filler"
    status = os.statvfs(disk)
    filler.write_bytes(bytes(status.f_bavail * status.f_frsize - room))
    return filler


def a_worker(
    broker: Broker,
    folder: Path,
    kind: Kind,
    clock: Callable[[], float],
    most: int = 2**30,
) -> MatchWorker:
    calibration = a_calibration()
    folder.mkdir(exist_ok=True)
    state = State(
        IndexOptions(kind, folder, "cpu"),
        VectorFile(folder / VECTORS, D, SPACE),
        Evidence(np.zeros((0, D), dtype=np.float32), *calibration.weights),
        calibration,
    )
    return MatchWorker(
        Connections(tail(broker, "log"), tail(broker, "verdicts"), FakeLeadership, lambda: FakePublisher(broker)),
        state,
        Snapshots(folder),
        D,
        SnapshotPolicy(records=200, seconds=60, background=True),
        clock,
        max_unwritten_bytes=most,
    )


def unwritten() -> float | None:
    return REGISTRY.get_sample_value("neardup_state_unwritten_bytes")


@pytest.mark.parametrize("kind", ["exact", "scann"])
def test_verdicts_go_on_while_the_disk_is_full_and_after_a_restart_and_snapshots_when_there_is_room(
    disk: Path, tmp_path: Path, kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    broker, flow, now, folder = Broker(), Flow(), [0.0], disk / "state"
    with closing(a_worker(broker, folder, kind, lambda: now[0])) as worker:
        broker.append(*flow.more(300))
        run(worker, broker)
        now[0] += 100
        while not Snapshots(folder).offsets():
            worker.step()
        filler = fill(disk, room=10_000)
        broker.append(*flow.more(600))
        run(worker, broker)
        worker.step()
        assert unwritten() > 0  # type: ignore[operator]
        for _ in range(20):
            now[0] += 100
            worker.step()
            worker._saver.finish(60)
        assert "snapshot failed" in caplog.text
        assert "No space left on device" in caplog.text
        assert len(Snapshots(folder).offsets()) == len(list(folder.glob("snapshot-*"))) == 1  # nothing half written
    with closing(a_worker(broker, folder, kind, lambda: now[0])) as again:  # from the snapshot on, on a full disk
        broker.append(*flow.more(300))
        run(again, broker)
        again.step()
        assert unwritten() > 0  # type: ignore[operator]
        filler.unlink()
        broker.append(*flow.more(100))
        run(again, broker)
        now[0] += 100
        while Snapshots(folder).offsets()[0] != len(flow.log) - 1:
            again.step()
            now[0] += 1
        assert unwritten() == 0
    with closing(a_worker(broker, folder, kind, lambda: now[0])) as last:
        assert last.applied == len(flow.log) - 1
        broker.append(*flow.more(100))
        run(last, broker)
    assert said(broker.published()) == said(oracle(tmp_path / "oracle", flow.log))


def test_a_worker_begins_on_a_disk_that_is_full(disk: Path, tmp_path: Path) -> None:
    broker, flow = Broker(), Flow()
    fill(disk, room=0)
    broker.append(*flow.more(100))
    with closing(a_worker(broker, disk / "state", "scann", lambda: 0.0)) as worker:
        run(worker, broker)
    assert said(broker.published()) == said(oracle(tmp_path / "oracle", flow.log))


def test_before_memory_is_full_too_another_may_lead(disk: Path) -> None:
    broker, flow = Broker(), Flow()
    fill(disk, room=8192)
    with closing(a_worker(broker, disk / "state", "exact", lambda: 0.0, most=20_000)) as worker:

        def go_on() -> None:
            for _ in range(100):
                broker.append(*flow.more(50))
                worker.step()

        with pytest.raises(DependencyError, match=r"the disk with the state is full, and memory holds \d+ bytes"):
            go_on()
    assert 0 < len(broker.published()) < len(broker.log)
