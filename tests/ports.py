"""Ports for processes that a test starts: free ones that no connection of this machine is given meanwhile."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

_PORTS = range(20_000, 32_000)
"""Below those that Linux and others hand to whoever connects: such a one could be taken before its process listens."""


def free_port() -> int:
    """Return a port on which nobody listens."""
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as attempt, suppress(OSError):
            attempt.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")
