from __future__ import annotations

from neardup.pipeline.describe.watch import Patience
from neardup.pipeline.errors import Reason
from neardup.pipeline.types import Limits


class World:
    """A clock, and a process that is on a processor, asleep, or waits for one."""

    def __init__(self, fetch_seconds: float = 0.0) -> None:
        self.now = self.busy = 0.0
        self.asleep = False
        self.patience = Patience(
            Limits(max_decode_seconds=10.0), lambda _: (self.busy, self.asleep), lambda: self.now, fetch_seconds
        )

    def ended_within(self, seconds: int, beats: int, busy: float, asleep: bool = False, item: int = 7) -> str:
        """Look twice a second; return why the process is ended, "" where it is not."""
        self.asleep = asleep
        for _ in range(2 * seconds):
            self.now += 0.5
            self.busy += 0.5 * busy
            if error := self.patience.ended(1, item, beats):
                assert error.reason is Reason.TOO_SLOW
                return error.detail
        return ""


def test_a_decoder_that_does_not_come_back_is_ended_after_its_processor_seconds() -> None:
    world = World()
    assert world.ended_within(9, 1, busy=1.0) == ""
    assert world.ended_within(9, 2, busy=1.0) == ""  # a sign of life
    assert "within 10 seconds of processor time" in world.ended_within(9, 2, busy=1.0)


def test_a_busy_machine_costs_no_item() -> None:
    assert World().ended_within(1000, 1, busy=0.005) == ""


def test_a_decoder_that_sleeps_is_ended_after_longer() -> None:
    world = World()
    assert world.ended_within(40, 1, busy=0.0, asleep=True) == ""
    assert "did nothing for 50 seconds" in world.ended_within(15, 1, busy=0.0, asleep=True)


def test_time_in_which_the_watcher_was_stopped_does_not_count() -> None:
    world = World()
    assert world.ended_within(30, 1, busy=0.0, asleep=True) == ""
    world.now += 3600
    assert world.ended_within(15, 1, busy=0.0, asleep=True) == ""


def test_the_network_has_time_however_little_an_item_may_take() -> None:
    world = World()
    assert world.ended_within(50, 1, busy=1.0, item=0) == ""
    assert "within 60 seconds" in world.ended_within(15, 1, busy=1.0, item=0)


def test_content_may_come_as_slowly_as_fetching_may_take() -> None:
    world = World(fetch_seconds=600.0)
    assert world.ended_within(640, 1, busy=0.0, asleep=True) == ""
    assert "did nothing for 650 seconds" in world.ended_within(15, 1, busy=0.0, asleep=True)
