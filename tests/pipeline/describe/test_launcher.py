"""What is sent to processes that describe, and when the connection to one is closed."""

from __future__ import annotations

import os
import socket
import tempfile
from multiprocessing.connection import Connection

import pytest

from neardup.pipeline.describe.launcher import Launched, Signs
from tests.timing import until


@pytest.fixture
def pair() -> tuple[Launched, Connection]:
    """Return a process as this one sees it, and the end of the connection that it would have."""
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryFile() as file:
        file.truncate(Signs.BYTES)
        return Launched(1, Connection(ours.detach()), Signs(file.fileno())), Connection(theirs.detach())


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_a_connection_that_is_written_to_is_not_closed_before_the_process_has_ended(
    pair: tuple[Launched, Connection],
) -> None:
    """Its descriptor could be that of the next connection by then, which would get the rest of the message."""
    launched, theirs = pair
    descriptor = launched.connection.fileno()
    launched.send(bytes(10**7))
    until(lambda: theirs.poll(), "it is sent")  # and waits, as nobody takes it
    launched.close()
    assert is_open(descriptor)
    theirs.close()
    until(lambda: launched.connection.closed, "it is closed")
    assert not is_open(descriptor)


def test_what_is_sent_to_a_process_that_has_died_is_dropped(pair: tuple[Launched, Connection]) -> None:
    launched, theirs = pair
    theirs.close()
    for _ in range(3):
        launched.send("order")
    with pytest.raises(EOFError):
        launched.connection.recv()  # which says that it died
    assert not launched.connection.closed
    launched.close()
    until(lambda: launched.connection.closed, "it is closed")
