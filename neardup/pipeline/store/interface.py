"""What every store of flags does. Writing the same envelopes again changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import msgspec

from neardup.pipeline.log.changes import SEEN, Action
from neardup.pipeline.log.records import NOTHING, Changed, Envelope, Event, Redecided, RetroMatched, Rolling, Verdict
from neardup.pipeline.log.verdicts import RANK, flagged_verdict, is_counted
from neardup.pipeline.types import Decision, Kind

DEAD_LETTER_DAYS = 7.0
"""After which the store forgets a dead letter; its topic keeps it for longer."""


class ReviewQueue(str, Enum):
    """What is asked for of the items that wait for a reviewer; see `queues_of`."""

    UNSURE = "unsure"
    """What a person has to decide."""
    UNPROVED = "unproved"
    """What is unsure only because no proof came in time; one that still comes decides it."""
    ALL = "all"
    """Both, and certain duplicates."""


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """A flagged item in the feed.

    Attributes:
        event: "offset.n", the id of the event in the log; rises along the feed.
        verdict: with the matches that it was flagged for.
        at_ms: the log's time of the record that it was flagged for, in milliseconds since 1970.
        retro: it was flagged because a bank got a reference, some time after it came.
    """

    event: str
    verdict: Verdict
    at_ms: int = 0
    retro: bool = False


@dataclass(frozen=True, slots=True)
class Queued:
    """An item that waits for a reviewer.

    Attributes:
        offset: of the record that it was first flagged for.
        verdict: as of now.
        open: bank and reference of the matches that nobody judged.
        claimed_by: the reviewer who looks at it, "" if nobody does.
    """

    item: str
    offset: int
    verdict: Verdict
    open: frozenset[tuple[str, str]]
    claimed_by: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A change or a review decision, or one that was refused; `event` and `at_ms` as in the feed."""

    event: str
    changed: Changed
    at_ms: int


@dataclass(frozen=True, slots=True)
class BankRow:
    """A bank as the log left it; see `changes.BankChanged`. A precision of None is the match worker's."""

    name: str
    action: Action = Action.FLAG
    precision: float | None = None
    enable_ratio: float = 1.0
    note: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    references: int = 0


@dataclass(frozen=True, slots=True)
class ReferenceRow:
    """A reference of a bank; see `changes.ReferenceChanged`.

    Attributes:
        offset: of the record that brought its present version.
        thumbnail: where the blob store has a small JPEG; "" if there is none.
    """

    id: str
    bank: str
    offset: int
    kind: Kind = Kind.IMAGE
    sha256: str = ""
    thumbnail: str = ""
    disabled_until_ms: int = 0
    note: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


class DeadLetter(msgspec.Struct, frozen=True):
    """The newest record of an item, or of a reference of a bank, that could not be used.

    Attributes:
        reason: see `errors.Reason`. detail: in words.
        partition, offset: of that record in `media`.
        at_ms: when it was put aside, in milliseconds since 1970.
    """

    item: str
    bank: str
    reason: str
    detail: str
    partition: int
    offset: int
    at_ms: int


