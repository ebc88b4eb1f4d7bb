from __future__ import annotations

import threading

import pytest

from neardup.pipeline.log.proofs import Ask, Asked, Candidate, ItemProved, PairProved, ProofExpired, ProofPending
from neardup.pipeline.log.records import Described, Envelope, Event, Record, Referenced, RemovedEvent, Replaced
from neardup.workers.space.watch import OpenAsks, SpaceWatch


def asked(*references: str, offset: int = 5) -> Asked:
    return Asked(id="a", offset=offset, asks=tuple(Ask(bank="seen", reference=one, offset=1) for one in references))


def waiting(*steps: tuple[Record, Event | None]) -> int:
    asks = OpenAsks()
    for offset, (record, event) in enumerate(steps):
        asks.note(record, Envelope(offset=offset, events=() if event is None else (event,)))
    return len(asks)


DESCRIBED = Described(id="a"), ProofPending(asked=asked("r", "s"))


def proved(*references: str, offset: int = 5) -> ItemProved:
    pairs = tuple(PairProved(bank="seen", reference=one, offset=1) for one in references)
    return ItemProved(id="a", offset=offset, pairs=pairs)


@pytest.mark.parametrize(
    ("record", "event", "left"),
    [
        (proved("r"), None, 1),
        (proved("r", "s"), None, 0),
        (proved("r", "s", offset=4), None, 2),
        (ProofExpired(id="a", offset=5), None, 0),
        (ProofExpired(id="a", offset=5, reference=Candidate(bank="seen", reference="s", offset=1)), None, 1),
        (Described(id="b"), RemovedEvent(id="a"), 0),
        (Described(id="a"), Replaced(id="a"), 0),
        (Described(id="b"), RemovedEvent(id="b"), 2),
    ],
)
def test_what_waits_is_what_was_asked_and_not_answered(record: Record, event: Event | None, left: int) -> None:
    assert waiting(DESCRIBED, (record, event)) == left


def test_what_a_new_reference_asks_waits_too() -> None:
    made = Described(id="n", bank="news"), Referenced(id="n", bank="news", asked=(asked("n", offset=2),))
    assert waiting(DESCRIBED, made) == 3
    assert waiting(DESCRIBED, made, (proved("n", offset=2), None)) == 2


def test_a_look_that_began_before_it_was_asked_for_is_not_taken_as_the_answer() -> None:
    watch = SpaceWatch.__new__(SpaceWatch)
    ends = iter((5, 6, 6, 6))  # a record that was written before the question is seen by the next look

    class Looked(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002
            watch.end = next(ends)
            return True

    watch._looked, watch._error, watch.waiting, watch.last = Looked(), None, 0, 4
    assert not watch.drained()
    watch.last = 5
    assert watch.drained()
