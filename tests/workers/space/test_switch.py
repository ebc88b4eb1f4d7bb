from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.spaces import Spaces, Turn
from neardup.workers.space.switch import Switch

BEGUN = Spaces(turns=(Turn(space="old"),), standby=("new",))


class Topic:
    def __init__(self, spaces: Spaces) -> None:
        self.spaces = spaces

    def read(self) -> Spaces:
        return self.spaces


def a_switch(now: Spaces) -> Switch:
    """Return one that began with `BEGUN`, and has filled since."""
    nothing: Any = None
    topic: Any = Topic(now)
    return Switch(Settings(), topic, BEGUN, "new", nothing, 1.0, print)


def test_a_space_that_was_made_while_another_was_filled_still_stands_by() -> None:
    switch = a_switch(BEGUN.with_standby("third"))
    switch._look_again()
    assert switch._spaces.standby == ("new", "third")


@pytest.mark.parametrize(
    "now", [BEGUN.without("new"), replace(BEGUN, turns=(Turn(space="third"),)), BEGUN.switched("new", 1, 2)]
)
def test_a_switch_of_what_changed_meanwhile_is_refused(now: Spaces) -> None:
    with pytest.raises(ConfigError, match="meanwhile"):
        a_switch(now)._look_again()
