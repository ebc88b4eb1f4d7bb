"""What must leave in the order in which it came, for each key, whatever finishes first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Slot:
    """One place in the row of a key; `act` is what waits to be done when it is at the front."""

    key: str
    act: Callable[[], object] | None = None


class KeyOrder:
    """One row for each key; used by one thread."""

    def __init__(self) -> None:
        self._rows: dict[str, deque[Slot]] = {}

    def take(self, key: str) -> Slot:
        """Take a place at the end of the key's row."""
        slot = Slot(key)
        self._rows.setdefault(key, deque()).append(slot)
        return slot

    def act(self, slot: Slot, act: Callable[[], object]) -> None:
        """Do it once everything before it has been done; that may be now."""
        slot.act = act
        row = self._rows[slot.key]
        while row and (due := row[0].act) is not None:
            row.popleft()
            due()
        if not row:
            del self._rows[slot.key]
