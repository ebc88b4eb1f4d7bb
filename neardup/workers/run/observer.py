"""What the describing engine reports, as metrics and spans."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

from neardup.pipeline.describe.observe import Observer, Stage
from neardup.workers.run import tracing
from neardup.workers.run.telemetry import BATCH_FRAMES, FRAMES_OUT, STAGE_SECONDS

_STAGES = {stage: STAGE_SECONDS.labels(stage) for stage in ("fetch", "decode", "store", "embed")}
_DECODED, _EMBEDDED = FRAMES_OUT.labels("decode"), FRAMES_OUT.labels("embed")


class Telemetry(Observer):
    """See `describe.observe`."""

    def took(self, stage: Stage, seconds: float) -> None:
        """Observe how long a stage took."""
        _STAGES[stage].observe(seconds)

    def decoded(self, frames: int) -> None:
        """Count frames."""
        _DECODED.inc(frames)

    def embedded(self, frames: int) -> None:
        """Count a batch and its frames."""
        BATCH_FRAMES.observe(frames)
        _EMBEDDED.inc(frames)

    def span(self, traceparents: Iterable[str], frames: int) -> AbstractContextManager[None]:
        """Have a batch stand as one span."""
        return tracing.span("embed", traceparents, frames=frames)
