"""Proofs that do not come."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from neardup.pipeline.log.proofs import Candidate, ProofExpired, ProofPending, answer
from neardup.pipeline.log.records import ARCHIVE, Record, Removed, RetroMatched
from neardup.pipeline.match.data.undecided import LaterAsk
from neardup.workers.match.expiry import Expiry
from tests.pipeline.match.build import AGREES, Log, a_state, picture

SECONDS, OUTAGE = 30.0, 900.0


class Leader:
    """Expires what waits in a log, by a clock that is turned by hand; what it appends is applied when asked."""

    def __init__(self, items: int = 1) -> None:
        self.log = Log(a_state(asks=True))
        self.now = 0.0
        self.appended: list[Record] = []
        self.expiry = Expiry(self.log.state, self._append, SECONDS, OUTAGE, lambda: self.now)
        self.asked = []
        for n in range(items):
            self.log.events(picture(f"a{n}", 0, plane=n))
            (event,) = self.log.events(picture(f"b{n}", 30, plane=n))
            assert isinstance(event, ProofPending)
            self.asked.append(event.asked)
        self.expiry.step()

    def _append(self, records: Sequence[Record]) -> None:
        self.appended += records

    def after(self, seconds: float) -> list[str]:
        """Return whose wait ends within so many seconds."""
        for _ in range(int(seconds)):
            self.now += 1
            self.expiry.step()
        ended, self.appended = self.appended, []
        assert all(isinstance(one, ProofExpired) for one in ended)
        return [one.id for one in ended if isinstance(one, ProofExpired)]


def test_nothing_ends_soon_while_nobody_proves() -> None:
    leader = Leader()
    assert leader.after(OUTAGE) == []
    assert leader.expiry.oldest_seconds == OUTAGE
    assert leader.after(2) == ["b0"]
    assert leader.after(100) == []  # its record is on the way


def test_what_provers_pass_over_ends_soon() -> None:
    leader = Leader(2)
    leader.after(10)
    leader.log.events(answer(leader.asked[1], [AGREES]))
    assert leader.after(SECONDS - 10) == []
    assert leader.after(2) == ["b0"]


def test_an_answer_from_before_an_ask_is_no_sign_of_life() -> None:
    leader = Leader(1)
    leader.log.events(answer(leader.asked[0], [AGREES]))
    leader.after(5)
    leader.log.events(picture("c", 0, plane=5), picture("d", 30, plane=5))
    assert leader.after(SECONDS + 10) == []


def test_what_left_or_was_decided_is_not_ended() -> None:
    leader = Leader(2)
    leader.log.events(answer(leader.asked[0], [AGREES]), Removed(id="b1"))
    assert leader.after(OUTAGE + 10) == []


def test_what_ended_is_applied_once() -> None:
    leader = Leader()
    leader.after(OUTAGE)
    leader.after(0)
    leader.now += 2
    leader.expiry.step()
    (record,) = leader.appended
    assert len(leader.log.events(record)) == 1
    leader.appended = []
    assert leader.after(2 * OUTAGE) == []


def test_heads_that_a_later_reference_asks_about_wait_while_provers_answer_anything() -> None:
    leader = Leader(2)
    leader.log.events(answer(leader.asked[0], [AGREES]), answer(leader.asked[1], [AGREES]))
    leader.log.events(msgspec.structs.replace(picture("r", 10), bank="banned"))
    (later,) = leader.log.state.later
    leader.after(1)
    assert leader.expiry.oldest_seconds == 0.0  # no verdict waits
    for n in range(5, 8):
        assert leader.after(OUTAGE - 100) == []
        *_, event = leader.log.events(picture(f"c{n}", 0, plane=n), picture(f"d{n}", 30, plane=n))
        assert isinstance(event, ProofPending)
        leader.after(10)
        leader.log.events(answer(event.asked, [AGREES]))
        leader.after(1)
    leader.after(OUTAGE - 10)
    (record,) = leader_ends(leader)
    assert (record.id, record.offset, record.reference) == (later.id, later.offset, named(later))
    assert [type(event) for event in leader.log.events(record)] == [RetroMatched] * 2  # the head and its member
    assert leader.after(2 * OUTAGE) == []


@pytest.mark.parametrize("quiet", [True, False])
def test_history_waits_while_provers_answer_anything_and_nobody_waits_for_it(quiet: bool) -> None:
    leader = Leader(1)
    old = msgspec.structs.replace(picture("h", 30, plane=7), source_partition=ARCHIVE, source_offset=1, quiet=quiet)
    leader.log.events(picture("g", 0, plane=7), old)
    leader.after(1)
    leader.log.events(answer(leader.asked[0], [AGREES]))
    assert leader.after(OUTAGE - 10) == []
    assert leader.expiry.oldest_seconds == 0.0
    assert leader.after(20) == ["h"]


def leader_ends(leader: Leader) -> list[ProofExpired]:
    """Return what is ended in the next seconds."""
    for _ in range(20):
        leader.now += 1
        leader.expiry.step()
    ended, leader.appended = leader.appended, []
    return [one for one in ended if isinstance(one, ProofExpired)]


def named(later: LaterAsk) -> Candidate:
    asked = later.pair.candidate
    return Candidate(bank=asked.bank, reference=asked.reference, offset=asked.offset)
