from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import msgspec
import pytest
from prometheus_client import REGISTRY

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.log.records import Envelope, Event, Matched, RetroMatched, Rolling, Verdict
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.interface import FeedEntry, counts_in
from neardup.pipeline.types import Decision
from neardup.workers.kafka.log import Fetched, encode
from neardup.workers.kafka.spaces import Spaces
from neardup.workers.run.logs import fields_of
from neardup.workers.webhook import worker as module
from neardup.workers.webhook.delivery import Delivery, DeliveryRefused
from neardup.workers.webhook.worker import LEAST_ATTEMPTS, WebhookWorker, group_of, turn_begin
from tests.workers.kafka.test_spaces import SWITCHED, a_gate

DAY = 86_400.0
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class Log:
    """A place among verdicts in memory; waiting takes the clock's time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.records: list[Fetched] = []
        self.at = self.committed = 0
        self.was_lost = False

    def add(self, *events: Event, at_ms: int = 1_000_000, traceparent: str = "") -> None:
        offset = len(self.records)
        value = encode(Envelope(offset=offset, events=events, timestamp_ms=at_ms))
        self.records.append(Fetched(offset, 0, value, traceparent))

    def poll(self, seconds: float, hold: bool) -> list[Fetched]:
        found = [] if hold else self.records[self.at :]
        self.at += len(found)
        if not found:
            self._clock.now += seconds
        return found

    def lost(self) -> bool:
        lost, self.was_lost = self.was_lost, False
        return lost

    def commit(self, offset: int) -> None:
        assert offset >= self.committed
        self.committed = offset

    def close(self) -> None:
        pass


class Hook:
    """Takes events, unless the test says otherwise."""

    host = "example.org"

    def __init__(self, clock: Clock, refuses: Callable[[str], DeliveryRefused | None] = lambda _id: None) -> None:
        self._clock = clock
        self.refuses = refuses
        self.tried: list[tuple[str, float]] = []
        self.taken: list[str] = []
        self.traceparents: list[str] = []

    def send(self, delivery: Delivery, now: float) -> None:
        self.tried.append((delivery.id, now))
        if refused := self.refuses(delivery.id):
            raise refused
        self.taken.append(delivery.id)
        self.traceparents.append(delivery.traceparent)

    def pauses(self) -> list[float]:
        return [b - a for (_, a), (_, b) in pairwise(self.tried)]

    def close(self) -> None:
        pass


class Parked:
    def __init__(self) -> None:
        self.letters: list[tuple[str, str, int, int]] = []

    def park(self, delivery: Delivery, why: str, offset: int, attempts: int) -> None:
        self.letters.append((delivery.id, why, offset, attempts))

    def close(self) -> None:
        pass


class Bench:
    def __init__(self, wanted: Callable[[FeedEntry], bool] = lambda _: True, most_parked: int = 100) -> None:
        self.clock = Clock()
        self.log, self.hook, self.parked = Log(self.clock), Hook(self.clock), Parked()
        self.worker = self.another(wanted, most_parked)

    def another(self, wanted: Callable[[FeedEntry], bool] = lambda _: True, most_parked: int = 100) -> WebhookWorker:
        return WebhookWorker(self.log, self.hook, self.parked, "s", wanted, DAY, most_parked, self.clock)

    def run(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.worker.step()


def match(bank: str = "seen", decision: Decision = Decision.DUPLICATE) -> Matched:
    return Matched(reference="r", bank=bank, decision=decision, distance=0.1, evidence=0.9, probability=0.99)


def flagged(item: str, bank: str = "seen") -> Verdict:
    return Verdict(id=item, decision=Decision.DUPLICATE, matches=(match(bank),))


def test_what_enters_the_feed_is_sent_once_and_in_order() -> None:
    bench = Bench()
    distinct = Verdict(id="d", decision=Decision.DISTINCT)
    bench.log.add(flagged("a"))
    bench.log.add(distinct)
    bench.log.add(distinct, flagged("b"), RetroMatched(id="c", match=match("blocked")))
    bench.log.add(Rolling(verdict=distinct), Rolling(verdict=distinct, flagged=match()))
    bench.run(5)
    assert bench.hook.taken == ["s_0_0", "s_2_1", "s_2_2", "s_3_1"]
    assert [id for id, _ in bench.hook.tried] == bench.hook.taken
    assert bench.log.committed == 4


def test_history_is_not_sent() -> None:
    bench = Bench()
    bench.log.add(msgspec.structs.replace(flagged("old"), quiet=True), flagged("new"))
    bench.run(5)
    assert bench.hook.taken == ["s_0_1"]


def test_only_what_is_wanted_is_sent() -> None:
    bench = Bench(wanted=lambda entry: counts_in(entry, "blocked", Decision.DUPLICATE))
    bench.log.add(flagged("a"), flagged("b", "blocked"))
    bench.run(2)
    assert bench.hook.taken == ["s_0_1"]


def test_what_is_not_taken_is_sent_again_after_pauses_that_double_and_the_next_waits() -> None:
    bench = Bench()
    bench.log.add(flagged("a"))
    bench.log.add(flagged("b"))
    bench.hook.refuses = lambda id: DeliveryRefused("status 500") if id == "s_0_0" else None
    bench.run(40)
    assert bench.hook.pauses() == pytest.approx([0.5, 1, 2, 4, 8, 16], abs=0.6)
    assert bench.hook.taken == []
    assert bench.log.committed == 0
    bench.hook.refuses = lambda _: None
    bench.run(40)
    assert bench.hook.taken == ["s_0_0", "s_1_0"]
    assert bench.log.committed == 2


def test_a_pause_that_the_receiver_asks_for_is_kept_within_bounds() -> None:
    bench = Bench()
    bench.log.add(flagged("a"))
    bench.hook.refuses = lambda _: DeliveryRefused("status 503", pause_seconds=60.0)
    bench.run(100)
    bench.hook.refuses = lambda _: DeliveryRefused("status 503", pause_seconds=1e9)
    bench.run(700)
    assert bench.hook.pauses() == pytest.approx([60, 60, 300, 300], abs=0.6)


def test_an_event_is_given_up_a_day_after_it_was_flagged_and_the_next_goes_on() -> None:
    bench = Bench()
    bench.log.add(flagged("a"))
    bench.log.add(flagged("b"))
    bench.hook.refuses = lambda id: DeliveryRefused("status 410") if id == "s_0_0" else None
    bench.run(DAY - 700)
    assert bench.parked.letters == []
    bench.run(1000)
    ((id, why, offset, attempts),) = bench.parked.letters
    assert (id, why, offset) == ("s_0_0", "status 410", 0)
    assert attempts > DAY / 300
    assert bench.hook.taken == ["s_1_0"]
    assert bench.log.committed == 2


def test_an_old_event_has_a_few_attempts_all_the_same() -> None:
    bench = Bench()
    bench.clock.now += 10 * DAY
    bench.log.add(flagged("a"))
    bench.hook.refuses = lambda _: DeliveryRefused("status 500")
    bench.run(60)
    assert [attempts for *_, attempts in bench.parked.letters] == [LEAST_ATTEMPTS]


def test_many_given_up_in_a_row_mean_that_the_receiver_is_wrong() -> None:
    bench = Bench(most_parked=3)
    bench.clock.now += 10 * DAY
    for number in range(5):
        bench.log.add(flagged(f"i{number}"))
    bench.hook.refuses = lambda _: DeliveryRefused("status 404")
    with pytest.raises(ConfigError, match=r"3 events in a row.*example\.org takes none \(status 404\)"):
        bench.run(600)
    assert len(bench.parked.letters) == 3
    assert bench.log.committed == 3


def test_the_next_worker_goes_on_where_this_one_had_come_to() -> None:
    bench = Bench()
    bench.log.add(flagged("a"))
    bench.log.add(flagged("b"), flagged("c"))
    bench.hook.refuses = lambda id: DeliveryRefused("status 500") if id == "s_1_1" else None
    bench.run(3)
    bench.worker.drain(1)
    assert bench.log.committed == 1
    bench.log.at = bench.log.committed
    bench.hook.refuses = lambda _: None
    bench.worker = bench.another()
    bench.run(3)
    assert bench.hook.taken == ["s_0_0", "s_1_0", "s_1_0", "s_1_1"]  # once more, with the same id


def test_how_long_the_first_event_has_waited_is_told() -> None:
    def waiting() -> float | None:
        return REGISTRY.get_sample_value("neardup_webhook_waiting_seconds")

    bench = Bench()
    bench.log.add(flagged("a"))
    bench.hook.refuses = lambda _: DeliveryRefused("status 500")
    bench.run(20)
    assert waiting() == pytest.approx(20, abs=1)
    bench.hook.refuses = lambda _: None
    bench.run(20)
    assert waiting() == 0


def test_a_trace_is_handed_on_and_in_the_lines_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.log.add(flagged("a"), traceparent=TRACE)
    bench.log.add(flagged("b"))
    bench.hook.refuses = lambda _: DeliveryRefused("status 500") if len(bench.hook.tried) < 2 else None
    with caplog.at_level("INFO", "neardup.workers.webhook.worker"):
        bench.run(10)
    assert bench.hook.traceparents == [TRACE, ""]
    refused, taken = (fields_of(record) for record in caplog.records)
    assert (refused[0], refused[1]["trace_id"]) == ("webhook event not taken", TRACE[3:35])
    assert taken == ("webhook event taken", {"event": "0.0", "trace_id": TRACE[3:35]})


def test_what_another_worker_took_over_is_not_sent() -> None:
    bench = Bench()
    bench.log.add(flagged("a"))
    bench.hook.refuses = lambda _: DeliveryRefused("status 500")
    bench.worker.step()
    tried = len(bench.hook.tried)
    bench.log.was_lost = True
    bench.run(30)
    assert len(bench.hook.tried) == tried
    assert bench.log.committed == 0


def test_workers_of_one_receiver_and_filter_share_a_place_and_others_do_not() -> None:
    def group(**given: str) -> str:
        return group_of(Settings(**{"webhook_url": "https://a.example/", **given}), "v")  # type: ignore[arg-type]

    groups: Sequence[str] = [
        group(),
        group(webhook_url="https://b.example/"),
        group(webhook_bank="blocked"),
        group(webhook_decision="unsure"),
    ]
    assert len(set(groups)) == 4
    assert group() == groups[0]
    assert "a.example" not in groups[0]


def test_what_another_space_has_told_is_not_sent() -> None:
    bench = Bench()
    worker = WebhookWorker(
        bench.log, bench.hook, bench.parked, "s", clock=bench.clock, counts=lambda offset: offset > 0
    )  # fmt: skip
    bench.log.add(flagged("told"))
    bench.log.add(flagged("new"))
    worker.step()
    worker.drain(1)
    assert bench.hook.taken == ["s_1_0"]
    assert bench.log.committed == 2


@pytest.mark.parametrize(
    ("spaces", "known", "begin"),
    [(SWITCHED, True, 120), (SWITCHED, False, None), (SWITCHED.without("old"), False, 120), (None, True, None)],
)
def test_after_a_switch_a_receiver_goes_on_with_the_turn_and_a_new_one_begins_at_the_end(
    spaces: Spaces | None, known: bool, begin: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Verdicts:
        def __init__(self, _settings: Settings, topic: str) -> None:
            assert topic == "neardup.verdicts.new"

        def close(self) -> None: ...

    monkeypatch.setattr(module, "has_begun", lambda _settings, topic: known and topic == "neardup.verdicts.old")
    monkeypatch.setattr(module, "Tail", Verdicts)
    monkeypatch.setattr(module, "locate", lambda _tail, offset: offset)
    gate, _ = a_gate("new", spaces)
    assert turn_begin(Settings(), gate, "neardup.verdicts.new") == begin
    gate.close()
