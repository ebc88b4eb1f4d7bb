from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from neardup.pipeline.errors import Backpressure, DependencyError, UsageError
from neardup.pipeline.log.records import Entry
from neardup.pipeline.match.apply.state import State
from neardup.workers.api import view as module
from neardup.workers.api.view import View
from tests.pipeline.match.build import a_state, picture
from tests.timing import LATE_SECONDS, until


def test_what_waits_together_is_answered_together_and_errors_go_to_who_asked() -> None:
    view, gate, batches = View(a_state(), -1), threading.Event(), list[list[int]]()

    def answer(_state: State, asked: Sequence[int]) -> list[int | Exception]:
        batches.append(list(asked))
        gate.wait(LATE_SECONDS)
        return [UsageError("three") if one == 3 else one * 10 for one in asked]

    first = view.ask(answer, 0)
    until(lambda: batches, "the first is answered")
    futures = [view.ask(answer, one) for one in range(1, 6)]
    gate.set()
    assert first.result(LATE_SECONDS) == 0
    assert [futures[n].result(LATE_SECONDS) for n in (0, 1, 3, 4)] == [10, 20, 40, 50]
    with pytest.raises(UsageError, match="three"):
        futures[2].result(LATE_SECONDS)
    assert batches == [[0], [1, 2, 3, 4, 5]]
    view.close()


def test_records_that_were_applied_are_found_from_then_on() -> None:
    view = View(a_state(), -1)
    view.apply([Entry(0, picture("a", 0))], {}, 0)
    assert view.applied == 0
    assert view.look(lambda state: "a" in state.items).result(LATE_SECONDS)
    view.close()


def test_more_than_there_is_room_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    view, gate, begun = View(a_state(), -1), threading.Event(), threading.Event()

    def wait(_state: State) -> None:
        begun.set()
        gate.wait(LATE_SECONDS)

    held = view.look(wait)
    assert begun.wait(LATE_SECONDS)
    waiting = [view.look(lambda _: 1) for _ in range(2)]
    with pytest.raises(Backpressure):
        view.look(lambda _: 1)
    gate.set()
    assert held.result(LATE_SECONDS) is None
    assert [one.result(LATE_SECONDS) for one in waiting] == [1, 1]
    view.close()


def test_a_state_that_a_record_broke_answers_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DependencyError("no space left on device")

    view = View(a_state(), -1)
    monkeypatch.setattr(State, "apply", fail)
    with pytest.raises(DependencyError, match="no space left"):
        view.apply([Entry(0, picture("a", 0))], {}, 0)
    assert view.broken
    with pytest.raises(DependencyError, match="made anew"):
        view.look(lambda state: len(state.items)).result(LATE_SECONDS)
    view.close()
