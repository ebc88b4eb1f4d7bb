"""What a restart keeps of the vectors of the similar head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neardup.pipeline.embed.checkpoint import Architecture, Checkpoint, SimilarHead
from neardup.pipeline.log.records import NOTHING, Removed
from neardup.pipeline.match.apply.make import make_state
from neardup.pipeline.match.apply.snapshot import Snapshots
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.data.similars import SIMILAR
from neardup.pipeline.match.query.content import content_of_item
from tests.pipeline.match.build import D, Log, a_calibration, picture
from tests.pipeline.match.query.test_content import angle, found, ids, shows

BARE = Checkpoint("c", Architecture(dimension=D, size=32), {}, np.zeros((0, D), np.float32))
HEAD = SimilarHead((1,), np.zeros((2, 3), np.float16), np.zeros(2, np.float16))
CHECKPOINT = replace(BARE, similar=HEAD)
SPACE = CHECKPOINT.similar_space


def open_state(folder: Path, checkpoint: Checkpoint = CHECKPOINT) -> State:
    return make_state(checkpoint, a_calibration(), 0.99, kind="exact", folder=folder, similar="searched")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with a snapshot of a cat, a dog and a bird that was taken down, after which a fish came."""
    log = Log(open_state(tmp_path))
    log.add(
        shows(picture("cat", 0), 0, SPACE),
        shows(picture("bird", 0, plane=2), 45, SPACE),
        shows(picture("dog", 0, plane=1), 90, SPACE),
        Removed(id="bird"),
    )
    Snapshots(tmp_path).save(log.state, 3)
    log.add(shows(picture("fish", 0, plane=3), 1, SPACE))
    Snapshots(tmp_path).flush(log.state)
    log.state.close()
    return tmp_path


def test_a_restart_finds_what_the_snapshot_knew(saved: Path) -> None:
    state = open_state(saved)
    assert Snapshots(saved).load(state) == 3
    assert ids(found(state, 0)) == ["cat", "dog"]
    np.testing.assert_allclose(content_of_item(state, "dog"), angle(90), atol=1e-3)
    log = Log(state)
    log.add(shows(picture("fish", 0, plane=3), 1, SPACE))
    assert ids(found(state, 0)) == ["cat", "fish", "dog"]
    state.close()


def test_a_vector_that_no_snapshot_needs_is_erased(saved: Path) -> None:
    state = open_state(saved)
    Snapshots(saved).load(state)
    assert state.similars is not None
    assert state.similars.vectors.is_erased(slice(0, 3)).tolist() == [False, True, False]
    state.close()


@pytest.mark.parametrize("how", ["gone", "torn", "other vectors"])
def test_a_damaged_file_costs_lookups_and_not_the_state(saved: Path, how: str) -> None:
    path = saved / SIMILAR
    if how == "gone":
        path.unlink()
    elif how == "torn":
        path.write_bytes(path.read_bytes()[:100])
    else:
        content = bytearray(path.read_bytes())
        content[4096 + 8] ^= 1
        path.write_bytes(content)
    state = open_state(saved)
    assert Snapshots(saved).load(state) == 3
    assert len(state.items) == 2
    assert found(state, 0) == []
    Log(state).add(shows(picture("fish", 0, plane=3), 1, SPACE))
    assert ids(found(state, 0)) == ["fish"]
    state.close()


def test_a_head_that_was_trained_anew_begins_anew(saved: Path) -> None:
    other = replace(CHECKPOINT, similar=replace(HEAD, bias=np.ones(2, np.float16)))
    state = open_state(saved, other)
    assert Snapshots(saved).load(state) == 3
    assert found(state, 0) == []
    state.close()


def test_a_snapshot_goes_from_one_without_the_head_to_one_with_it_and_back(saved: Path) -> None:
    without = open_state(saved, BARE)
    assert without.similars is None
    assert Snapshots(saved).load(without) == 3
    Snapshots(saved).save(without, 4)
    without.close()
    state = open_state(saved)
    assert Snapshots(saved).load(state) == 4
    assert found(state, 0) == []
    Snapshots(saved).save(state, 5)
    state.close()


def test_without_a_snapshot_nothing_is_left(tmp_path: Path) -> None:
    log = Log(open_state(tmp_path))
    log.add(shows(picture("cat", 0), 0, SPACE))
    Snapshots(tmp_path).flush(log.state)
    log.state.close()
    state = open_state(tmp_path)
    assert Snapshots(tmp_path).load(state) == NOTHING
    assert found(state, 0) == []
    state.close()


def test_kept_vectors_are_not_searched(tmp_path: Path) -> None:
    state = make_state(CHECKPOINT, a_calibration(), 0.99, kind="exact", folder=tmp_path, similar="kept")
    assert state.similars is not None
    assert state.similars.index is None
    Log(state).add(shows(picture("cat", 0), 0, SPACE))
    assert len(state.similars.vectors) == 1
    state.close()
