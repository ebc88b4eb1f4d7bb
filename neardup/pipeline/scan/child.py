"""One of the processes of a scan: files in, described contents out, all by one thread.

`processes.Processes` starts it, and speaks to it through a socket. It is told how to describe (`Setup`), what is known
when a scan begins (`Hashes`), and then lists of files, each of which it answers. None says that it is ready, an error
that it cannot go on. It ends when nobody holds the other end.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from neardup.pipeline.errors import DependencyError, PipelineError
from neardup.pipeline.scan.hashes import Hashes
from neardup.pipeline.scan.processes import Setup

logger = logging.getLogger(__name__)


def serve(hear: Callable[[], Any], say: Callable[[object], None]) -> None:
    """Do what is asked, for ever."""
    from neardup.pipeline.embed.embedder import make_embedder
    from neardup.pipeline.scan.in_turn import InTurn  # and with it every decoder, while `_listen` hears already

    setup: Setup = hear()
    embedder = make_embedder(setup.checkpoint, "cpu", threads=1)
    say(None)
    describer = InTurn(embedder, setup, Hashes(()))
    while True:
        asked = hear()
        if isinstance(asked, Hashes):
            describer = InTurn(embedder, setup, asked)
        else:
            say(describer.describe(asked))


def main(descriptor: int) -> None:
    """Serve through a socket, by its file descriptor."""
    connection = Connection(descriptor)
    heard: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, heard), daemon=True).start()
    try:
        serve(heard.get, connection.send)
    except PipelineError as error:
        connection.send(error)
    except Exception as error:
        logger.exception("files could not be described")
        connection.send(DependencyError(f"files could not be described: {type(error).__name__}: {error}"))


def _listen(connection: Connection, heard: SimpleQueue[Any]) -> None:
    """Take whatever comes, at once: so neither side ever waits for the other to listen."""
    try:
        while True:
            heard.put(connection.recv())
    except (EOFError, OSError):
        os._exit(0)
