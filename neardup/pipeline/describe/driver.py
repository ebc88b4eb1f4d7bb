"""What drives the engine: threads of this process (`threads`), or supervised processes (`processes`)."""

from __future__ import annotations

from typing import Protocol

from neardup.pipeline.describe.source import Done, S


class Describer(Protocol[S]):
    """Items in, descriptions out, in any order, without ever making the caller wait long. For one thread."""

    @property
    def working(self) -> int:
        """Items that were added and have not come out."""

    @property
    def waiting(self) -> int:
        """Items whose decoding has not begun."""

    def add(self, source: S) -> None:
        """Take an item in."""

    def step(self, seconds: float) -> list[Done[S]]:
        """Return items that are done.

        Args:
            seconds: how long to wait where there are none.
        Raises:
            PipelineError: something outside failed; nothing can be said of the items.
        """

    def drop_waiting(self) -> list[S]:
        """Return the items whose decoding has not begun; they will not come out."""

    def close(self) -> None:
        """Let what is under way end; does not wait for it."""