class FlagStore(Protocol):
    """Verdicts by item, clusters, the feed, the review queue, the audit trail and the table of banks.

    Only a verdict of `duplicate` or `unsure` enters the feed, once; one that takes the place of another does where its
    decision is higher. A quiet one, on an item of an archive, is kept and enters neither the feed nor a queue. Of a
    live video each match does when it is flagged, and what is shown is the latest verdict. An earlier item enters the
    feed again when a new reference matches it. An item that was removed or replaced is forgotten, but stays in the
    feed: what was said was said.

    What is in the feed is queued for review too, until a reviewer confirms one of its matches or has rejected all; in
    which queues, `queues_of` says.
    """

    def applied(self) -> int:
        """Return the offset of the last envelope that was applied, NOTHING before the first."""

    def apply(self, envelopes: Sequence[Envelope], after: int = NOTHING) -> int | None:
        """Take in envelopes, in order of offset, all or none, and note the last offset in the same step.

        Those at or below `applied()` are passed over.

        Args:
            after: offset of the envelope before the first of these; NOTHING if there is none.
        Returns:
            how many were applied; None, and nothing was, if `applied()` is below `after`: the store was cleared or
            lost since, and what comes after `applied()` has to be read again.
        Raises:
            DependencyError: the store did not answer; nothing is known of this call, repeat it.
        """

    def verdict(self, item: str) -> Verdict | None:
        """Return what is said of an item, with later matches and reviews; None if nothing, or if it was removed."""

    def members(self, head: str) -> frozenset[str]:
        """Return the ids of the items that copy this one as a whole."""

    def head(self, item: str) -> str:
        """Return the id of the head that an item stands under, "" if it stands alone, is a head or is not known."""

    def feed(self, after: str, count: int, bank: str = "", decision: Decision | None = None) -> list[FeedEntry]:
        """Return up to `count` entries after this event id, oldest first; "" starts at the beginning.

        Args:
            bank: only those with a match in this bank that counts. decision: only those of this decision.
        """

    def queued(self, queue: ReviewQueue = ReviewQueue.UNSURE) -> int:
        """Return how many items wait in a queue."""

    def queue(self, start: int, count: int, queue: ReviewQueue = ReviewQueue.UNSURE) -> list[Queued]:
        """Return items that wait in a queue, in order of arrival, from the one at this place on."""

    def claim(
        self,
        reviewer: str,
        count: int,
        lease_ms: int,
        passed: Collection[str] = (),
        queue: ReviewQueue = ReviewQueue.UNSURE,
    ) -> list[Queued]:
        """Return the first items of a queue that no other reviewer looks at, and keep them from others for a time.

        Those that the same reviewer claimed before are among them, their time renewed.

        Args:
            lease_ms: after which another may have them.
            passed: ids of items to pass over, for the reviewer skipped them.
        """

    def claimer(self, item: str) -> str:
        """Return the reviewer who looks at an item, "" if nobody does."""

    def release(self, reviewer: str, item: str) -> None:
        """Let others have an item, if it is this reviewer who claimed it."""

    def audit(self, before: str, count: int) -> list[AuditEntry]:
        """Return up to `count` entries before this event id, the newest first; "" starts at the newest."""

    def banks(self) -> list[BankRow]:
        """Return all banks, `seen` among them if it was ever changed, by name."""

    def references(self, bank: str, start: int, count: int) -> list[ReferenceRow]:
        """Return references of a bank in order of arrival, from the one at this place on."""

    def dead_letter(self, item: str, bank: str = SEEN) -> DeadLetter | None:
        """Return the newest dead letter of an item, or of a reference of a bank, None if there is none.

        One is forgotten after DEAD_LETTER_DAYS, and with the item's takedown; none that is older comes back after that.
        """

    def dead_letters_at(self) -> int | None:
        """Return the place in the topic of dead letters from which on they are to be noted; None at the start."""

    def taken_down(self, items: Collection[str]) -> frozenset[str]:
        """Return those of these items that were taken down in the last DEAD_LETTER_DAYS, as far as is applied."""

    def note_dead_letters(self, letters: Sequence[DeadLetter], place: int) -> None:
        """Take in dead letters, the oldest first, and the place in their topic after them."""

    def clear(self) -> None:
        """Forget everything, to be rebuilt from the verdicts and the dead letters."""


def entry_of(event: Event, place: str, at_ms: int) -> FeedEntry | None:
    """Return what an event adds to the feed, None if nothing.

    Args:
        place: "offset.n". at_ms: time of the record, in milliseconds since 1970.
    """
    if isinstance(event, Verdict) and event.decision is not Decision.DISTINCT and not event.quiet:
        return FeedEntry(place, event, at_ms)
    if isinstance(event, Redecided) and not event.verdict.quiet and RANK[event.verdict.decision] > RANK[event.before]:
        return FeedEntry(place, event.verdict, at_ms)
    if isinstance(event, Rolling) and event.flagged is not None:
        return FeedEntry(place, flagged_verdict(event.verdict, event.flagged), at_ms)
    if isinstance(event, RetroMatched) and is_news(event):
        verdict = Verdict(id=event.id, decision=event.match.decision)
        return FeedEntry(place, flagged_verdict(verdict, event.match), at_ms, retro=True)
    return None


def is_news(event: RetroMatched) -> bool:
    """Return whether a match with a later reference is for the feed: it counts, and more than what was said before."""
    return is_counted(event.match) and (event.before is None or RANK[event.match.decision] > RANK[event.before])


def queues_of(
    open_keys: Set[tuple[str, str]], unsure: Set[tuple[str, str]], unproved: Set[tuple[str, str]]
) -> frozenset[ReviewQueue]:
    """Return the queues in which an item with these matches waits; `flag.lua` does the same.

    An open match that is not unsure is certain, and what is unsure beside it waits no more. One exception: what may be
    in a curated bank waits until a curated bank has it for certain, whatever earlier upload the item copies.

    Args:
        open_keys: bank and reference of the matches that nobody judged. unsure, unproved: those that are so.
    """
    if not open_keys:
        return frozenset()
    certain, waiting = open_keys - unsure, open_keys & unsure
    if any(bank != SEEN for bank, _ in certain):
        waiting = frozenset()
    elif certain:
        waiting = {key for key in waiting if key[0] != SEEN}
    if not waiting:
        return frozenset({ReviewQueue.ALL})
    return frozenset({ReviewQueue.ALL, ReviewQueue.UNPROVED if waiting <= unproved else ReviewQueue.UNSURE})


def seat_of(reviewer: str, seat: str) -> str:
    """Return what claims of a reviewer's seat are under; a reviewer's name has no slash."""
    return f"{reviewer}/{seat}" if seat else reviewer


def reviewer_of(claimer: str) -> str:
    """Return whose seat it is."""
    return claimer.partition("/")[0]


def counts_in(entry: FeedEntry, bank: str, decision: Decision | None) -> bool:
    """Return whether a feed entry passes the filters of `FlagStore.feed`."""
    if decision is not None and entry.verdict.decision is not decision:
        return False
    return not bank or any(match.bank == bank and not match.silenced for match in entry.verdict.matches)
