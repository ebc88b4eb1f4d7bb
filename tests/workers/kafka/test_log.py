"""What of the log is taken as a record, and what is not."""

from __future__ import annotations

import math
from typing import cast

import msgspec
import pytest

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.records import NOTHING, Described, Entry, Envelope, Removed
from neardup.pipeline.types import Kind
from neardup.workers.kafka import log
from neardup.workers.kafka.log import Fetched, Patience, Tail, encode, last_envelope, read_entry
from tests.pipeline.match.build import D, at, described
from tests.workers.broker import Broker, FakeTail

FRAME = msgspec.structs.replace(described("cam", at(10), kind=Kind.VIDEO, pts=[4.5], last=False), live=True)
END = Described(id="cam", kind=Kind.VIDEO, live=True)


@pytest.mark.parametrize("record", [described("a", at(1)), Removed(id="a"), FRAME, END])
def test_record_stands_at_its_place_and_time(record: Described | Removed) -> None:
    assert read_entry(Fetched(7, 1234, encode(record)), D) == Entry(7, record, 1234)


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (Described(id="a", dimension=D), "0 descriptors of 64 dimensions"),
        (msgspec.structs.replace(FRAME, vectors=FRAME.vectors[2:]), "do not belong to 1 descriptors"),
        (msgspec.structs.replace(FRAME, last=True), "1 descriptors in part 0 of a live video"),
        (msgspec.structs.replace(END, last=False), "0 descriptors in part 0 of a live video"),
        (msgspec.structs.replace(FRAME, part=1), "in part 1 of a live video"),
        (msgspec.structs.replace(FRAME, pts=(math.nan,)), "of a live video"),
        (msgspec.structs.replace(FRAME, vectors=bytes(2 * D)), "not of unit length"),
    ],
)
def test_record_that_cannot_be_used_is_refused_with_the_reason(record: Described, why: str) -> None:
    refused = read_entry(Fetched(7, 1234, encode(record)), D)
    assert isinstance(refused, str)
    assert why in refused


def verdicts_of(*transactions: int) -> FakeTail:
    """Return the end of `verdicts` after transactions of so many envelopes each."""
    broker, offset = Broker(), 0
    for size in transactions:
        broker.publish(*(Envelope(offset=offset + n) for n in range(size)))
        offset += size
    return FakeTail(broker, "verdicts")


@pytest.mark.parametrize(("transactions", "last"), [((), NOTHING), ((3,), 2), ((3, 2), 4), ((2, *[0] * 40), 1)])
def test_the_last_envelope_stands_before_any_number_of_markers(transactions: tuple[int, ...], last: int) -> None:
    assert last_envelope(cast(Tail, verdicts_of(*transactions))) == last


def test_a_broker_that_is_silent_for_a_while_does_not_hide_the_last_envelope() -> None:
    tail = verdicts_of(3)
    tail.silent = 5
    assert last_envelope(cast(Tail, tail)) == 2


def test_a_broker_that_stays_silent_is_an_outage_and_no_empty_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_ANSWER_SECONDS", 0.05)
    tail = verdicts_of(3)
    tail.silent = 10**9
    with pytest.raises(DependencyError, match="verdicts from offset 2 on, but it goes on"):
        last_envelope(cast(Tail, tail))


def test_patience_ends_only_after_seconds_without_any_progress() -> None:
    tail, times = verdicts_of(3, 2), [0.0]
    patience = Patience(cast(Tail, tail), lambda: times[-1])
    for seconds in (4.0, 8.0, 12.0):
        times.append(seconds)
        tail.poll(0.0, 1)
        patience.check()
    times.append(16.9)
    patience.check()
    times.append(17.1)
    with pytest.raises(DependencyError, match="verdicts from offset 4 on"):
        patience.check()
