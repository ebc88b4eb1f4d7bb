from __future__ import annotations

from collections.abc import Sequence

import pytest

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.changes import BankChanged
from neardup.pipeline.log.records import (
    Changed,
    Envelope,
    Event,
    Ignored,
    Record,
    Redelivered,
    Referenced,
    Rolling,
    Verdict,
)
from neardup.pipeline.types import Decision
from neardup.workers.kafka.changes import AT_ONCE, Arrivals, ChangeClient
from tests.workers.broker import Broker, FakeTail


class Answers:
    """A log that is answered at once, in transactions of this many, each record by `Changed`."""

    def __init__(self, broker: Broker, at_once: int = 1) -> None:
        self._broker, self._at_once = broker, at_once

    def append(self, records: Sequence[Record]) -> list[int]:
        first = len(self._broker.log)
        self._broker.append(*records)
        offsets = list(range(first, len(self._broker.log)))
        said = [Envelope(offset=n, events=(Changed(record=r),)) for n, r in zip(offsets, records, strict=True)]  # type: ignore[arg-type]
        for start in range(0, len(said), self._at_once):
            self._broker.publish(*said[start : start + self._at_once])
        return offsets


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def banks(count: int) -> list[BankChanged]:
    return [BankChanged(bank=f"b{n}") for n in range(count)]


def test_each_change_gets_the_envelope_of_its_own_offset_whatever_was_said_before() -> None:
    broker = Broker()
    broker.append(*banks(3))
    broker.publish(Envelope(offset=0), Envelope(offset=1))
    asked = ChangeClient(Answers(broker), FakeTail(broker, "verdicts"))  # type: ignore[arg-type]
    found = asked.ask(banks(2), seconds=5)
    assert [(one.offset, one.events) for one in found] == [
        (3 + n, (Changed(record=r),)) for n, r in enumerate(banks(2))
    ]


def test_many_changes_are_asked_for_a_number_at_a_time() -> None:
    broker = Broker()
    asked = ChangeClient(Answers(broker, at_once=300), FakeTail(broker, "verdicts"))  # type: ignore[arg-type]
    assert len(asked.ask(banks(AT_ONCE + 7), seconds=5)) == AT_ONCE + 7


def test_a_change_that_nobody_answers_is_told_with_its_place_in_the_log() -> None:
    class Silent:
        def append(self, records: Sequence[Record]) -> list[int]:
            return list(range(40, 40 + len(records)))

    asked = ChangeClient(Silent(), FakeTail(Broker(), "verdicts"), Clock())  # type: ignore[arg-type]
    with pytest.raises(DependencyError, match=r"no answer within 5 s .* offset 40.*does one run"):
        asked.ask(banks(2), seconds=5)


REFERENCED = Referenced(id="a", bank="blocked")
VERDICT = Verdict(id="a", decision=Decision.DISTINCT)


@pytest.mark.parametrize(
    ("bank", "event", "dealt"),
    [
        ("blocked", REFERENCED, True),
        ("other", REFERENCED, False),
        ("seen", REFERENCED, False),
        ("blocked", VERDICT, False),
        ("seen", VERDICT, True),
        ("seen", Rolling(verdict=VERDICT), True),
        ("blocked", Rolling(verdict=VERDICT), False),
        ("seen", Redelivered(id="a"), True),
        ("blocked", Ignored(id="a", why="older"), True),
        ("blocked", Redelivered(id="b"), False),
    ],
)
def test_what_is_under_way_was_dealt_with_when_an_event_of_its_own_says_so(
    bank: str, event: Event, dealt: bool
) -> None:
    broker = Broker()
    broker.publish(Envelope(offset=0, events=(event,)))  # of an earlier time: does not count
    arrivals = Arrivals(FakeTail(broker, "verdicts"), bank, Clock())  # type: ignore[arg-type]
    arrivals.expected.add("a")
    broker.publish(Envelope(offset=1, events=(event,)), Envelope(offset=2))
    if dealt:
        assert [one.offset for one in arrivals.wait(3)] == [1]
    else:
        with pytest.raises(DependencyError, match="such as 'a'"):
            list(arrivals.wait(3))
