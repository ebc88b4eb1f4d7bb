from __future__ import annotations

from collections.abc import Sequence

import pytest
from prometheus_client import REGISTRY

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.log.changes import Outcome, Reviewed
from neardup.pipeline.log.records import (
    Changed,
    Envelope,
    Event,
    Matched,
    Redelivered,
    RemovedEvent,
    Replaced,
    Rolling,
    Verdict,
)
from neardup.pipeline.store.memory import MemoryStore
from neardup.pipeline.types import Decision, Doubt
from neardup.workers.flag.worker import FlagWorker
from neardup.workers.kafka.log import Tail
from tests.workers.broker import Broker, FakeTail


class Counted(MemoryStore):
    """Notes how many envelopes each call applied."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int | None] = []
        self.away = False

    def apply(self, envelopes: Sequence[Envelope], after: int = -1) -> int | None:
        if self.away:
            raise DependencyError("Redis: connection refused")
        self.calls.append(super().apply(envelopes, after))
        return self.calls[-1]


def verdicts(broker: Broker) -> Tail:
    return FakeTail(broker, "verdicts")  # type: ignore[return-value]


def envelope(offset: int, produced_ms: int = 0, timestamp_ms: int = 0) -> Envelope:
    verdict = Verdict(id=f"item-{offset}", decision=Decision.UNSURE)
    return Envelope(offset=offset, events=(verdict,), produced_ms=produced_ms, timestamp_ms=timestamp_ms)


def observed(what: str) -> float:
    return REGISTRY.get_sample_value(f"neardup_end_to_end_seconds_{what}") or 0.0


def test_a_batch_is_one_call() -> None:
    broker, store = Broker(), Counted()
    broker.publish(*map(envelope, range(300)))
    worker = FlagWorker(verdicts(broker), store)
    worker.step()
    worker.step()
    assert store.calls == [256, 44]
    assert len(store.feed("", 1000)) == 300


def test_it_goes_on_after_what_the_store_holds() -> None:
    broker, store = Broker(), Counted()
    for offset in range(500):
        broker.publish(envelope(offset))
    store.apply([envelope(offset) for offset in range(450)])
    worker = FlagWorker(verdicts(broker), store)
    worker.step()
    assert store.calls == [450, 50]
    assert store.applied() == 499


def test_a_store_that_was_cleared_is_filled_from_the_start() -> None:
    broker, store = Broker(), Counted()
    broker.publish(*map(envelope, range(10)))
    worker = FlagWorker(verdicts(broker), store)
    worker.step()
    store.clear()
    broker.publish(*map(envelope, range(10, 12)))
    worker.step()
    assert store.applied() == -1  # the two that came are not all
    worker.step()
    assert store.calls == [10, None, 12]


def test_a_cleared_store_is_noticed_with_nothing_to_do() -> None:
    broker, store = Broker(), Counted()
    broker.publish(*map(envelope, range(10)))
    worker = FlagWorker(verdicts(broker), store)
    worker.step()
    store.clear()
    worker.step()
    worker.step()
    assert store.applied() == 9


def test_nothing_is_lost_while_the_store_is_away() -> None:
    broker, store = Broker(), Counted()
    broker.publish(*map(envelope, range(10)))
    worker = FlagWorker(verdicts(broker), store)
    store.away = True
    with pytest.raises(DependencyError):
        worker.step()
    store.away = False
    FlagWorker(verdicts(broker), store).step()  # as the runner does it
    assert store.applied() == 9


def test_flags_of_another_log_are_refused() -> None:
    broker, store = Broker(), Counted()
    broker.publish(*map(envelope, range(10)))
    store.apply([envelope(offset) for offset in range(11)])
    with pytest.raises(ConfigError, match="stands for offset 10 and topic verdicts ends with 9"):
        FlagWorker(verdicts(broker), store)


def test_end_to_end_seconds_count_from_the_media_record_and_leave_out_what_waited() -> None:
    broker, store = Broker(), Counted()
    broker.publish(envelope(0, produced_ms=1_000))
    worker = FlagWorker(verdicts(broker), store, clock=lambda: 100.0)
    count, total = observed("count"), observed("sum")
    worker.step()
    assert observed("count") == count
    broker.publish(envelope(1, produced_ms=99_750, timestamp_ms=99_900), envelope(2, timestamp_ms=99_500))
    broker.publish(Envelope(offset=3, timestamp_ms=1))
    history = Verdict(id="old", decision=Decision.DISTINCT, quiet=True)
    broker.publish(Envelope(offset=4, timestamp_ms=1, events=(history,)))
    worker.step()
    assert observed("count") == count + 2
    assert observed("sum") == pytest.approx(total + 0.75)


def test_a_space_that_stands_by_has_no_delays() -> None:
    broker, serves = Broker(), False
    worker = FlagWorker(verdicts(broker), Counted(), clock=lambda: 100.0, serves=lambda: serves)
    before = observed("count")
    for number in range(2):
        broker.publish(envelope(number, produced_ms=1_000))
        worker.step()
        assert observed("count") == before + number
        serves = True


def test_items_are_counted_once_by_what_became_of_them() -> None:
    def counted() -> list[float]:
        outcomes = ("distinct", "duplicate", "unsure", "removed", "history")
        labels = [{"stage": "flag", "outcome": outcome} for outcome in outcomes]
        return [REGISTRY.get_sample_value("neardup_items_total", label) or 0.0 for label in labels]

    broker, store, before = Broker(), Counted(), counted()
    flagged = Matched(
        reference="a", bank="seen", decision=Decision.DUPLICATE, distance=0.1, evidence=0.9, probability=0.99
    )
    live = Verdict(id="live", decision=Decision.DUPLICATE, matches=(flagged,))
    events: list[tuple[Event, ...]] = [
        (Verdict(id="a", decision=Decision.DISTINCT),),
        (Verdict(id="b", decision=Decision.UNSURE),),
        (Rolling(verdict=live, flagged=flagged),),
        (Rolling(verdict=live),),
        (Replaced(id="b"), Verdict(id="b", decision=Decision.UNSURE)),
        (RemovedEvent(id="b"),),
        (Redelivered(id="a"),),
        (Verdict(id="c", decision=Decision.DUPLICATE, quiet=True),),
    ]
    broker.publish(*(Envelope(offset=offset, events=one) for offset, one in enumerate(events)))
    worker = FlagWorker(verdicts(broker), store)
    worker.step()
    worker._verdicts.seek(0)
    worker.step()
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, 1, 2, 1, 1]


def reviewed(offset: int, outcome: Outcome, reference: str, refused: str = "") -> Envelope:
    record = Reviewed(item="item", reference=reference, outcome=outcome, by="ann")
    return Envelope(offset=offset, events=(Changed(record=record, refused=refused),))


def test_reviews_count_once_by_what_had_been_decided_of_the_pair() -> None:
    def counted(decision: str, outcome: str) -> float:
        labels = {"decision": decision, "outcome": outcome}
        return REGISTRY.get_sample_value("neardup_reviews_total", labels) or 0.0

    kinds = [("duplicate", "not-a-match"), ("unsure", "match"), ("distinct", "match")]
    before = [counted(*kind) for kind in kinds]
    matches = tuple(
        Matched(reference=name, bank="seen", decision=decision, distance=0.1, evidence=0.9, probability=0.9)
        for name, decision in (("one", Decision.DUPLICATE), ("two", Decision.UNSURE))
    )
    broker, store = Broker(), Counted()
    broker.publish(Envelope(offset=0, events=(Verdict(id="item", decision=Decision.DUPLICATE, matches=matches),)))
    broker.publish(reviewed(1, Outcome.NOT_A_MATCH, "one"))  # in one batch with the verdict
    worker = FlagWorker(verdicts(broker), store)
    worker.step()
    broker.publish(reviewed(2, Outcome.MATCH, "two"), reviewed(3, Outcome.MATCH, "two", refused="there is no item"))
    broker.publish(reviewed(4, Outcome.MATCH, "three"))
    worker.step()
    store.clear()
    worker.step()  # notices
    assert [counted(*kind) - was for kind, was in zip(kinds, before, strict=True)] == [1, 1, 1]


def test_how_many_wait_is_counted_by_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    def waiting() -> dict[str, float | None]:
        names = ("unsure", "unproved", "all")
        return {name: REGISTRY.get_sample_value("neardup_reviews_waiting_items", {"queue": name}) for name in names}

    broker = Broker()
    worker = FlagWorker(verdicts(broker), MemoryStore())
    worker.step()
    assert waiting() == {"unsure": 0, "unproved": 0, "all": 0}
    broker.publish(*(a_match(n, decision, doubt) for n, (decision, doubt) in enumerate(KINDS)))
    worker.step()
    assert waiting()["all"] == 0  # not each time
    monkeypatch.setattr("neardup.workers.flag.worker._COUNT_SECONDS", 0.0)
    worker.step()
    assert waiting() == {"unsure": 2, "unproved": 1, "all": 4}


KINDS = [
    (Decision.UNSURE, Doubt.NO),
    (Decision.UNSURE, Doubt.NO_SOUND),
    (Decision.UNSURE, Doubt.UNPROVED),
    (Decision.DUPLICATE, Doubt.NO),
]


def a_match(offset: int, decision: Decision, doubt: Doubt) -> Envelope:
    match = Matched(
        reference="a", bank="seen", decision=decision, distance=0.1, evidence=0.9, probability=0.9, doubt=doubt
    )
    return Envelope(offset=offset, events=(Verdict(id=f"item-{offset}", decision=decision, matches=(match,)),))
