from __future__ import annotations

import time

import pytest

from tests.timing import when


def test_a_block_that_fails_ends_the_wait_without_the_act() -> None:
    acts: list[str] = []
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), when(lambda: False, lambda: acts.append("late")):
        raise KeyboardInterrupt
    assert not acts
    assert time.monotonic() - began < 60


def test_what_the_act_fails_with_is_raised() -> None:
    def act() -> None:
        pytest.fail("wrong")

    with pytest.raises(pytest.fail.Exception, match="wrong"), when(lambda: True, act):
        pass
