"""How often an address may present a token that is not known.

Beyond that nothing that it presents is looked up, but for what has been right from there before: so nobody is shut out
by a stranger behind the same address. Memory is bounded, the oldest goes first.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

MOST_ADDRESSES = 10_000


class Attempts:
    """Counts wrong tokens; used by the event loop.

    Args:
        per_minute: wrong ones of one address, on average and at once; 0 is no limit.
        clock: seconds.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_minute / 60
        self._most = max(1.0, per_minute)
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._right: OrderedDict[tuple[str, str], None] = OrderedDict()

    def wait(self, address: str, digest: str) -> float:
        """Return the seconds until a token with this hash may be looked up; 0 is now."""
        place = _network(address)
        if self._per_second <= 0 or (place, digest) in self._right:
            return 0.0
        left = self._now(place)
        return 0.0 if left >= 1.0 else (1.0 - left) / self._per_second

    def note(self, address: str, digest: str, right: bool) -> None:
        """Note whether a token was known."""
        if self._per_second <= 0:
            return
        place = _network(address)
        if right:
            self._right[place, digest] = None
            self._right.move_to_end((place, digest))
            _bound(self._right)
            return
        self._right.pop((place, digest), None)  # it was withdrawn
        self._left[place] = (max(0.0, self._now(place) - 1.0), self._clock())
        self._left.move_to_end(place)
        _bound(self._left)

    def _now(self, place: str) -> float:
        left, then = self._left.get(place, (self._most, 0.0))
        return min(self._most, left + (self._clock() - then) * self._per_second)


def _network(address: str) -> str:
    """Return what one who is connected has for himself: an address, of IPv6 the first 64 bits."""
    with suppress(ValueError):
        ip = ipaddress.ip_address(address.partition("%")[0])
        if ip.version == 6:
            return str(ipaddress.ip_network((int(ip) >> 64 << 64, 64)))
    return address


def _bound(kept: OrderedDict[str, tuple[float, float]] | OrderedDict[tuple[str, str], None]) -> None:
    if len(kept) > MOST_ADDRESSES:
        kept.popitem(last=False)
