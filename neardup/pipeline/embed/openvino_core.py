"""The one OpenVINO core of this process, and the one door to OpenVINO: whoever needs it takes `ov` from here.

Left to itself, the first import of OpenVINO tells Google Analytics that it was imported: it writes a client's number to
~/intel and forks a process that sends, in which a lock of another thread may hang for ever. Without the package that
does so OpenVINO runs as well, so it does not get to see it.

Each core puts the signals of the thread that makes it on a stack of its own and unmaps that stack when it goes, also
where it is still in use: after two cores have gone in the order in which they came, or one on another thread, the next
signal (Ctrl-C, SIGTERM) kills the process with SIGSEGV. Seen with OpenVINO 2026.4; so the core stays.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any

_TELEMETRY = "openvino_telemetry"


def _import_quietly() -> Any:
    hidden = _TELEMETRY not in sys.modules
    if hidden:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # an import of it fails now
    try:
        import openvino
    finally:
        if hidden:
            del sys.modules[_TELEMETRY]
    return openvino


ov = _import_quietly()


@lru_cache(maxsize=1)
def get_core() -> Any:
    """Return the core, made at the first call; compiled models of any number share it."""
    return ov.Core()
