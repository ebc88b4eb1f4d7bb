"""What the engine reports of its work. The library measures; whoever runs it decides where that goes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, TypeAlias

Stage: TypeAlias = Literal["fetch", "decode", "store", "embed"]


class Observer:
    """Is given what happens, by several threads; this one lets it pass. Metrics and traces are made by subclasses."""

    def took(self, stage: Stage, seconds: float) -> None:
        """Note how long a stage took: fetch and decode of one item, store of what is kept of it, embed of a batch."""

    def decoded(self, frames: int) -> None:
        """Note frames of one item."""

    def embedded(self, frames: int) -> None:
        """Note a batch of frames."""

    def span(self, traceparents: Iterable[str], frames: int) -> AbstractContextManager[None]:
        """Return a context that lasts while a batch is embedded, for items that came with these traceparents."""
        del traceparents, frames
        return nullcontext()

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Measure a block as a stage, however it ends."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.took(stage, time.perf_counter() - began)


SILENT = Observer()
