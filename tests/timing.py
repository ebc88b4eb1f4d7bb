"""How long something takes on a machine that does other things meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable


def soonest(act: Callable[[], object], wanted_seconds: float, attempts: int = 10) -> float:
    """Return the shortest time of some attempts, in seconds; one within what is wanted is the last.

    What else a machine does makes some attempts slow; what is slow itself is slow in all of them.
    """
    best = float("inf")
    for _ in range(attempts):
        began = time.monotonic()
        act()
        best = min(best, time.monotonic() - began)
        if best < wanted_seconds:
            break
    return best
