"""What every store of flags does. Writing the same envelopes again changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from neardup.pipeline.messages import Envelope, Verdict

NOTHING_APPLIED = -1


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """A flagged item in the feed.

    Attributes:
        event: "offset.n", the id of the event in the log; rises along the feed.
        verdict: with the matches that it was flagged for.
    """

    event: str
    verdict: Verdict


class FlagStore(Protocol):
    """Verdicts by item, members by cluster head, and the feed of what was flagged.

    Only a verdict of `duplicate` or `unsure` enters the feed, once. Of a live video each match does when it is flagged,
    and what is shown is the latest verdict. An item that was removed or replaced is
    forgotten, but stays in the feed: what was said was said.
    """

    def applied(self) -> int:
        """Return the offset of the last envelope that was applied, NOTHING_APPLIED before the first."""

    def apply(self, envelopes: Sequence[Envelope], after: int = NOTHING_APPLIED) -> int | None:
        """Take in envelopes, in order of offset, all or none, and note the last offset in the same step.

        Those at or below `applied()` are passed over.

        Args:
            after: offset of the envelope before the first of these; NOTHING_APPLIED if there is none.
        Returns:
            how many were applied; None, and nothing was, if `applied()` is below `after`: the store was cleared or
            lost since, and what comes after `applied()` has to be read again.
        Raises:
            DependencyError: the store did not answer; nothing is known of this call, repeat it.
        """

    def verdict(self, item: str) -> Verdict | None:
        """Return what was said of an item; None if nothing, or if it was removed."""

    def members(self, head: str) -> frozenset[str]:
        """Return the ids of the items that copy this one as a whole."""

    def feed(self, after: str, count: int) -> list[FeedEntry]:
        """Return up to `count` entries after this event id, oldest first; "" starts at the beginning."""

    def clear(self) -> None:
        """Forget everything, to be rebuilt from the verdicts."""
