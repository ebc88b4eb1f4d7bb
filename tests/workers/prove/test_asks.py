"""What a prove worker takes of `asks`, and what it commits, with a client that a test feeds."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.proofs import Ask, Asked
from neardup.workers.kafka.log import encode, read_asked
from neardup.workers.prove.asks import AskGroup
from neardup.workers.run.telemetry import ASKS_PASSED_OVER

ONE, TWO = TopicPartition("asks", 0), TopicPartition("asks", 1)
NOW_SECONDS = 1_800_000_000.0
DAY_MS = 24 * 3600 * 1000


def asked(id: str, later: bool = False) -> Asked:
    return Asked(id=id, offset=0, asks=(Ask(bank="seen", reference="r", offset=0),), later=later)


class Client:
    """As much of kafka-python's consumer as there has to be."""

    def __init__(self) -> None:
        self._coordinator = SimpleNamespace(need_rejoin=lambda: False)
        self._fetcher = SimpleNamespace(_next_partition_records=None)
        self.given = {ONE, TWO}
        self.held: set[TopicPartition] = set()
        self.polls: list[dict[TopicPartition, list[Any]]] = []
        self.committed: dict[TopicPartition, int] = {}
        self.offsets = dict.fromkeys((ONE, TWO), 0)
        self.before_poll = lambda: None
        self.marks = 0
        """Ends of transactions after the last message, each of which takes an offset."""

    def subscribe(self, _topics: list[str], listener: Any) -> None:
        self.listener = listener

    def assignment(self) -> set[TopicPartition]:
        return set(self.given)

    def paused(self) -> set[TopicPartition]:
        return set(self.held)

    def pause(self, *partitions: TopicPartition) -> None:
        self.held |= set(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self.held -= set(partitions)

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        assert timeout_ms >= 0
        assert max_records > 0
        self.before_poll()
        return self.polls.pop(0) if self.polls and not self.held else {}

    def commit_async(self, offsets: dict[TopicPartition, Any], callback: Any) -> None:
        self.commit(offsets, 0)
        callback(offsets, None)

    def commit(self, offsets: dict[TopicPartition, Any], timeout_ms: int) -> None:
        assert timeout_ms >= 0
        self.committed |= {partition: one.offset for partition, one in offsets.items()}

    def position(self, partition: TopicPartition, timeout_ms: int) -> int:
        assert timeout_ms == 0
        return self.offsets[partition] + self.marks

    def records(self, partition: TopicPartition, *values: Asked | bytes, age_ms: float = 0.0) -> None:
        """Have them polled at once, with what is polled already."""
        made, timestamp = [], 1000 * NOW_SECONDS - age_ms
        for value in values:
            data, offset = value if isinstance(value, bytes) else encode(value), self.offsets[partition]
            made.append(SimpleNamespace(value=data, offset=offset, timestamp=timestamp, headers=[], topic="asks"))
            self.offsets[partition] += 1
        self.polls.append({partition: made})

    def lose(self, *partitions: TopicPartition) -> None:
        self.given -= set(partitions)
        asyncio.run(self.listener.on_partitions_lost(partitions))


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def group(client: Client, monkeypatch: pytest.MonkeyPatch) -> AskGroup:
    monkeypatch.setattr("neardup.workers.prove.asks._COMMIT_SECONDS", 0.0)
    return AskGroup(client, "asks", lambda: NOW_SECONDS)


def count(reason: str) -> float:
    return float(ASKS_PASSED_OVER.labels(reason)._value.get())


def test_an_offset_is_committed_once_all_before_it_are_done(client: Client, group: AskGroup) -> None:
    client.records(ONE, asked("a"), asked("b"), asked("c"))
    first, second, third = group.take(9, 0.0)
    group.done([second, third])
    assert client.committed == {}
    group.done([first])
    assert client.committed == {ONE: 3}


def test_the_end_of_a_transaction_is_no_message_that_waits(client: Client, group: AskGroup) -> None:
    client.given, client.marks = {ONE}, 1
    client.records(ONE, asked("a"), asked("b"))
    first, second = group.take(9, 0.0)
    group.done([second])
    assert client.committed == {}
    group.done([first])
    assert client.committed == {ONE: 3}


def test_where_only_the_end_of_a_transaction_is_left_nothing_waits(client: Client, group: AskGroup) -> None:
    client.offsets[TWO], client.marks = 7, 1  # another worker committed up to the last message, and ended
    assert group.take(9, 0.0) == []
    assert client.committed[TWO] == 8


def test_later_work_goes_after_all_that_was_polled(client: Client, group: AskGroup) -> None:
    client.records(ONE, asked("later", later=True), asked("a"))
    client.records(TWO, asked("b"))
    assert [one.asked.id for one in group.take(1, 0.0)] == ["a"]
    assert [one.asked.id for one in group.take(9, 0.0)] == ["b", "later"]


def test_other_work_is_polled_past_any_amount_of_later_work(client: Client, group: AskGroup) -> None:
    for start in range(0, 2000, 250):
        client.records(ONE, *(asked(f"later-{n}", later=True) for n in range(start, start + 250)))
    client.records(ONE, asked("a"))
    assert [one.asked.id for one in group.take(2, 0.0)] == ["a", "later-0"]
    assert client.held == set()


@pytest.mark.parametrize("value", [b"", b"\x93", encode({"id": 3}), encode(Asked(id="a", offset=0))])
def test_what_asks_for_nothing_is_passed_over_and_committed(client: Client, group: AskGroup, value: bytes) -> None:
    before = count("malformed")
    assert isinstance(read_asked(value), str)
    client.records(ONE, value)
    assert group.take(9, 0.0) == []
    assert (count("malformed"), client.committed) == (before + 1, {ONE: 1})


def test_what_is_a_day_old_is_passed_over_and_nothing_younger(client: Client, group: AskGroup) -> None:
    before = count("expired")
    client.records(ONE, asked("old"), age_ms=DAY_MS)
    client.records(ONE, asked("young"), age_ms=DAY_MS - 1000)
    assert group.take(9, 0.0) == []
    assert [one.asked.id for one in group.take(9, 0.0)] == ["young"]
    assert count("expired") == before + 1


def test_what_another_worker_has_by_now_is_neither_taken_nor_committed(client: Client, group: AskGroup) -> None:
    client.records(ONE, asked("a"), asked("b"))
    [first] = group.take(1, 0.0)
    client.lose(ONE)
    assert group.take(9, 0.0) == []
    group.done([first])
    group.commit()
    assert client.committed == {}


def test_a_partition_that_went_and_came_back_within_a_poll_ends_the_worker(client: Client, group: AskGroup) -> None:
    def go_and_come_back() -> None:
        client.lose(ONE)
        client.given.add(ONE)

    client.records(ONE, asked("a"))
    client.before_poll = go_and_come_back
    with pytest.raises(DependencyError, match="partition 0"):
        group.take(9, 0.0)


def test_no_more_is_polled_while_enough_waits(client: Client, group: AskGroup) -> None:
    client.records(ONE, *(asked(str(number)) for number in range(300)))
    client.records(TWO, asked("more"))
    assert len(group.take(1, 0.0)) == 1
    assert len(group.take(100, 0.0)) == 100
    assert client.held == {ONE, TWO}
    assert [one.asked.id for one in group.take(500, 0.0)][-1] == "more"
    assert client.held == set()


def test_the_last_commit_has_all_that_is_done(client: Client, group: AskGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neardup.workers.prove.asks._COMMIT_SECONDS", 1e9)
    client.records(ONE, asked("a"), asked("b"))
    group.done(group.take(1, 0.0))
    assert client.committed == {}
    group.commit()
    assert client.committed == {ONE: 1}
