"""A live video through match workers that follow, lead and are interrupted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neardup.pipeline.log.records import Record, Rolling
from neardup.workers.match.saver import SnapshotPolicy
from tests.integration.stream import oracle, said
from tests.pipeline.match.build import Film, edited, live_end, live_frames, picture, times, video
from tests.workers.broker import Broker, FakeLeadership
from tests.workers.match.test_worker import a_worker, run


def a_live_log() -> list[Record]:
    """Return a film, and two live videos that show parts of it at the same time."""
    film, moments = Film(1), times(25)
    records: list[Record] = list(video("film", film.at(times(60))))
    shown = np.concatenate([Film(2).at(times(5)), edited(film.at(times(19.5) + 30))])
    one = live_frames("one", shown, moments)
    other = live_frames("other", edited(film.at(moments + 5), 1), moments + 100)
    records += [frame for both in zip(one, other, strict=True) for frame in both]
    return [*records, picture("a", 0), live_end("one"), live_end("other")]


def flagged(broker: Broker) -> list[tuple[str, str]]:
    return [
        (event.verdict.id, event.flagged.reference)
        for envelope in broker.published()
        for event in envelope.events
        if isinstance(event, Rolling) and event.flagged is not None
    ]


@pytest.mark.parametrize("dies", [5, 12, 25, 40, 70, 100])
def test_leader_that_dies_amid_live_videos_leaves_each_match_flagged_once(tmp_path: Path, dies: int) -> None:
    broker, log = Broker(), a_live_log()
    policy = SnapshotPolicy(records=20, background=False)
    first = a_worker(broker, tmp_path / "first", policy=policy)
    standby = a_worker(broker, tmp_path / "standby", leadership=(waits := FakeLeadership(granted=False)))
    for record in log[:dies]:
        broker.append(record)
        run(first, broker)
        standby.step()
    first.close()
    broker.append(*log[dies:])
    waits.granted = True
    run(standby, broker)
    again = a_worker(broker, tmp_path / "first")  # from its snapshot, past what the other published
    run(again, broker)
    assert said(broker.published()) == said(oracle(tmp_path / "oracle", log))
    assert sorted(flagged(broker)) == [("one", "film"), ("other", "film")]
    standby.close()
    again.close()
