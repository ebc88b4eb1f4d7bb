"""A process that describes with a stand-in for its network, and contents that do it harm: they begin with what they do.

The checkpoint's name says what is wrong with the process itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

from neardup.pipeline.describe import child, decode
from neardup.pipeline.embed import embedder
from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.media.budget import Budget
from neardup.pipeline.types import Embedded, Media, Pixels
from tests.pipeline.scan.build import StandIn

KILL, KILL_ONCE, ABORT, SLEEP, SPIN, DEVOUR, LONG = b"kill", b"once ", b"abort", b"sleep", b"spin", b"devour", b"long "
HOLD = b"hold "
"""It sleeps and lets no other thread of its process run."""
DIES_ONCE = "dies once "
"""A process that takes the place of another dies, unless there is the file of this name."""
OPENED = "OPENED"
"""The variable that names a file which grows by a byte with each file that is opened."""
_open_media = decode.open_media


class Broken(StandIn):
    def embed(self, tiles: Pixels) -> Embedded:
        raise RuntimeError(f"no memory for {len(tiles)} tiles")


class Starving(StandIn):
    def embed(self, tiles: Pixels) -> Embedded:
        raise MemoryError(len(tiles))


class StarvingOnWhite(StandIn):
    def embed(self, tiles: Pixels) -> Embedded:
        if (tiles == 255).all(axis=(1, 2, 3)).any():
            raise MemoryError(len(tiles))
        return super().embed(tiles)


def make_embedder(checkpoint: Checkpoint, device: str, threads: int, check: bool) -> StandIn:
    assert (device, threads) == ("cpu", 1)
    if not check and checkpoint.name.startswith(DIES_ONCE):
        mark = Path(checkpoint.name.removeprefix(DIES_ONCE))
        if not mark.exists():
            mark.touch()
            os._exit(7)
    if checkpoint.name == "asleep":
        time.sleep(600)
    if checkpoint.name == "starving":
        return Starving()
    if checkpoint.name == "starving on white":
        return StarvingOnWhite(checkpoint.space)
    if checkpoint.name == "stillborn":
        os._exit(7)
    if checkpoint.name == "unusable":
        raise ConfigError("the model is unusable")
    return Broken() if checkpoint.name == "broken" else StandIn(checkpoint.space)


def open_media(source: bytes | Path, *arguments: Any, **options: Any) -> Media:
    content = source if isinstance(source, bytes) else b""
    if OPENED in os.environ:
        with Path(os.environ[OPENED]).open("ab", buffering=0) as file:
            file.write(b".")
    if content.startswith(KILL):
        os.kill(os.getpid(), signal.SIGSEGV)
    if content.startswith(ABORT):
        os.abort()
    if content.startswith(KILL_ONCE):
        mark = Path(os.fsdecode(content[len(KILL_ONCE) :]))
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if content.startswith(SLEEP):
        Path(os.fsdecode(content[len(SLEEP) :])).touch()
        time.sleep(600)
    if content.startswith(HOLD):
        Path(os.fsdecode(content[len(HOLD) :])).touch()
        ctypes.PyDLL(None).sleep(600)
    while content.startswith(SPIN):
        pass
    if content.startswith(DEVOUR):
        devoured = [bytes(2**24)]
        while True:
            devoured.append(bytes(2**24))
    if content.startswith(LONG):
        budget = arguments[-1]
        assert isinstance(budget, Budget)
        budget.long()
        mark = Path(os.fsdecode(content[len(LONG) :]))
        while not mark.exists():
            budget.check()
            time.sleep(0.01)
    return _open_media(source, *arguments, **options)


def preload() -> None:
    child.preload()


def main(connection: int, signs: int, *network: int) -> None:
    embedder.make_embedder = make_embedder  # type: ignore[assignment]
    decode.open_media = open_media
    child._BESIDE_BYTES = 2**28
    child.main(connection, signs, *network)
