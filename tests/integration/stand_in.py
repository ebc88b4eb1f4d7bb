"""`neardup` as a process with the stand-in for a network: `python -m tests.integration.stand_in worker embed`.

SLOW_SECONDS in the environment makes each batch take so long. With WHITE_KILLS a white picture ends the process, as a
fault in a decoder's C code would. With BREAKS_AFTER the network fails on every batch after so many. With
CANARY_CHECKS_ALL every search is checked against all rows.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from neardup.pipeline.embed import embedder
from neardup.pipeline.types import Embedded, Pixels
from tests.pipeline.scan.build import StandIn


class Slow(StandIn):
    def embed(self, tiles: Pixels) -> Embedded:
        time.sleep(float(os.environ.get("SLOW_SECONDS", "0")))
        self.batches = getattr(self, "batches", 0) + 1
        if self.batches > int(os.environ.get("BREAKS_AFTER", "1000000")):
            raise RuntimeError("the device is gone")
        if "WHITE_KILLS" in os.environ and (tiles.min(axis=(1, 2, 3)) == 255).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed(tiles)


def main() -> int:
    embedder.make_embedder = lambda checkpoint, *_arguments, **_options: Slow(checkpoint.space)  # type: ignore[assignment]
    from neardup.pipeline.describe import processes
    from neardup.pipeline.index import canary
    from neardup.workers.cli.app import run
    from neardup.workers.kafka import membership
    from neardup.workers.up import supervisor as up

    up.PROGRAM = (sys.executable, "-m", "tests.integration.stand_in")
    processes.CHILD = "tests.integration.stand_in_child"
    membership.SESSION_SECONDS = 2.0
    if "CANARY_CHECKS_ALL" in os.environ:
        for name, value in (("one_in", 1), ("pause_seconds", 0.0), ("share", 1.0)):
            object.__setattr__(canary.DEFAULT, name, value)
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
