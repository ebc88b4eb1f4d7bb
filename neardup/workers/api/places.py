"""How much may be under way at once, of each token and in all; some of it is for administrators alone.

Counted are requests, feeds that are watched, and bytes of uploads. Whoever sends no token shares one share.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from neardup.workers.api.auth import Caller, Role
from neardup.workers.api.problems import Problem

_AGAIN = {"Retry-After": "1"}


@dataclass(frozen=True, slots=True)
class Shares:
    """How places are shared.

    Attributes:
        each: that one token may take, at most; an administrator's may take all.
        reserve: that only administrators may take.
    """

    each: float = 0.5
    reserve: float = 0.125


class Places:
    """Counts what is under way; belongs to the event loop.

    Args:
        what: in words. setting: that says how many there are.
        most: in all.
    """

    def __init__(self, what: str, setting: str, most: int, shares: Shares) -> None:
        self._what, self._setting, self._most = what, setting, most
        self._each = max(1, int(shares.each * most))
        self._open = most - int(shares.reserve * most)
        self._taken: Counter[str] = Counter()
        self._of_admins = 0

    def check(self, caller: Caller | None, amount: int = 1) -> None:
        """Raise where there is no room.

        Raises:
            Problem: `too-many` of this caller, or `busy` in all.
        """
        own, total = self._taken[_name(caller)], self._taken.total()
        if _is_admin(caller):
            has_room = total + amount <= self._most
        elif own and own + amount > self._each:
            detail = f"{own} {self._what} of this token are under way, at most {self._each} (NEARDUP_API_TOKEN_SHARE)"
            raise Problem("too-many", detail, "Wait until some of them are done.", headers=_AGAIN)
        else:
            has_room = total + amount <= self._most and total - self._of_admins + amount <= self._open
        if not has_room:
            detail = f"{total} {self._what} are under way in this process ({self._setting})"
            raise Problem("busy", detail, headers=_AGAIN)

    def take(self, caller: Caller | None, amount: int = 1) -> None:
        """Count some more; raises as `check`."""
        self.check(caller, amount)
        self._count(caller, amount)

    def give_back(self, caller: Caller | None, amount: int = 1) -> None:
        """Count some less."""
        self._count(caller, -amount)

    def _count(self, caller: Caller | None, amount: int) -> None:
        name = _name(caller)
        self._taken[name] += amount
        self._of_admins += amount * _is_admin(caller)
        if not self._taken[name]:
            del self._taken[name]


class Upload:
    """The bytes that one request has sent; they count until it is answered."""

    def __init__(self, places: Places, caller: Caller | None) -> None:
        self._places = places
        self._caller = caller
        self._taken = 0

    def expect(self, amount: int) -> None:
        """Check that there is room for what is announced; raises Problem."""
        self._places.check(self._caller, amount)

    def take(self, amount: int) -> None:
        """Count what came; raises Problem."""
        self._places.take(self._caller, amount)
        self._taken += amount

    def close(self) -> None:
        """Let others have the room."""
        self._places.give_back(self._caller, self._taken)
        self._taken = 0


def _name(caller: Caller | None) -> str:
    return "" if caller is None else caller.name


def _is_admin(caller: Caller | None) -> bool:
    return caller is not None and caller.role is Role.ADMIN
