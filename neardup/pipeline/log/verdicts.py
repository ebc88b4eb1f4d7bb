"""From matches to a verdict, and what later matches and reviews make of it.

The match worker decides by `combine`. Where a verdict is shown, `as_of_now` adds what came after it: references that a
bank got later, and what reviewers said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import UNSET, UnsetType

from neardup.pipeline.log.candidates import holds_one_list
from neardup.pipeline.log.changes import SEEN, Action, Outcome
from neardup.pipeline.log.proofs import ProofPending
from neardup.pipeline.log.records import (
    Comparison,
    Envelope,
    Matched,
    Redecided,
    Referenced,
    RetroMatched,
    Rolling,
    Verdict,
)
from neardup.pipeline.types import Decision, Doubt, Exact
from neardup.pipeline.where import Relation

RANK = {Decision.DUPLICATE: 2, Decision.UNSURE: 1, Decision.DISTINCT: 0}
SLACK_SECONDS = 1.0
"""A span may stand out by so much from one that is allowed: they are as sharp as frames are dense."""


def score(match: Comparison) -> float:
    """Return how alike two items are, 0 to 1, in the order of decisions: no distinct pair is above an unsure one.

    Each decision has a third of the range. Within it the pair with the higher probability is higher: the fourth root of
    the odds leaves apart what six decimals of a probability do not.
    """
    return score_of(match.decision, match.probability)


def score_of(decision: Decision, probability: float) -> float:
    """Return the `score` of a match with this decision and probability."""
    odds = probability / (1.0 - probability) if probability < 1.0 else math.inf
    return float((RANK[decision] + 1.0 - 1.0 / (1.0 + odds**0.25)) / len(RANK))


_EXACT = {Exact.BYTES: 0, Exact.PIXELS: 1, Exact.NO: 2}


def likelihood(match: Matched) -> tuple[int, int, float]:
    """Return by what matches are sorted, the best first; what is identical stays in its order, the earliest first."""
    return -RANK[match.decision], _EXACT[match.exact], -match.evidence if match.exact is Exact.NO else 0.0


def combine(
    item: str, matches: Iterable[Matched], head: str | None = None, running: bool = False, quiet: bool = False
) -> Verdict:
    """Return the verdict on an item: curated banks before `seen`, the best first, what is allowed silenced.

    A match with an allow-list silences what it covers: everything, if the item as a whole is allowed, else matches
    whose spans lie within the allowed ones, such as an intro. An unsure one silences nothing.
    """
    ordered = sorted(matches, key=lambda m: (m.bank == SEEN, *likelihood(m)))
    allowing = [m for m in ordered if m.action is Action.ALLOW and m.decision is Decision.DUPLICATE]
    silenced = [is_silenced(m, allowing) for m in ordered]
    marked = [
        m if m.silenced is now else msgspec.structs.replace(m, silenced=now)
        for m, now in zip(ordered, silenced, strict=True)
    ]
    counting = [m.decision for m in marked if m.action is Action.FLAG and not m.silenced]
    decision = max(counting, key=RANK.__getitem__, default=Decision.DISTINCT)
    allowed = allowing[0].bank if allowing else ""
    return Verdict(
        id=item, decision=decision, matches=tuple(marked), running=running, allowed=allowed, head=head, quiet=quiet
    )


def is_silenced(match: Matched, allowing: Iterable[Matched]) -> bool:
    """Return whether matches with allow-lists cover a match."""
    allowing = list(allowing)
    if match.action is Action.ALLOW or not allowing:
        return False
    if any(one.where.whole for one in allowing):
        return True
    stretches = [(span.query_start, span.query_end) for one in allowing for span in one.where.spans]
    wanted = [(span.query_start, span.query_end) for span in match.where.spans] or [(0.0, 0.0)]
    return all(
        any(a - SLACK_SECONDS <= start and end <= b + SLACK_SECONDS for a, b in stretches) for start, end in wanted
    )


def as_judged(match: Matched, outcome: Outcome | None) -> Matched | None:
    """Return a match as a reviewer left it, None if it is no match; an outcome of None is that nobody judged it."""
    if outcome is Outcome.NOT_A_MATCH:
        return None
    if outcome is Outcome.MATCH:
        sure = {"decision": Decision.DUPLICATE, "relation": Relation.COPY, "probability": 1.0, "doubt": Doubt.NO}
        return msgspec.structs.replace(match, **sure)
    return match


def as_of_now(
    verdict: Verdict, later: Iterable[Matched] = (), outcomes: Mapping[tuple[str, str], Outcome] | None = None
) -> Verdict:
    """Return a verdict with what came after it.

    Args:
        later: matches with references that were added since.
        outcomes: what reviewers said, by bank and reference; see `as_judged`.
    """
    added = sorted(later, key=lambda m: (m.bank, m.reference))  # however they were kept: equals stay in one order
    by_reference = {(m.bank, m.reference): m for m in (*verdict.matches, *added)}
    left = (as_judged(match, (outcomes or {}).get(key)) for key, match in by_reference.items())
    matches = [match for match in left if match is not None]
    return combine(verdict.id, matches, verdict.head, verdict.running, verdict.quiet)


def star_head(verdict: Verdict) -> str | None:
    """Return the head whose star the item joined, None if it stands alone."""
    if verdict.head is not None:
        return verdict.head or None
    whole = (m for m in verdict.matches if m.where.whole and m.bank == SEEN and m.decision is Decision.DUPLICATE)
    return next((m.reference for m in whole), None)


def flagged_verdict(verdict: Verdict, flagged: Matched) -> Verdict:
    """Return what the feed says of one match of a live video, or of one that was found later."""
    return Verdict(id=verdict.id, decision=flagged.decision, matches=(flagged,), running=verdict.running)


def is_counted(match: Matched) -> bool:
    """Return whether a match counts in an item's decision."""
    return match.action is Action.FLAG and not match.silenced and match.decision is not Decision.DISTINCT


