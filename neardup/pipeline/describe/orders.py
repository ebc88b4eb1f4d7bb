"""What is sent to processes that describe, and what they answer."""

from __future__ import annotations

from typing import Any, NamedTuple

from neardup.pipeline.describe.decode import Look
from neardup.pipeline.describe.network_client import Shape
from neardup.pipeline.describe.observe import Stage
from neardup.pipeline.describe.source import Task
from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.errors import InvalidFrame


class Setup(NamedTuple):
    """How items are described; the first message.

    Attributes:
        network: which a process loads; or the shape of one that runs elsewhere, see `network_client`.
        once: whether of identical contents one is described.
        fetch_seconds: for so long a process may wait for content.
        checked: whether another process has shown with the same files, on this machine, that the network is right.
    """

    network: Checkpoint | Shape
    look: Look
    once: bool = False
    fetch_seconds: float = 0.0
    checked: bool = False


class Order(NamedTuple):
    """Items to describe, with numbers from 1.

    Attributes:
        long: whether they may take long; those that would are put off without it.
    """

    items: list[tuple[int, Task]]
    long: bool


class Ended(NamedTuple):
    """How an item ended; see `source.Done`."""

    number: int
    result: Any
    sha256: bytes
    error: InvalidFrame | None
    repeated: bool


class Answer(NamedTuple):
    """What became of an order.

    Attributes:
        put_off: items that would take long.
        took, decoded, embedded: what an `Observer` is given.
    """

    ended: list[Ended]
    put_off: list[int]
    took: list[tuple[Stage, float]]
    decoded: list[int]
    embedded: list[int]
