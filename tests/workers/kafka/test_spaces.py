from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.records import Record, Removed
from neardup.pipeline.settings import Settings
from neardup.workers.kafka import spaces as module
from neardup.workers.kafka.spaces import Gate, Gated, Spaces, SpacesTopic, StandsBy, SteadyAppender, Turn, gated
from tests.timing import until

FIRST = Spaces(turns=(Turn(space="old"),)).with_standby("new")
SWITCHED = FIRST.switched("new", last=99, first=120)
BACK = SWITCHED.switched("old", last=150, first=130)


class Topic:
    """The record in memory."""

    def __init__(self, spaces: Spaces | None) -> None:
        self.spaces, self.away = spaces, False

    def read(self) -> Spaces | None:
        if self.away:
            raise DependencyError("away")
        return self.spaces

    def close(self) -> None: ...


def a_gate(space: str, spaces: Spaces | None) -> tuple[Gate, Topic]:
    topic = Topic(spaces)
    return Gate(Settings(), space, topic), topic


def test_one_serves_and_others_stand_by() -> None:
    assert (FIRST.serving, SWITCHED.serving, BACK.serving) == ("old", "new", "old")
    assert (SWITCHED.standby, BACK.standby) == (("old",), ("new",))
    assert FIRST.serves("old")
    assert not FIRST.serves("new")
    assert FIRST.serves("of nobody here")


@pytest.mark.parametrize(
    ("spaces", "space", "offset", "counts"),
    [
        (FIRST, "old", 0, True),
        (FIRST, "new", 0, False),
        (FIRST, "of nobody here", 0, True),
        (SWITCHED, "old", 99, True),
        (SWITCHED, "old", 100, False),
        (SWITCHED, "new", 119, False),
        (SWITCHED, "new", 120, True),
        (BACK, "old", 129, False),
        (BACK, "old", 130, True),
        (BACK, "new", 150, True),
        (BACK, "new", 151, False),
    ],
)
def test_what_a_space_says_counts_within_its_turns(spaces: Spaces, space: str, offset: int, counts: bool) -> None:
    assert spaces.counts(space, offset) is counts


def test_numbers_in_the_feed_go_on_from_turn_to_turn() -> None:
    ends = [(turn.first + turn.shift, None if turn.last is None else turn.last + turn.shift) for turn in BACK.turns]
    assert ends == [(0, 99), (100, 130), (131, None)]


def test_a_space_that_was_dropped_and_made_again_has_no_turn_of_the_one_before() -> None:
    again = SWITCHED.without("old").with_standby("old")
    assert not again.counts("old", 5)
    assert [turn.shift for turn in again.turns] == [turn.shift for turn in SWITCHED.turns]


@pytest.mark.parametrize(
    ("spaces", "space", "why"),
    [
        (None, "old", ""),
        (FIRST, "old", ""),
        (FIRST, "new", "stands by, old serves"),
        (FIRST, "of nobody here", ""),
        (Spaces(turns=FIRST.turns, standby=("new",), switching="new"), "old", "switch to space new is under way"),
        (Spaces(turns=FIRST.turns, standby=("new",), switching="new"), "new", "stands by"),
    ],
)
def test_a_gate_says_why_it_is_closed(spaces: Spaces | None, space: str, why: str) -> None:
    gate, _ = a_gate(space, spaces)
    assert why in gate.closed()
    assert bool(gate.closed()) == bool(why)


def test_a_gate_believes_what_it_knew_while_kafka_is_away() -> None:
    gate, topic = a_gate("old", FIRST)
    gate.check()
    topic.away = True
    with pytest.raises(DependencyError, match="away"):
        gate.spaces(now=True)
    gate.check()
    topic.away, topic.spaces = False, SWITCHED
    gate.spaces(now=True)
    with pytest.raises(StandsBy):
        gate.check()
    gate.close()


def test_a_gate_that_never_had_an_answer_says_so() -> None:
    gate, topic = a_gate("old", FIRST)
    topic.away = True
    with pytest.raises(DependencyError, match="away"):
        gate.check()


def test_what_is_only_counted_waits_for_no_answer() -> None:
    gate, topic = a_gate("old", FIRST)
    topic.away = True
    began = time.monotonic()
    assert not gate.seems_to_serve()
    assert time.monotonic() - began < 1
    topic.away = False
    gate.spaces(now=True)
    assert gate.seems_to_serve()
    topic.spaces = SWITCHED
    gate.spaces(now=True)
    assert not gate.seems_to_serve()
    gate.close()
    alone, _ = a_gate("old", None)
    alone.spaces()
    assert alone.seems_to_serve()
    alone.close()


def test_a_gate_that_looked_before_an_outage_answers_in_it() -> None:
    topic = Topic(FIRST)
    gate = Gate(Settings(), "old", topic).start()
    until(lambda: gate._done, "it looked")
    topic.away = True
    gate.check()
    gate.close()


def test_one_space_alone_erases_and_begins_while_kafka_is_slow() -> None:
    gate, topic = a_gate("old", None)
    assert gate.certainly_serves()
    topic.away = True
    assert gate.certainly_serves()
    assert gate.begin() is None
    gate.close()


