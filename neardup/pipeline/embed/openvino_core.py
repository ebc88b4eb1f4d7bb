"""The one OpenVINO core of this process.

Each core puts the signals of the thread that makes it on a stack of its own and unmaps that stack when it goes, also
where it is still in use: after two cores have gone in the order in which they came, or one on another thread, the next
signal (Ctrl-C, SIGTERM) kills the process with SIGSEGV. Seen with OpenVINO 2026.4; so the
core stays.
"""

from __future__ import annotations

from functools import lru_cache

import openvino as ov


@lru_cache(maxsize=1)
def get_core() -> ov.Core:
    """Return the core, made at the first call; compiled models of any number share it."""
    return ov.Core()
