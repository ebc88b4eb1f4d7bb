"""Named points at which a crash leaves things differently. Tests make a process die there; else nothing listens.

`tests/faults` kills workers at each of them and looks at what Kafka and Redis hold afterwards.
"""

from __future__ import annotations

from collections.abc import Callable

EMBED = ("taken", "described", "sent", "acknowledged", "committing", "committed")
MATCH = ("took-over", "applied", "in-transaction", "published", "snapshot-begun", "snapshot-ended", "saved")
SNAPSHOT = ("vectors-flushed", "snapshot-half-written", "snapshot-written", "snapshot-named")
"""Inside of a snapshot, which a copy of the match worker writes."""
FLAG = ("polled", "flagged")
PROVE = ("proved", "appended")

_listeners: list[Callable[[str], object]] = []


def listen(listener: Callable[[str], object]) -> None:
    """Report every point that this process reaches to a listener."""
    _listeners.append(listener)


def reached(name: str) -> None:
    """Tell that a point was reached; from any thread."""
    for listener in _listeners:
        listener(name)
