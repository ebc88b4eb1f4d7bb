"""`neardup` as a process that halts at one place, says so, and goes on when it is told to: by an end.

    HALT="import torch" python -m tests.workers.halting worker embed
    HALT="neardup.pipeline.embed.checkpoint:load_checkpoint" python -m tests.workers.halting up

The place is a module that is about to be imported, or a function that is about to be called.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

HALTS = "halts here"


def main() -> None:
    """Run the command line."""
    from neardup.workers.cli import main
    from neardup.workers.up import supervisor as up

    if "import" not in os.environ.get("HALT", ""):
        from neardup.pipeline.embed import embedder
        from tests.pipeline.scan.build import StandIn, a_checkpoint

        embedder.make_embedder = lambda *_arguments, **_options: StandIn(a_checkpoint().space)  # type: ignore[assignment]
    os.environ["NEARDUP_PROCESSES"] = "1"
    up.PROGRAM = (sys.executable, "-m", "tests.workers.halting")
    kind, _, name = os.environ.get("HALT", "").rpartition(" ")
    if kind == "import":
        sys.meta_path.insert(0, _Finder(name))  # type: ignore[arg-type]
    elif name:
        module, _, function = name.partition(":")
        holder = importlib.import_module(module)
        *path, last = function.split(".")
        for part in path:
            holder = getattr(holder, part)
        setattr(holder, last, _halting(getattr(holder, last)))
    main.main()


class _Finder:
    """Finds nothing; it is asked before a module is imported."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, name: str, _path: Sequence[str] | None = None, _target: object = None) -> None:
        if name == self._name:
            _halt()


def _halting(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def halt(*arguments: Any, **named: Any) -> Any:
        _halt()
        return function(*arguments, **named)

    return halt


def _halt() -> None:
    os.write(2, f"{HALTS}\n".encode())
    time.sleep(600)


if __name__ == "__main__":
    main()
