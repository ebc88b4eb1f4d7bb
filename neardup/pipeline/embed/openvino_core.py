"""The one OpenVINO core of this process, and the one door to OpenVINO: whoever needs it takes `ov` from here.

Left to itself, the first import of OpenVINO tells Google Analytics that it was imported: it writes a client's number to
~/intel and forks a process that sends, in which a lock of another thread may hang for ever. Without the package that
does so OpenVINO runs as well, so it does not get to see it. Nor does it import its converter, which is a quarter of the
time that importing takes and rarely needed.

Each core puts the signals of the thread that makes it on a stack of its own and unmaps that stack when it goes, also
where it is still in use: after two cores have gone in the order in which they came, or one on another thread, the next
signal (Ctrl-C, SIGTERM) kills the process with SIGSEGV. Seen with OpenVINO 2026.4; so the core stays.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

_TELEMETRY, _CONVERTER = "openvino_telemetry", "openvino.tools.ovc"


@contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Let imports of modules fail that are not imported yet."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _import_quietly() -> tuple[Any, Any]:
    with _hidden(_TELEMETRY, _CONVERTER):
        import openvino
        from openvino import opset13
    return openvino, opset13


ov, op = _import_quietly()


def get_converter() -> Callable[..., Any]:
    """Return OpenVINO's `convert_model`."""
    with _hidden(_TELEMETRY):
        from openvino.tools.ovc import convert_model
    converter: Callable[..., Any] = convert_model
    return converter


@lru_cache(maxsize=1)
def get_core() -> Any:
    """Return the core, made at the first call; compiled models of any number share it."""
    return ov.Core()
