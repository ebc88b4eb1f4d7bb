"""Close connections side by side: each may wait for a broker that does not answer, and waits must not add up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import Protocol

logger = logging.getLogger(__name__)


class Closes(Protocol):
    """What is to be closed."""

    def close(self) -> None: ...


def close_all(connections: Iterable[Closes | None], seconds: float) -> bool:
    """Close what is not None, and return whether all of it was done within the time; the rest goes on in threads."""
    threads = [
        threading.Thread(target=_close, args=(one,), name="close", daemon=True)
        for one in connections
        if one is not None
    ]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0.0))
    return not any(thread.is_alive() for thread in threads)


def _close(connection: Closes) -> None:
    try:
        connection.close()
    except Exception:
        logger.warning("connection not closed cleanly", exc_info=True)