def to_review(verdict: Verdict) -> list[Matched]:
    """Return the matches of an item that a reviewer may judge: those that count, and none of a quiet verdict."""
    return [] if verdict.quiet else [match for match in verdict.matches if is_counted(match)]


def variants_in(verdict: Verdict) -> list[Matched]:
    """Return the matches that are variants: of a live video such a one may have been flagged as unsure before."""
    return [match for match in verdict.matches if match.relation is Relation.VARIANT]


def lets_pass(match: Matched) -> bool:
    """Return whether a match silences all others of its item."""
    return match.action is Action.ALLOW and match.decision is Decision.DUPLICATE and match.where.whole


class PublishedVerdicts:
    """Published envelopes by offset, as far as they are known, for records that are applied again.

    A replay takes them in place of what it computes: an approximate search need not find the same again.
    """

    def __init__(self) -> None:
        self._published: Mapping[int, Envelope] = {}

    def begin(self, published: Mapping[int, Envelope]) -> None:
        """Replace all that is known."""
        self._published = published

    def __contains__(self, offset: int) -> bool:
        return offset in self._published

    def candidates(self, offset: int) -> bytes | UnsetType:
        """Return what was found for a record, see `Envelope`; UNSET if that is not known."""
        published = self._published.get(offset)
        return UNSET if published is None else published.candidates

    def says_what_was_found(self, offset: int) -> bool:
        """Return whether nothing needs to be searched for on behalf of an item or frame."""
        found = self.candidates(offset)
        return isinstance(found, bytes) and not holds_one_list(found)

    def retro_matched(self, offset: int) -> list[RetroMatched] | None:
        """Return the earlier items that were said to match references; None if that is not known."""
        published = self._published.get(offset)
        if published is None:
            return None
        return [event for event in published.events if isinstance(event, RetroMatched)]

    def referenced(self, offset: int) -> Referenced | None:
        """Return what was said of the reference that a record brings or enables; None if nothing."""
        published = self._published.get(offset)
        events = () if published is None else published.events
        return next((event for event in events if isinstance(event, Referenced)), None)

    def verdict(self, offset: int) -> Verdict | None:
        """Return the verdict on the item that a record completes; None if it is not known."""
        published = self._published.get(offset)
        if published is None:
            return None
        for event in published.events:
            if isinstance(event, Verdict | Redecided):
                return event if isinstance(event, Verdict) else event.verdict
        return None

    def pending(self, offset: int) -> ProofPending | None:
        """Return what the item that a record completes waits for; None if it does not, or that is not known."""
        published = self._published.get(offset)
        if published is None:
            return None
        return next((event for event in published.events if isinstance(event, ProofPending)), None)

    def rolling(self, offset: int, item_id: str, running: bool) -> list[Rolling] | None:
        """Return the events of a live video's frame or, not running, of its end; None if they are not known."""
        published = self._published.get(offset)
        if published is None:
            return None
        rolling = [event for event in published.events if isinstance(event, Rolling)]
        return [one for one in rolling if (one.verdict.id, one.verdict.running) == (item_id, running)]
