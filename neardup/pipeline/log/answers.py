"""What published events answer: a change that somebody asked for, or an item that somebody sent.

Every door reads answers here. The answer to a change is all that stands at the change's own offset of the log; the
answer to an item is the first event on its id from when it was sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.reasons import IgnoredReason, Refusal
from neardup.pipeline.log.records import (
    Changed,
    Event,
    Ignored,
    Redelivered,
    Referenced,
    RetroMatched,
    Rolling,
    Verdict,
    key_of,
)


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a change had no effect, and in words."""

    reason: Refusal | IgnoredReason
    words: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a record of the log.

    Attributes:
        events: of its envelope; None while that is not known.
    """

    offset: int
    events: tuple[Event, ...] | None = None

    @property
    def changed(self) -> Changed | None:
        """What is said of the change."""
        return next((event for event in self.events or () if isinstance(event, Changed)), None)

    @property
    def id(self) -> str:
        """Of what the change is about; "" if it is no change."""
        return "" if self.changed is None else key_of(self.changed.record)

    @property
    def refused(self) -> Refused | None:
        """Why the change had no effect, None if it had."""
        for event in self.events or ():
            if isinstance(event, Changed) and (refusal := event.refused_for) is not None:
                return Refused(refusal, event.refused)
            if isinstance(event, Ignored):
                return Refused(event.ignored_for, event.why)
        return None

    @property
    def waits(self) -> bool:
        """Whether it is of a reference that is not there yet: it holds from its arrival on."""
        return self.changed is not None and self.changed.waits

    @property
    def earlier(self) -> list[RetroMatched]:
        """Earlier items that match a new reference."""
        return [event for event in self.events or () if isinstance(event, RetroMatched)]

    @property
    def left_out(self) -> int:
        """How many more of them there are."""
        return sum(event.left_out for event in self.events or () if isinstance(event, Referenced))

    @property
    def asked(self) -> int:
        """How many earlier items are to be proved against a new reference."""
        return sum(len(event.asked) for event in self.events or () if isinstance(event, Referenced))

    def to_item(self, id: str, bank: str = SEEN) -> Event | None:
        """Return the event that answers an item, None if there is none."""
        return next((event for event in self.events or () if answered_id(event, bank) == id), None)


def answered_id(event: Event, bank: str = SEEN) -> str | None:
    """Return the id of the item, sent as one of this bank, that an event answers; None if it answers none.

    That something is ignored or known already does not depend on the bank; the id has to do.
    """
    if isinstance(event, Redelivered | Ignored):
        return event.id
    if isinstance(event, Referenced):
        return event.id if event.bank == bank else None
    if isinstance(event, Rolling):
        event = event.verdict
    return event.id if isinstance(event, Verdict) and bank == SEEN else None