def test_one_of_two_spaces_is_not_taken_for_the_one_that_serves_while_that_is_not_certain() -> None:
    gate, topic = a_gate("old", FIRST)
    assert gate.certainly_serves()
    topic.away = True
    with pytest.raises(DependencyError, match="away"):
        gate.certainly_serves()
    topic.away, topic.spaces = False, SWITCHED
    assert not gate.certainly_serves()
    gate.close()


def test_a_look_at_a_broker_that_is_away_leaves_no_thread_behind() -> None:
    topic, threads = SpacesTopic(Settings(kafka="127.0.0.1:1")), threading.active_count()
    with pytest.raises(DependencyError, match="no Kafka answers"):
        topic.read()
    topic.close()
    assert threading.active_count() == threads


class Broker:
    """An admin client that knows no topic, and a consumer that fails when it is closed."""

    asked: tuple[list[str], ...] = ()
    code = 3

    def describe_topics(self, names: list[str]) -> list[dict[str, int]]:
        self.asked += (names,)
        return [{"error_code": self.code}]

    def close(self, timeout_ms: int = 0) -> None:  # noqa: ARG002
        raise ConnectionError("closed already")


@pytest.mark.parametrize("code", [3, 29])
def test_where_there_is_one_space_only_its_topic_is_asked_for_and_not_all(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Broker()
    broker.code = code
    monkeypatch.setattr(module, "kafka_away", lambda _: "")
    monkeypatch.setattr(module, "connect_admin", lambda _: broker)
    topic = SpacesTopic(Settings())
    assert [topic.read(), topic.read()] == [None, None]
    assert broker.asked == (["neardup.spaces"],) * 2
    topic.close()


def test_a_topic_without_a_leader_is_not_taken_for_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker()
    broker.code = 5
    monkeypatch.setattr(module, "kafka_away", lambda _: "")
    monkeypatch.setattr(module, "connect_admin", lambda _: broker)
    with pytest.raises(DependencyError, match="error 5"):
        SpacesTopic(Settings()).read()


def test_a_gate_looks_on_after_a_client_that_cannot_be_closed() -> None:
    topic = SpacesTopic(Settings())
    topic._consumer = Broker()
    topic.close()
    assert topic._consumer is None


def test_a_gate_learns_of_a_switch_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neardup.workers.kafka.spaces.LOOK_SECONDS", 0.01)
    gate, topic = a_gate("old", FIRST)
    gate.check()
    topic.spaces = SWITCHED
    until(gate.closed, "it is closed")
    gate.close()


def test_what_comes_right_after_a_switch_is_not_taken_for_what_another_has_told() -> None:
    gate, topic = a_gate("new", FIRST)
    assert not gate.counts(119)
    topic.spaces = SWITCHED  # and a verdict of the new turn comes before the gate's next look
    assert gate.counts(120)
    assert gate.begin() == ("old", 120)


@pytest.mark.parametrize(
    ("spaces", "space", "begin"),
    [
        (FIRST, "old", None),
        (SWITCHED, "old", None),
        (FIRST.switched("new", last=-1, first=0), "new", ("old", 0)),
        (SWITCHED.without("old"), "new", ("", 120)),
        (BACK, "old", ("new", 130)),
    ],
)
def test_a_turn_begins_where_another_ended(spaces: Spaces, space: str, begin: tuple[str, int] | None) -> None:
    gate, _ = a_gate(space, spaces)
    assert gate.begin() == begin


class Log:
    """Counts what is appended."""

    appended = 0

    def append(self, records: Sequence[Record]) -> list[int]:
        self.appended += len(records)
        return [0] * len(records)


@pytest.mark.parametrize("before", [None, FIRST])
@pytest.mark.parametrize("space", ["old", "new"])
@pytest.mark.parametrize("after", [replace(FIRST, switching="new"), SWITCHED])
def test_a_load_ends_when_a_switch_begins(before: Spaces | None, space: str, after: Spaces) -> None:
    gate, topic = a_gate(space, before)
    log = Log()
    steady = SteadyAppender(gate, log)
    steady.append([Removed(id="a")])
    topic.spaces = after
    gate.spaces(now=True)
    if before is None and after is SWITCHED and space == "new":  # it served by itself, and serves
        steady.append([])
    else:
        with pytest.raises(DependencyError, match="switch of spaces"):
            steady.append([Removed(id="b")])
    assert log.appended == 1
    gate.close()


def test_a_worker_ends_when_its_space_serves_no_more() -> None:
    class Works:
        steps = 0

        def step(self) -> None:
            self.steps += 1

        def ready(self) -> bool:
            return True

        def drain(self, seconds: float) -> None: ...

        def close(self) -> None: ...

    works = Works()
    gate, topic = a_gate("old", FIRST)
    worker = gated(gate, lambda: works)()
    assert isinstance(worker, Gated)
    worker.step()
    topic.spaces = SWITCHED
    gate.spaces(now=True)
    with pytest.raises(StandsBy):
        worker.step()
    with pytest.raises(StandsBy):
        gated(gate, lambda: works)()
    assert works.steps == 1
