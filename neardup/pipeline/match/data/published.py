"""Published verdicts of records that are applied again.

A replay takes them in the place of what it computes: an approximate search need not find the same again.
"""

from __future__ import annotations

from collections.abc import Mapping

from neardup.pipeline.log.records import Envelope, Rolling, Verdict


class PublishedVerdicts:
    """Published envelopes by offset, as far as they are known; there may be none."""

    def __init__(self) -> None:
        self._published: Mapping[int, Envelope] = {}

    def begin(self, published: Mapping[int, Envelope]) -> None:
        """Replace all that is known."""
        self._published = published

    def verdict(self, offset: int) -> Verdict | None:
        """Return the verdict on the item that a record completes; None if it is not known."""
        published = self._published.get(offset)
        if published is None:
            return None
        return next((event for event in published.events if isinstance(event, Verdict)), None)

    def rolling(self, offset: int, item_id: str, running: bool) -> list[Rolling] | None:
        """Return the events of a live video's frame or, not running, of its end; None if they are not known."""
        published = self._published.get(offset)
        if published is None:
            return None
        rolling = [event for event in published.events if isinstance(event, Rolling)]
        return [one for one in rolling if (one.verdict.id, one.verdict.running) == (item_id, running)]
