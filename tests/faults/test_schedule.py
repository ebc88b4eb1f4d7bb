from __future__ import annotations

import numpy as np
import pytest

from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.log.changes import BankChanged, ReferenceChanged, Reviewed
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.types import Descriptors
from neardup.workers.run import fault_points
from tests.faults.__main__ import _parse, _seeds
from tests.faults.content import BAD, EDITS, OTHERS, SHARPEST, payload, row
from tests.faults.schedule import CHILD, Edit, Put, make_schedule
from tests.pipeline.scan.build import SIZE, StandIn


def test_a_seed_is_one_schedule() -> None:
    assert make_schedule(17) == make_schedule(17)
    assert make_schedule(17) != make_schedule(18)
    assert make_schedule(17, "scann") != make_schedule(17)


def test_schedules_have_everything_that_can_happen() -> None:
    schedules = [make_schedule(seed) for seed in range(100)]
    faults = {(fault.point, fault.whom) for one in schedules for some in one.workers.values() for fault in some}
    assert {point for point, _ in faults} == {
        *fault_points.EMBED,
        *fault_points.MATCH,
        *fault_points.SNAPSHOT,
        *fault_points.FLAG,
        *fault_points.PROVE,
    }
    assert {whom for _, whom in faults} == {"worker", "all", "copy"}
    events = {event for one in schedules for event in one.events}
    assert events == {"kafka-killed", "kafka-stopped", "redis-killed", "redis-lost", "match-paused", "replayed"}
    described = [fault for one in schedules for some in one.children.values() for fault in some]
    assert {(fault.point, fault.whom) for fault in described} == {(p, w) for p in CHILD for w in ("worker", "all")}
    assert 25 < sum(bool(one.children) for one in schedules) < 55
    contents = {a.content for one in schedules for wave in one.waves for a in wave.actions if isinstance(a, Put)}
    assert {content.partition(":")[2] for content in contents if content.startswith("bad:")} == set(BAD)
    assert "" in contents
    puts = [[a for a in one.waves[0].actions if not isinstance(a, Edit)] for one in schedules]
    thrice = [some for some in puts if len(some) == 3 * len(set(some))]
    assert 10 < len(thrice) < 60
    assert 30 < sum(one.proves for one in schedules) < 70
    assert {one.prove_seconds for one in schedules if one.proves} == {0.3, 600.0}
    edits = [a.change for one in schedules for wave in one.waves for a in wave.actions if isinstance(a, Edit)]
    assert {type(change) for change in edits} == {BankChanged, ReferenceChanged, Reviewed}


@pytest.mark.parametrize(
    ("words", "seeds"),
    [
        ("", range(100)),
        ("--seed 17", range(17, 18)),
        ("--seed 17 --schedules 5", range(17, 22)),
        ("--schedules 3", range(3)),
    ],
)
def test_as_many_schedules_run_as_are_asked_for(words: str, seeds: range) -> None:
    assert _seeds(_parse(words.split())) == seeds


def described(name: str) -> Descriptors:
    frames = list(open_media(payload(name)[0], SIZE).frames)
    return StandIn().embed(np.stack([frame.tile for frame in frames])).vectors


def test_edits_are_near_copies_and_nothing_else_is() -> None:
    vectors = np.concatenate([described(f"picture:{n}:{edit}") for n in range(25) for edit in range(EDITS)])
    same = np.kron(np.eye(25, dtype=bool), np.ones((EDITS, EDITS), dtype=bool))
    cosines = vectors @ vectors.T
    assert cosines[same].min() > SHARPEST
    assert cosines[~same].max() < OTHERS
    clips = [described(f"clip:{n}:{edit}") for n in range(4) for edit in range(2)]
    assert all(len(clip) > 4 for clip in clips)  # several records each
    assert (np.concatenate(clips) @ vectors.T).max() < OTHERS
    rows = np.concatenate([row(f"row:{n}:{edit}", "x").embedded().vectors for n in range(2200) for edit in (0, 1)])
    cosines = rows @ rows.T - np.kron(np.eye(2200), np.ones((2, 2)))
    assert cosines.max() < OTHERS + 0.05
    assert (rows @ vectors.T).max() < OTHERS


@pytest.mark.parametrize("what", ["words", "truncated"])
def test_bad_content_cannot_be_decoded(what: str) -> None:
    with pytest.raises(InvalidFrame, match=BAD[what]):
        list(open_media(payload(f"bad:{what}")[0], SIZE).frames)
