from __future__ import annotations

import pytest

from neardup.pipeline.log.records import Removed
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.memory import MemoryStore
from neardup.workers.api.turns import TurnsFeed
from neardup.workers.kafka.changes import KafkaWrites
from neardup.workers.kafka.spaces import Spaces, StandsBy
from neardup.workers.kafka.topics import topic_names
from tests.workers.api.build import Api
from tests.workers.api.test_feed import flagged
from tests.workers.kafka.test_spaces import BACK, FIRST, SWITCHED, a_gate


def a_feed(spaces: Spaces | None, space: str = "old") -> TurnsFeed:
    """What two spaces flagged: the old one at 10, 99, 100, 130 and 140; the new one at 10, 119, 120, 150 and 151."""
    stores = {"old": MemoryStore(), "new": MemoryStore()}
    stores["old"].apply([flagged(offset) for offset in (10, 99, 100, 130, 140)])
    stores["new"].apply([flagged(offset) for offset in (10, 119, 120, 150, 151)])
    gate, _ = a_gate(space, spaces)
    return TurnsFeed(stores[space], lambda name: stores[name], gate)


def told(feed: TurnsFeed, after: str = "", count: int = 100) -> list[tuple[str, str]]:
    return [(entry.event, entry.verdict.id) for entry in feed.feed(after, count)]


def test_without_a_second_space_the_feed_is_the_space_s_own() -> None:
    assert [event for event, _ in told(a_feed(None, "new"))] == ["10.0", "119.0", "120.0", "150.0", "151.0"]
    assert a_feed(None, "new").applied() == 151


def test_a_space_that_stands_by_tells_nothing_of_its_own() -> None:
    assert told(a_feed(FIRST, "new")) == told(a_feed(FIRST, "old")) == told(a_feed(None, "old"))


def test_after_a_switch_it_goes_on_with_the_new_space_and_rising_numbers() -> None:
    for space in ("old", "new"):
        feed = a_feed(SWITCHED, space)
        everything = told(feed)
        assert everything == [
            ("10.0", "i10"), ("99.0", "i99"), ("100.0", "i120"), ("130.0", "i150"), ("131.0", "i151"),
        ]  # fmt: skip
        assert feed.applied() == 131
        for place, (event, _) in enumerate(everything):
            assert told(feed, event) == everything[place + 1 :]
            assert told(feed, event, 1) == everything[place + 1 : place + 2]


def test_after_a_switch_back_each_is_told_once() -> None:
    assert told(a_feed(BACK)) == [
        ("10.0", "i10"), ("99.0", "i99"), ("100.0", "i120"), ("130.0", "i150"), ("131.0", "i130"), ("141.0", "i140"),
    ]  # fmt: skip


def test_what_a_dropped_space_told_is_passed_over() -> None:
    assert told(a_feed(SWITCHED.without("old"), "new"), "5.0") == [
        ("100.0", "i120"), ("130.0", "i150"), ("131.0", "i151"),
    ]  # fmt: skip


def test_a_space_that_stands_by_is_not_ready_and_says_why(api: Api) -> None:
    assert api.client.get("/readyz").status_code == 200
    api.context.standing_by = lambda: "space new stands by"
    answer = api.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["why"] == "space new stands by"


def test_changes_of_a_space_that_stands_by_are_refused() -> None:
    gate, _ = a_gate("new", FIRST)
    writes = KafkaWrites(Settings(), topic_names("neardup", "new"), gate)
    with pytest.raises(StandsBy, match="stands by, old serves"):
        writes.append([Removed(id="a")])
