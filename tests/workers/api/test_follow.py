from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.log.reasons import IgnoredReason
from neardup.pipeline.log.records import ARCHIVE, Envelope, Ignored, Redelivered, Verdict
from neardup.pipeline.match.apply.snapshot import Snapshots
from neardup.pipeline.types import Decision
from neardup.workers.api.follow import ViewFollower, newest_folder
from neardup.workers.api.server import _take_newest
from neardup.workers.api.view import View
from tests.integration.stream import a_log, a_state_in, oracle
from tests.pipeline.match.build import D, a_state, picture
from tests.timing import LATE_SECONDS
from tests.workers.broker import Broker, FakeLeadership, FakeTail
from tests.workers.match.test_worker import a_worker, run


def a_follower(broker: Broker, view: View, told: list[Envelope] | None = None, now: float = 0.0) -> ViewFollower:
    note = told.extend if told is not None else (lambda _: None)
    log, verdicts = FakeTail(broker, "log"), FakeTail(broker, "verdicts")
    return ViewFollower(log, verdicts, view, D, note, lambda: now)  # type: ignore[arg-type]


def held(view: View) -> list[str]:
    return view.look(lambda state: sorted(item.id for item in state.items)).result(LATE_SECONDS)


def test_it_follows_as_far_as_verdicts_are_published_and_says_what_is_left(tmp_path: Path) -> None:
    broker, log, view = Broker(), a_log(1, 60), View(a_state(), -1)
    envelopes, told = oracle(tmp_path / "oracle", log), list[Envelope]()
    broker.append(*log)
    broker.publish(*envelopes[:40])
    follower = a_follower(broker, view, told)
    for _ in range(10):
        follower.step()
    assert (view.applied, follower.caught_up, follower.behind) == (39, True, len(log) - 40)
    assert [one.offset for one in told] == list(range(40))
    broker.publish(*envelopes[40:])
    for _ in range(10):
        follower.step()
    assert (view.applied, follower.behind) == (len(log) - 1, 0)
    with a_state_at(tmp_path / "other", log) as items:
        assert held(view) == items
    view.close()


class a_state_at:  # noqa: N801
    """The ids that a state holds which took in a log."""

    def __init__(self, folder: Path, log: list[object]) -> None:
        from neardup.pipeline.log.records import Entry

        self._state = a_state_in(folder)
        self._state.apply([Entry(offset, record) for offset, record in enumerate(log)])  # type: ignore[arg-type]

    def __enter__(self) -> list[str]:
        return sorted(item.id for item in self._state.items)

    def __exit__(self, *_: object) -> None:
        self._state.close()


def test_published_verdicts_stand_where_its_own_would_differ() -> None:
    broker, view = Broker(), View(a_state(), -1)
    broker.append(picture("a", 0), picture("b", 10))
    broker.publish(
        *(Envelope(offset=n, events=(Verdict(id=one, decision=Decision.DISTINCT),)) for n, one in enumerate("ab"))
    )
    a_follower(broker, view).step()
    assert view.look(lambda state: [item.is_head for item in state.items]).result(LATE_SECONDS) == [True, True]
    view.close()


def test_both_who_follow_count_what_was_published_otherwise_and_not_what_is_malformed(tmp_path: Path) -> None:
    def count() -> float:
        return REGISTRY.get_sample_value("neardup_match_differed_total") or 0.0

    broker, view = Broker(), View(a_state(), -1)
    broker.append(picture("a", 0), b"", picture("b", 10))
    malformed = Ignored(id="", why="in other words", reason=IgnoredReason.MALFORMED)
    verdict = Verdict(id="a", decision=Decision.DISTINCT)
    events = [(verdict,), (malformed,), (Redelivered(id="b"),)]
    broker.publish(*(Envelope(offset=offset, events=these) for offset, these in enumerate(events)))
    worker = a_worker(broker, tmp_path, leadership=FakeLeadership(granted=False))
    for step in (worker.step, a_follower(broker, view).step):
        before = count()
        step()
        assert count() == before + 1
    assert (worker.applied, view.applied) == (2, 2)
    worker.close()
    view.close()


def test_how_long_an_item_took_to_be_found_is_counted_once_it_has_caught_up() -> None:
    def count() -> float:
        return REGISTRY.get_sample_value("neardup_api_searchable_seconds_count") or 0.0

    broker, view = Broker(), View(a_state(), -1)
    follower = a_follower(broker, view, now=1.5)
    serves = True
    follower._serves = lambda: serves
    broker.append(picture("old", 0))
    broker.publish(Envelope(offset=0))
    before = count()
    follower.step()
    follower.step()
    assert count() == before
    broker.append(picture("new", 50))  # at 1.001 s
    broker.publish(Envelope(offset=1))
    follower.step()
    assert count() == before + 1
    archived = replace(picture("of an archive", 90), quiet=True)
    broker.append(archived, replace(picture("announced", 130), source_partition=ARCHIVE))
    broker.publish(Envelope(offset=2), Envelope(offset=3))
    follower.step()
    serves = False
    broker.append(picture("stands by", 170))
    broker.publish(Envelope(offset=4))
    follower.step()
    assert (view.applied, count()) == (4, before + 1)
    view.close()


def test_verdicts_of_another_log_are_refused() -> None:
    broker, view = Broker(), View(a_state(), -1)
    broker.publish(Envelope(offset=5))
    with pytest.raises(ConfigError, match="not of this log"):
        a_follower(broker, view).step()
    view.close()


def test_a_view_begins_with_the_newest_snapshot_of_its_machine(tmp_path: Path) -> None:
    broker, log = Broker(), a_log(4, 30)
    broker.append(*log)
    worker = a_worker(broker, tmp_path / "match-0")
    run(worker, broker)
    worker.drain(1)
    assert newest_folder(tmp_path) == tmp_path / "match-0"
    folder = tmp_path / "api-0"
    folder.mkdir()
    _take_newest(folder)
    state = a_state_in(folder)
    assert Snapshots(folder).load(state) == len(log) - 1
    view = View(state, len(log) - 1)
    items = held(view)
    broker.append(picture("more", 77))
    run(worker, broker)
    follower = a_follower(broker, view)
    for _ in range(4):
        follower.step()
    assert held(view) == sorted([*items, "more"])
    _take_newest(folder)  # its own is as new: nothing is copied
    worker.close()
    view.close()
