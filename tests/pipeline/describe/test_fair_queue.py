from __future__ import annotations

import queue
import threading

import pytest

from neardup.pipeline.describe.fair_queue import FairQueue


def waiting(*items: str) -> FairQueue[str]:
    """Return a queue of items whose first letter is their sender."""
    made: FairQueue[str] = FairQueue(lambda item: item[0])
    for item in items:
        made.put(item)
    return made


def taken(items: FairQueue[str]) -> list[str]:
    return [items.get_nowait() for _ in range(items.qsize())]


def test_senders_take_turns_and_each_keeps_its_order() -> None:
    assert taken(waiting("a1", "a2", "a3", "a4", "b1", "b2", "c1")) == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


def test_a_late_sender_waits_for_one_item_of_each_other() -> None:
    items = waiting(*(f"a{number}" for number in range(1000)))
    assert items.get_nowait() == "a0"
    items.put("b0")
    assert [items.get_nowait() for _ in range(3)] == ["a1", "b0", "a2"]
    assert items.qsize() == 997


def test_an_empty_queue_says_so_and_wakes_who_waits() -> None:
    items = waiting()
    with pytest.raises(queue.Empty):
        items.get_nowait()
    got: list[str] = []
    thread = threading.Thread(target=lambda: got.append(items.get(timeout=60)))
    thread.start()
    items.put("a1")
    thread.join(60)
    assert got == ["a1"]
