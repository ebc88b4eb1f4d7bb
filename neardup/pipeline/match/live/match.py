"""The match of a live video with one reference, and how it grows.

A live video is looked at through a *window*, its newest frames: what is found there continues the spans that were found
before. So the work for a frame does not grow with the video, and a span may be hours long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from neardup.pipeline.log.records import Matched
from neardup.pipeline.log.verdicts import RANK
from neardup.pipeline.match.compare.collection import Collection
from neardup.pipeline.match.data.undecided import Pair
from neardup.pipeline.match.decide.decide import DISTINCT, Judge, Judgement, judge_segments, keep_rare, run_around
from neardup.pipeline.match.decide.evidence import Evidence, Floats
from neardup.pipeline.match.decide.segments import MIN_VOTES, Segment, Track, Votes, find_segments
from neardup.pipeline.prove.finding import Finding, Proved
from neardup.pipeline.types import Decision, Span
from neardup.pipeline.where import located

MAX_SPANS = 64
"""Spans of one reference that are kept, the newest."""
MOST_WAIT = 10
"""Frames that vote for a reference between two looks at it, at most."""
MOST_WAIT_IN_VAIN = 20
"""The same while the looks find nothing: another episode of one show, with the same studio."""


@dataclass(slots=True)
class LiveMatch:
    """One reference, as a live video shows it.

    Attributes:
        reference: number of the item.
        votes: newest frames that resemble it: seconds, row of the reference, evidence, distance.
        last: seconds of the newest frame that voted. new: frames that did since the last look.
        wait: frames after which to look again.
        going_on: the newest frames show it still.
        match: by evidence alone, None while there is none. unsure_since: seconds.
        chances, moments: of the strongest look, see `decide.PairOutcome`. shown: spans that the last look found.
        told, told_extent: its decision and its `extent` in the last event. (These names stand in snapshots.)
        flagged: the decision with which it was flagged, DISTINCT where it was not or that was withdrawn.
        shared: its frames were counted as shared with this live video.
        ask: log offset of the frame at which a proof was asked for last, -1 before. asked_at: its seconds.
        open: nobody has answered or given it up. expired: it was given up. answered: by `proved`, None where pictures
            were not to be had.
    """

    reference: int
    votes: list[tuple[float, int, float, float]] = field(default_factory=list)
    last: float = 0.0
    new: int = 0
    wait: int = 1
    going_on: bool = True
    match: Matched | None = None
    unsure_since: float = 0.0
    told: Decision = Decision.DISTINCT
    told_extent: tuple[float, float] = (0.0, 0.0)
    flagged: Decision = Decision.DISTINCT
    shared: bool = False
    chances: int = 1
    moments: bool = False
    shown: tuple[Span, ...] = ()
    ask: int = -1
    asked_at: float = 0.0
    open: bool = False
    expired: bool = False
    answered: bool = False
    proved: Proved | None = None

    @property
    def extent(self) -> tuple[float, float]:
        """How long the spans are together in the live video, and where the last one ends, in seconds."""
        spans = self.match.where.spans if self.match else ()
        return sum(one.query_end - one.query_start for one in spans), max((one.query_end for one in spans), default=0.0)

    @property
    def is_flagged(self) -> bool:
        """Whether somebody was to look at it."""
        return self.flagged is not Decision.DISTINCT

    def is_news(self, shown: Matched, growth_seconds: float) -> bool:
        """Return whether the match changed enough since the last event to emit a new one; see `LiveRules`.

        Args:
            shown: the match as far as it is proved.
        """
        grown = max(abs(now - told) for now, told in zip(self.extent, self.told_extent, strict=True))
        return shown.decision is not self.told or grown >= (growth_seconds if self.going_on else 0.01)

    def is_to_be_flagged(self, shown: Matched, newest: float, unsure_seconds: float) -> bool:
        """Whether somebody should look at it now, given the seconds of the newest frame; for others see `is_news`."""
        if self.open or RANK[shown.decision] <= RANK[self.flagged]:
            return False
        ripe = not self.going_on or newest - self.unsure_since >= unsure_seconds
        return shown.decision is Decision.DUPLICATE or ripe

    def note_event(self, shown: Matched) -> None:
        """Note that an event carries the match as it is."""
        self.told, self.told_extent = shown.decision, self.extent

    def asks(self, begin: float) -> bool:
        """Return whether a proof is wanted of a window that begins at these seconds: one of each, until one agrees."""
        if self.match is None or self.match.decision is Decision.DISTINCT or self.open or not self.shown:
            return False
        if self.proved is not None and self.proved.finding is Finding.COPY:
            return False
        return self.ask < 0 or self.asked_at < begin

    def take(self, pair: Pair, expired: bool) -> None:
        """Take in an answer, or that there is none; without pictures of this window, what another one proved stays."""
        self.open, self.expired = False, expired and not pair.answered
        if pair.answered:
            self.answered, self.proved = True, pair.proved or self.proved

    def vote(self, pts: float, votes: Sequence[tuple[int, float, float]]) -> None:
        """Take in a frame that resembles these rows."""
        self.votes += [(pts, *vote) for vote in votes]
        self.last = max(self.last, pts)
        self.new += 1

    def looked(self, begin: float) -> None:
        """Let the next look wait, and forget votes from before `begin`, in seconds."""
        self.votes = [vote for vote in self.votes if vote[0] >= begin]
        most = MOST_WAIT if self.match else MOST_WAIT_IN_VAIN
        self.wait = min(max(1, len({vote[0] for vote in self.votes}) // 2), most)
        self.new = 0

    def learn(self, shown: WindowMatch, reference: str, collection: Collection, window: float) -> None:
        """Join what the window shows to the match; `window` is where it begins, in seconds."""
        before = self.match
        if shown.judgement.decision is Decision.DISTINCT:
            return
        found = Matched(
            reference=reference,
            bank=collection.name,
            action=collection.action,
            decision=shown.judgement.decision,
            distance=shown.distance,
            evidence=shown.evidence,
            probability=shown.judgement.probability,
            where=located(False, spans=continued(before.where.spans if before else (), shown, window)[-MAX_SPANS:]),
        )
        if before is None or _strength(before) <= _strength(found):
            self.chances, self.moments = shown.chances, shown.moments
        self.shown = shown.spans
        self.adopt(found)

    def adopt(self, found: Matched) -> None:
        """Take over newer spans, and the numbers of the stronger match."""
        before = self.match
        if before is not None and _strength(before) > _strength(found):
            found = msgspec.structs.replace(before, where=found.where)
        if before is None:
            self.unsure_since = self.last
        self.match = found


@dataclass(frozen=True, slots=True)
class WindowMatch:
    """What the window shows of a reference.

    Attributes:
        step: seconds between frames of the coarser of the two.
        still: nothing moves, so spans may shift against each other.
        chances, moments: see `decide.PairOutcome`.
    """

    judgement: Judgement
    distance: float = 4.0
    evidence: float = 0.0
    spans: tuple[Span, ...] = ()
    step: float = 0.0
    still: bool = False
    chances: int = 1
    moments: bool = False


NOTHING = WindowMatch(DISTINCT)


def see_image(window: Track, votes: Votes, distance: float, taken: int, judge: Judge, references: int) -> WindowMatch:
    """Return the run of frames that shows an image.

    Args:
        votes: their place in the window, and the evidence.
        distance: the least of them.
        taken: frames of the live video, each a chance.
    """
    chances = references * taken
    best = int(np.argmax(votes.evidence))
    evidence = float(votes.evidence[best])
    judgement = judge.judge(evidence, chances)
    least = judge.thresholds(chances).min_unsure
    start, end = run_around(window.pts, votes.query, votes.evidence, int(votes.query[best]), least)
    span = Span(start, end, 0.0, 0.0, evidence)
    return WindowMatch(judgement, distance, evidence, (span,), window.interval, still=True, chances=chances)


def see_video(
    window: Track,
    reference: Track,
    votes: Votes,
    taken: int,
    rule: Evidence,
    judge: Judge,
    references: int,
    shift: Floats,
) -> WindowMatch:
    """Return the stretches of a video that the window shows; for the arguments see `see_image`, `compare_items`."""
    least = min(MIN_VOTES, int(reference.speaks.sum()))
    step = max(window.interval, reference.interval, 1e-3)
    if _agreeing(window, reference, votes, step) < least:
        return NOTHING
    segments = find_segments(window, reference, votes, rule, judge.min_vote, shift, window=True)
    kept: list[Segment] = keep_rare(segments, window, reference, query_is_whole=False)
    if not kept:
        return NOTHING
    judgement, best, chances = judge_segments(kept, taken, judge, references)
    spans = tuple(segment.span for segment in kept)
    distance = min(segment.distance for segment in kept)
    still = math.isnan(best.contrast)
    moments = best.same_moments and not still
    return WindowMatch(judgement, distance, best.evidence, spans, step, still, chances, moments)


def continued(before: Sequence[Span], shown: WindowMatch, window: float) -> tuple[Span, ...]:
    """Return spans in order of the live video's time: those found in the window, and those from before.

    A found span that goes on where an earlier one was, at the same offset, takes over its beginning. It takes the place
    of one that is at odds with it, unless that began before the window.

    Args:
        window: seconds at which the window begins.
    """
    spans, kept = list(shown.spans), []
    for old in before:
        place = next(
            (n for n, span in enumerate(spans) if _goes_on(old, span, 2 * shown.step, shown.still)),
            None,
        )
        if place is not None:
            spans[place] = _joined(old, spans[place])
        elif old.query_start < window or not any(_overlap(old, span) for span in shown.spans):
            kept.append(old)
    return tuple(sorted([*kept, *spans], key=lambda span: (span.query_start, span.query_end)))


def _goes_on(old: Span, new: Span, slack: float, still: bool) -> bool:
    if new.query_start > old.query_end + slack or new.query_end < old.query_start - slack:
        return False
    if still:
        return new.reference_start <= old.reference_end + slack and new.reference_end >= old.reference_start - slack
    drift = (new.reference_start - new.query_start) - (old.reference_start - old.query_start)
    return abs(drift) <= slack


def _overlap(a: Span, b: Span) -> bool:
    return a.query_start < b.query_end and b.query_start < a.query_end


def _joined(old: Span, new: Span) -> Span:
    weights = max(old.query_end - old.query_start, 1e-3), max(new.query_end - new.query_start, 1e-3)
    return Span(
        query_start=min(old.query_start, new.query_start),
        query_end=max(old.query_end, new.query_end),
        reference_start=min(old.reference_start, new.reference_start),
        reference_end=max(old.reference_end, new.reference_end),
        evidence=(weights[0] * old.evidence + weights[1] * new.evidence) / sum(weights),
    )


def _agreeing(window: Track, reference: Track, votes: Votes, step: float) -> int:
    """Return how many frames vote for about the same offset, at most."""
    offset = reference.pts[votes.reference] - window.pts[votes.query]
    bins = np.floor(offset / step).astype(np.int64)
    wide = np.stack([np.concatenate([bins, bins + 1]), np.tile(votes.query, 2)])
    return int(np.unique(np.unique(wide, axis=1)[0], return_counts=True)[1].max())


def _strength(match: Matched) -> tuple[int, float]:
    return RANK[match.decision], match.evidence
