from __future__ import annotations

from pathlib import Path

import pytest

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.log.records import Entry
from neardup.pipeline.match.apply.snapshot import Snapshots
from neardup.workers.match.trim import needed_from
from tests.integration.stream import a_state_in
from tests.pipeline.match.build import picture


def with_snapshots(folder: Path, *offsets: int) -> None:
    state = a_state_in(folder)
    for offset in offsets:
        state.apply([Entry(offset, picture(str(offset), offset))])
        Snapshots(folder).save(state, offset)
    state.close()


def test_the_log_is_needed_from_the_oldest_snapshot_on_that_any_worker_keeps(tmp_path: Path) -> None:
    with_snapshots(tmp_path / "match-0", 3, 5, 9)
    with_snapshots(tmp_path / "match-1", 7)
    (tmp_path / "match-2").mkdir()  # of a worker that has just started
    assert needed_from(tmp_path) == 6


def test_a_state_without_a_snapshot_needs_all_of_the_log(tmp_path: Path) -> None:
    with_snapshots(tmp_path / "match-0", 3)
    with_snapshots(tmp_path / "match-1")
    with pytest.raises(ConfigError, match="match-1: holds no snapshot yet"):
        needed_from(tmp_path)


def test_where_nothing_is_known_nothing_may_be_deleted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no match worker has written down its state here"):
        needed_from(tmp_path)
