from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from neardup.pipeline.embed.checkpoint import Architecture, Checkpoint
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.match.apply.snapshot import VECTORS, Snapshots
from neardup.pipeline.settings import load
from neardup.workers.match.worker import open_state
from tests.pipeline.match.build import D, Log, a_calibration, picture

CHECKPOINT = Checkpoint("c", Architecture(dimension=D, size=32), {}, np.zeros((0, D), np.float32))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A state folder with a snapshot of one picture."""
    log = Log(open_state(CHECKPOINT, a_calibration(), load(), tmp_path))
    log.add(picture("cat", 0))
    Snapshots(tmp_path).save(log.state, 0)
    log.state.close()
    return tmp_path


@pytest.mark.parametrize("wrong", [{"index": "hnsw"}, {"index": "scann", "scann_from": 255}])
def test_a_wrong_setting_leaves_the_vectors_where_they_are(saved: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"index is 'hnsw'|scann_from is 255"):
        open_state(CHECKPOINT, a_calibration(), load(**wrong), saved)
    state = open_state(CHECKPOINT, a_calibration(), load(), saved)
    assert Snapshots(saved).load(state) == 0
    state.close()


def test_a_damaged_vector_file_is_put_aside(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    (saved / VECTORS).write_bytes(b"torn")
    with caplog.at_level(logging.ERROR):
        state = open_state(CHECKPOINT, a_calibration(), load(), saved)
    assert "vector file put aside" in caplog.text
    assert (saved / "vectors.damaged").read_bytes() == b"torn"
    assert len(state.rows) == 0
    state.close()
