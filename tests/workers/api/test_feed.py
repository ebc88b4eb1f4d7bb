from __future__ import annotations

import asyncio
import json
from contextlib import AbstractContextManager, aclosing

import pytest

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.records import Envelope, Matched, Verdict
from neardup.pipeline.store.interface import FeedEntry
from neardup.pipeline.store.memory import MemoryStore
from neardup.pipeline.types import Decision
from neardup.workers.api.feed import Hub, order
from tests.pipeline.match.build import picture
from tests.timing import LATE_SECONDS, when
from tests.workers.api.build import Api


def flagged(offset: int, decision: Decision = Decision.DUPLICATE, bank: str = "seen") -> Envelope:
    match = Matched(reference="r", bank=bank, decision=decision, distance=0.1, evidence=0.9, probability=0.9)
    return Envelope(offset=offset, events=(Verdict(id=f"i{offset}", decision=decision, matches=(match,)),))


def events(text: str) -> list[tuple[str, str, str]]:
    """Return id, event and the item of each event."""
    found = []
    for block in text.split("\n\n"):
        told = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "data" in told:
            found.append((told["id"], told["event"], json.loads(told["data"])["id"]))
    return found


def b2_comes(api: Api) -> AbstractContextManager[None]:
    """Have an item flagged once somebody watches the feed."""
    return when(lambda: api.context.hub.watching, lambda: api.log.append([picture("b2", 62)]))


def test_from_the_beginning_all_is_told_and_then_what_comes(api: Api) -> None:
    with b2_comes(api):
        text = api.client.get("/v1/feed?after=0&limit=2").text
    assert events(text) == [("1.0", "duplicate", "a2"), ("4.0", "duplicate", "b2")]


def test_without_a_place_it_begins_now(api: Api) -> None:
    with b2_comes(api):
        assert [item for _, _, item in events(api.client.get("/v1/feed?limit=1").text)] == ["b2"]


def test_it_goes_on_after_the_last_event_that_was_seen(api: Api) -> None:
    api.log.append([picture("b2", 62), picture("c2", 121)])
    answer = api.client.get("/v1/feed?limit=2", headers={"Last-Event-ID": "1.0"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [item for _, _, item in events(answer.text)] == ["b2", "c2"]


def test_banks_and_decisions_are_chosen(api: Api) -> None:
    api.store.clear()
    api.store.apply([flagged(0), flagged(1, Decision.UNSURE), flagged(2, bank="blocked")])
    unsure = api.client.get("/v1/feed?after=0&limit=1&decision=unsure").text
    assert events(unsure) == [("1.0", "unsure", "i1")]
    assert events(api.client.get("/v1/feed?after=0&limit=1&bank=blocked").text) == [("2.0", "duplicate", "i2")]


@pytest.mark.parametrize("place", ["x", "1", "-1.0", "1.0.0", "1.0 or 1"])
def test_a_place_that_is_none_is_refused(api: Api, place: str) -> None:
    assert api.client.get("/v1/feed", headers={"Last-Event-ID": place}).status_code == 422


class Flaky(MemoryStore):
    """Fails each other time."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def feed(self, after: str, count: int) -> list[FeedEntry]:
        self.calls += 1
        if self.calls % 2:
            raise DependencyError("Redis: away")
        return super().feed(after, count)


def test_many_who_watch_all_get_all_once_and_in_order_whatever_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neardup.workers.api.feed._AFTER_FAILURE_SECONDS", 0.001)
    monkeypatch.setattr("neardup.workers.api.feed._KEPT", 8)
    store = Flaky()
    count = 60

    async def watch(hub: Hub, after: str, wanted: int) -> list[str]:
        seen = []
        async for entry in hub.entries(after, 0.05):
            if entry is not None:
                seen.append(entry.event)
                if len(seen) == wanted:
                    break
        return seen

    async def run() -> list[list[str]]:
        hub = Hub(store)
        store.apply([flagged(offset) for offset in range(10)])
        watchers = [asyncio.create_task(watch(hub, after, count - skipped)) for after, skipped in
                    (("", 0), ("4.0", 5), ("9.0", 10))]  # fmt: skip
        for offset in range(10, count):
            store.apply([flagged(offset)])
            await asyncio.sleep(0.002)
        return await asyncio.wait_for(asyncio.gather(*watchers), LATE_SECONDS)

    everything = [f"{offset}.0" for offset in range(count)]
    assert asyncio.run(run()) == [everything, everything[5:], everything[10:]]


def test_nobody_watches_nobody_looks() -> None:
    store = Flaky()

    async def run() -> None:
        hub = Hub(store)
        async with aclosing(hub.entries("", 0.01)) as entries:  # type: ignore[type-var]
            async for _ in entries:
                break
        assert store.calls
        assert hub._task is not None
        await asyncio.wait_for(hub._task, LATE_SECONDS)  # what looks has ended

    asyncio.run(run())


def test_events_stand_in_the_order_of_the_log() -> None:
    assert sorted(["10.0", "9.1", "9.10", "9.2", ""], key=order) == ["", "9.1", "9.2", "9.10", "10.0"]
