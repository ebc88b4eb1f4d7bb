"""Whether items are described by threads of this process or by processes, and where the network runs then."""

from __future__ import annotations

import os

from neardup.pipeline.devices import is_on_gpu
from neardup.pipeline.settings import Settings


def count_processes(settings: Settings, most: int) -> int:
    """Return how many processes describe; 0 where threads do: on Windows, or as the settings have it.

    Args:
        most: without a word of the settings.
    """
    if settings.processes == 1 or os.name != "posix":
        return 0
    return settings.processes or min(settings.worker_threads, most)


def shares_network(settings: Settings) -> bool:
    """Return whether processes feed one network of the process that starts them, see `ProcessDescriber`."""
    return settings.shared_network or is_on_gpu(settings.device)
