"""Whether a process that describes still makes progress with the item that it is at.

An item has a budget of processor seconds, which decoding itself counts (`media/budget.py`). A native call that does not
return counts nothing; so the process is watched from outside. Its seconds are those that it was on a processor, so a
busy machine costs no item. A process that sleeps, and not for want of a processor, is given longer.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.types import Limits

LOOK_SECONDS = 0.1
_MOST_AT_ONCE = 1.0
"""Seconds without a look that count: in more this process itself was stopped."""
_ASLEEP_FACTOR, _ASLEEP_SECONDS = 2.0, 30.0
_EMBED_SECONDS = 60.0
"""Processor seconds for a batch of the network at the least: it belongs to no item, whatever an item may take."""
_TICK = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01


class Patience:
    """What one process has cost since its last sign of life.

    Args:
        limits: what an item may ask for.
        fetch_seconds: how long it may wait for content.
        look: returns the processor seconds of a process, and whether it sleeps.
    """

    def __init__(
        self,
        limits: Limits,
        look: Callable[[int], tuple[float, bool]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        fetch_seconds: float = 0.0,
    ) -> None:
        self._seconds = limits.max_decode_seconds
        self._asleep_seconds = _ASLEEP_FACTOR * self._seconds + _ASLEEP_SECONDS + fetch_seconds
        self._look = look or look_at
        self._clock = clock
        self._sign = (0, -1)
        self._busy_before: float | None = None
        self._asleep = 0.0
        self._looked_at = clock()

    def ended(self, pid: int, item: int, beats: int) -> InvalidFrame | None:
        """Return why a process is to be ended, None where it is not; to be asked every LOOK_SECONDS while it works.

        Args:
            item: 0 where it is at none of them, as while the network runs.
        """
        now = self._clock()
        passed, self._looked_at = min(now - self._looked_at, _MOST_AT_ONCE), now
        if (item, beats) != self._sign:  # it goes on, and its seconds count from the next look
            self._sign, self._busy_before, self._asleep = (item, beats), None, 0.0
            return None
        busy, asleep = self._look(pid)
        if self._busy_before is None:
            self._busy_before = busy
        self._asleep = self._asleep + passed if asleep else 0.0
        seconds = self._seconds if item else max(self._seconds, _EMBED_SECONDS)
        if busy - self._busy_before > seconds:
            return InvalidFrame(
                Reason.TOO_SLOW, f"its decoder did not come back within {seconds:g} seconds of processor time"
            )
        if self._asleep > self._asleep_seconds:
            return InvalidFrame(
                Reason.TOO_SLOW, f"its decoder did nothing for {self._asleep_seconds:g} seconds, and was ended"
            )
        return None


def look_at(pid: int) -> tuple[float, bool]:
    """Return the processor seconds of a process so far, and whether it sleeps; where nobody knows, that it does."""
    if sys.platform == "linux":
        try:
            # after the name, which may hold spaces and brackets: state is field 0, user time 11, system time 12
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0, False  # it has ended
        return (int(fields[11]) + int(fields[12])) * _TICK, fields[0] in "SD"
    return 0.0, True
