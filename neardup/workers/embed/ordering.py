"""Turns: what has to leave in the order in which it came, however it is finished in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Turn:
    """One place in the row of a key; `act` is what waits to be done when it is at the front."""

    key: str
    act: Callable[[], object] | None = None


class Turns:
    """One row for each key; used by one thread."""

    def __init__(self) -> None:
        self._rows: dict[str, deque[Turn]] = {}

    def take(self, key: str) -> Turn:
        """Take a place at the end of the key's row."""
        turn = Turn(key)
        self._rows.setdefault(key, deque()).append(turn)
        return turn

    def act(self, turn: Turn, act: Callable[[], object]) -> None:
        """Do it once everything before it has been done; that may be now."""
        turn.act = act
        row = self._rows[turn.key]
        while row and (due := row[0].act) is not None:
            row.popleft()
            due()
        if not row:
            del self._rows[turn.key]
