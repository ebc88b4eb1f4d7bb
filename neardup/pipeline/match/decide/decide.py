"""From pairs of similar descriptors to matches and a decision. Pure functions over one query item.

An image and an image match as a whole, or a part of one shows what the other does. A video and a video match by
segments, and as a whole where the segments cover nearly all of both. An image and a frame of a video match for the run
of frames that show it. Whatever several frames, or parts, could have matched by chance is asked for more evidence: n
frames are n chances.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import structs

from neardup.pipeline.log.records import FULL
from neardup.pipeline.log.verdicts import RANK
from neardup.pipeline.match.decide.calibration import Calibration, Thresholds, logistic, logistics
from neardup.pipeline.match.decide.evidence import Evidence, Floats
from neardup.pipeline.match.decide.segments import LEAST_SHARE, MIN_VOTES, Segment, Track, Votes, find_segments
from neardup.pipeline.match.decide.sounds import compare_sounds
from neardup.pipeline.prove.finding import Finding, Ground, ProofSummary, Proved
from neardup.pipeline.types import Box, Boxes, Decision, Doubt, Ids, Kind, Span
from neardup.pipeline.where import NOWHERE, WHOLE, Relation, Where, WhereKind, located

WHOLE_COVERAGE = 0.8
"""Share of both videos that segments must cover for one to be a copy of the other as a whole."""
MAX_OFFSET_SECONDS = 0.75
"""Two videos whose pictures begin further apart are not compared by their sound, which is sampled at fixed seconds."""
ALONE = 0.065
"""What the cohort takes off strangers more than the background alone does: by this much less, as many are proposed."""
STRANGERS = 0.3
"""Share of items without a copy that have a candidate to be proved."""
COMMON_MOMENTS = 2.0
"""Different moments that two films of one template or one program on a screen show in one order."""
CLOSE = 0.95
"""Evidence of two readings of one picture; other label masks of one set reach 0.72, other slices of a scan 0.65."""
WHOLE_AREA = 0.7
"""Share of a picture from which a part of it stands for the whole. Of two that match, one must: what two pictures have
in common in parts of theirs is an app's frame, a logo or a page's layout more often than a copy."""


class Pairs(msgspec.Struct, frozen=True):
    """Similar descriptors: frames of the query item and rows of earlier items, all arrays (p,).

    Attributes:
        alone: evidence against the background alone, less `ALONE`, see `PairOutcome`; None where nothing is proved.
    """

    query: Ids
    reference: Ids
    distance: Floats
    evidence: Floats
    alone: Floats | None = None

    def take(self, where: Ids | slice) -> Pairs:
        """Return the pairs at these places."""
        alone = None if self.alone is None else self.alone[where]
        return Pairs(self.query[where], self.reference[where], self.distance[where], self.evidence[where], alone)

    def of_places(self, query: Ids) -> Pairs:
        """Return the same pairs, their queries numbered otherwise."""
        return Pairs(query, self.reference, self.distance, self.evidence, self.alone)


class PairOutcome(msgspec.Struct, frozen=True):
    """How a query matches one reference item; see `records.Comparison` for the words.

    Attributes:
        chances: descriptors that the query was compared with, or chances to match of any kind.
        alone: of two images that may be proved, evidence against the background alone, less `ALONE`: other copies of
            the picture among the neighbours do not weaken it.
        moments: whether it is moments of moving pictures that agree.
        in_time: whether two films that match in a part of their pictures do so from beginning to end.
    """

    judgement: Judgement
    distance: float
    evidence: float
    where: Where
    chances: int = 1
    alone: float = -math.inf
    moments: bool = False
    in_time: bool = False
    relation: Relation = Relation.COPY
    segments: tuple[Segment, ...] = ()
    doubt: Doubt = Doubt.NO
    proof: ProofSummary | None = None


class Side(msgspec.Struct, frozen=True):
    """The query or a reference, as far as a comparison needs it; `track` is read only for videos.

    Attributes:
        running: a live video that goes on, of which nothing is a copy as a whole.
        boxes: the part of the picture that each descriptor shows; None if it is an image with one, of all of it, or a
            film of which all show all of it.
        sound: see `types.Extras`. doubt: see `types.doubt_of`.
    """

    kind: Kind
    track: Callable[[], Track]
    running: bool = False
    boxes: Boxes | None = None
    sound: bytes = b""
    doubt: Doubt = Doubt.NO

    @property
    def count(self) -> int:
        """How many descriptors an image has."""
        return 1 if self.boxes is None else len(self.boxes)

    def areas(self, frames: Ids) -> npt.NDArray[np.float64]:
        """Return the share of an image that each of these descriptors of it shows."""
        if self.boxes is None:
            return np.ones(len(frames))
        sides = self.boxes[frames].astype(np.float64) / FULL
        return np.asarray(np.prod(sides[:, 2:] - sides[:, :2], axis=1))

    def views(self) -> list[View]:
        """Return a film as it is seen as a whole, and as each of its boxes, where it has any."""
        if self.boxes is None:
            return [View(None, np.arange(len(self.track().pts)), self)]
        all_of_it = self.track()
        shown, which = np.unique(self.boxes, axis=0, return_inverse=True)
        found = []
        for number in range(len(shown)):
            places = np.flatnonzero(which.ravel() == number)
            box, begin = self.box(int(places[0])), all_of_it.begin
            if box is not None:
                pts = all_of_it.pts[places]
                interval = float(np.median(np.diff(pts))) if len(pts) > 1 else 0.0
                begin = max(begin, float(pts[0]) - interval / 2.0)
            track = cache(partial(all_of_it.take, places, begin))
            found.append(View(box, places, structs.replace(self, track=track, boxes=None)))
        return sorted(found, key=lambda view: view.box is not None)  # the whole first

    def box(self, frame: int) -> Box | None:
        """Return the part of a picture that a descriptor shows, None for all of it."""
        if self.boxes is None:
            return None
        left, top, right, bottom = (round(side / FULL, 4) for side in self.boxes[frame].tolist())
        return None if (left, top, right, bottom) == (0.0, 0.0, 1.0, 1.0) else (left, top, right, bottom)


@dataclass(frozen=True, slots=True)
class View:
    """What one film shows in one part of it.

    Attributes:
        box: the part; None for all of it.
        places: of its frames among all of the film, rising.
        side: the film as if this was all of it.
    """

    box: Box | None
    places: Ids
    side: Side

    def seen(self, frames: Ids) -> tuple[npt.NDArray[np.bool_], Ids]:
        """Return which of some frames of the film are in the view, and the places of all within it."""
        place = np.minimum(np.searchsorted(self.places, frames), len(self.places) - 1)
        return np.asarray(self.places[place] == frames), place


class Judgement(msgspec.Struct, frozen=True):
    """A decision and the probability, 0 to 1, that the match is a copy."""

    decision: Decision
    probability: float


DISTINCT = Judgement(Decision.DISTINCT, 0.0)
_NOTHING = PairOutcome(DISTINCT, 4.0, 0.0, NOWHERE)
_NO_DOUBTS = Doubt.NO, Doubt.NO
_ALL: Box = (0.0, 0.0, 1.0, 1.0)


class Judge:
    """Turns evidence into decisions at a wanted precision, for the number of references held.

    The number is rounded up to the next quarter power of two, so that thresholds are computed a few times and not for
    each item, and do not depend on how the log was cut into batches.
    """

    def __init__(self, calibration: Calibration, precision: float, proves: bool = False) -> None:
        """Decide by these curves at this precision; `proves` if what is proposed is proved before it is decided."""
        self.proves = proves
        self.change(calibration, precision)

    def change(self, calibration: Calibration, precision: float) -> None:
        """Decide by other curves or at another precision from here on.

        Raises:
            ConfigError: an unusable precision.
        """
        self.calibration = calibration
        self.precision = precision
        self._thresholds = lru_cache(maxsize=1024)(partial(calibration.thresholds, precision))
        self._of_moments = lru_cache(maxsize=1024)(partial(calibration.thresholds, precision, moments=True))
        self._proved = {
            ground: lru_cache(maxsize=1024)(partial(calibration.thresholds, precision, ground=ground))
            for ground in Ground
        }
        self._proposed = lru_cache(maxsize=1024)(self._propose)
        self._shift = lru_cache(maxsize=1024)(calibration.shift)
        self._log_ratio = {None: 0.0} | {ground: calibration.proofs.log_ratio(ground) for ground in Ground}
        self._thresholds(1)  # fails at once for an unusable precision

    @property
    def min_vote(self) -> float:
        """Evidence from which two frames, not picked out of many, are more likely than not the same picture."""
        return self._thresholds(1).min_unsure

    def thresholds(self, references: int) -> Thresholds:
        """Return the thresholds among m references, or m chances of any kind."""
        return self._thresholds(_rounded(references))

    def least(self, references: int) -> float:
        """Return the evidence below which a picture is distinct among m references.

        Where proofs are made, that is where one that finds a copy makes a duplicate of it, and where no more than a
        share of STRANGERS has a candidate, which bounds what proofs cost.
        """
        unsure = self.thresholds(references).min_unsure
        return min(unsure, self._proposed(_rounded(references))) if self.proves else unsure

    def prove(self, outcome: PairOutcome, proved: Proved) -> PairOutcome:
        """Return an outcome as it is once a proof was made.

        A copy or a variant is what the proof says it is. What remains unproved is unsure at most, unless moments of
        moving pictures agree: frames that were not taken at the same instant cannot be laid over each other, and say
        nothing against it.
        """
        finding, ground = proved.summary.finding, proved.summary.ground
        evidence, chances = outcome.evidence, _rounded(outcome.chances)
        if finding is Finding.COPY:  # copies resemble each other: what else resembles the query is no reason to doubt
            evidence = max(evidence, outcome.alone)
        probability = self._probability(evidence, chances, ground)
        limits = self._proved[ground](chances)
        decision = Decision.UNSURE if evidence >= limits.min_unsure else Decision.DISTINCT
        relation = Relation.COPY
        if outcome.moments and (ground is Ground.MOTION or finding is Finding.UNPROVED):
            return structs.replace(outcome, proof=proved.summary)
        if finding is Finding.VARIANT:
            decision, relation = Decision.DISTINCT, Relation.VARIANT
        elif evidence >= limits.min_duplicate:
            decision = Decision.DUPLICATE
        where = _proved_where(outcome.where, proved, outcome.in_time)
        found = structs.replace(
            outcome,
            judgement=Judgement(decision, probability),
            where=where,
            relation=relation,
            proof=proved.summary,
        )
        return _doubted(found, outcome.doubt)

    def _propose(self, references: int) -> float:
        copy = self._proved[Ground.AGREES](references).min_duplicate
        return max(copy, self.calibration.evidence_of_strangers(STRANGERS, references))

    def _probability(self, evidence: float, rounded: int, ground: Ground | None = None) -> float:
        """Return `Calibration.one_probability`, its curves looked up once for a number of references."""
        return logistic(self.calibration.log_odds_after(evidence, self._shift(rounded), self._log_ratio[ground]))

    def chance_of_match(self, evidence: float) -> float:
        """Return the probability that a stranger reaches this evidence with a given picture."""
        return min(1.0, math.exp(float(self.calibration.log_false_match_rate(evidence))))

    def judge(self, evidence: float, references: int, moments: bool = False) -> Judgement:
        """Decide on the best match of a query among m references; for `moments` see `Calibration.thresholds`."""
        rounded = _rounded(references)
        limits = self._of_moments(rounded) if moments else self._thresholds(rounded)
        return _judgement(evidence, self._probability(evidence, rounded), limits)

    def judge_all(self, evidence: npt.NDArray[np.float64], references: int) -> list[Judgement]:
        """Return what `judge` does of many pairs, for a fraction of the time."""
        rounded = _rounded(references)
        limits, odds = self._thresholds(rounded), self.calibration.log_odds_after(evidence, self._shift(rounded), 0.0)
        return [
            _judgement(one, probability, limits)
            for one, probability in zip(evidence.tolist(), logistics(odds), strict=True)
        ]


def _judgement(evidence: float, probability: float, limits: Thresholds) -> Judgement:
    if evidence >= limits.min_duplicate:
        return Judgement(Decision.DUPLICATE, probability)
    return Judgement(Decision.UNSURE if evidence >= limits.min_unsure else Decision.DISTINCT, probability)


@lru_cache(maxsize=4096)
def _rounded(references: int) -> int:
    return math.ceil(2 ** (math.ceil(4 * math.log2(max(references, 1))) / 4))


def compare_items(
    query: Side,
    reference: Side,
    pairs: Pairs,
    frames: tuple[Ids, Ids],
    rule: Evidence,
    judge: Judge,
    references: int,
    shift: Callable[[], Floats],
) -> PairOutcome:
    """Compare a query with one reference item, given their similar descriptors.

    Args:
        pairs: rows of both; without any, the items are distinct.
        frames: for each pair the frame within the query and within the reference.
        rule: computes evidence where segments are verified.
        references: m, descriptors that the query was compared with.
        shift: returns that of the query's frames for the reference, (t,), see `evidence.Cohort`; asked of videos.
    """
    if len(pairs.query) == 0:
        return _NOTHING
    if query.kind is Kind.IMAGE and reference.kind is Kind.IMAGE:
        outcome = _compare_images(query, reference, pairs, frames, judge, references)
        return _of_doubtful(outcome, query.doubt, reference.doubt)
    best = int(np.argmax(pairs.evidence))
    evidence, distance = float(pairs.evidence[best]), float(pairs.distance[best])
    if query.kind is reference.kind:
        votes = Votes(frames[0], frames[1], pairs.evidence)
        if query.boxes is None and reference.boxes is None:
            return _compare_videos(query, reference, votes, distance, rule, judge, references, shift())
        return _compare_views(query, reference, votes, distance, rule, judge, references, shift())
    video, place = (query, 0) if query.kind is Kind.VIDEO else (reference, 1)
    track = video.track()
    chances = references * (len(track.pts) if video is query else query.count)
    least = judge.thresholds(chances).min_unsure
    (mine, at), seconds = next(
        (view.seen(frames[place]), track.pts[view.places])
        for view in video.views()
        if frames[place][best] in view.places
    )
    start, end = run_around(seconds, at[mine], pairs.evidence[mine], int(at[best]), least)
    span = Span(start, end, 0.0, 0.0, evidence) if video is query else Span(0.0, 0.0, start, end, evidence)
    boxes = query.box(int(frames[0][best])), reference.box(int(frames[1][best]))
    return PairOutcome(judge.judge(evidence, chances), distance, evidence, located(False, boxes, (span,)), chances)


def _compare_images(
    query: Side, reference: Side, pairs: Pairs, frames: tuple[Ids, Ids], judge: Judge, references: int
) -> PairOutcome:
    """Compare two images: as wholes where that decides as much, else by the best part."""
    if query.boxes is None and reference.boxes is None:  # most have no parts
        best = int(np.argmax(pairs.evidence))
        distance, evidence = float(pairs.distance[best]), float(pairs.evidence[best])
        return PairOutcome(judge.judge(evidence, references), distance, evidence, WHOLE, references)
    outcomes = []
    for where, best in where_images_match(query, reference, pairs, frames):
        evidence = float(pairs.evidence[best])
        # Each part is one more chance to match; the whole has those that it had without parts.
        chances = references * (query.count if frames[0][best] else 1)
        outcomes.append(
            PairOutcome(judge.judge(evidence, chances), float(pairs.distance[best]), evidence, where, chances)
        )
    return max(outcomes, key=_standing, default=_NOTHING)


def compare_wholes(
    distance: float, evidence: float, alone: float, doubts: tuple[Doubt, Doubt], judged: Judgement, references: int
) -> PairOutcome:
    """Return what `compare_items` does for two images with a descriptor each, without its arrays.

    Args:
        alone: see `PairOutcome`. doubts: of both. judged: by the evidence. references: see `compare_items`.
    """
    outcome = PairOutcome(judged, distance, evidence, WHOLE, references, alone)
    return outcome if doubts == _NO_DOUBTS else _of_doubtful(outcome, *doubts)


def _of_doubtful(outcome: PairOutcome, *doubts: Doubt) -> PairOutcome:
    """Return an outcome of two images that is `unsure` at most where there is a doubt about one of them."""
    for doubt in doubts:
        if doubt is not Doubt.STRETCHED or outcome.evidence < CLOSE:
            outcome = _doubted(outcome, doubt)
    return outcome


def _standing(one: PairOutcome) -> tuple[int, float]:
    """Return what orders outcomes of two images; of those that are distinct the likelier may still be proved."""
    decision = one.judgement.decision
    return RANK[decision], one.judgement.probability if decision is Decision.DISTINCT else 0.0


def where_images_match(
    query: Side, reference: Side, pairs: Pairs, frames: tuple[Ids, Ids]
) -> Iterator[tuple[Where, int]]:
    """Yield where two images match best and which pair says so: as wholes, then with a part of one.

    Two match as wholes where what resembles each other covers most of both (`WHOLE_AREA`).
    """
    areas = query.areas(frames[0]), reference.areas(frames[1])
    whole = np.minimum(*areas) >= WHOLE_AREA
    for kind in (whole, (np.maximum(*areas) >= WHOLE_AREA) & ~whole):
        if kind.any():
            places = np.flatnonzero(kind)
            best = int(places[np.argmax(pairs.evidence[places])])
            boxes = query.box(int(frames[0][best])), reference.box(int(frames[1][best]))
            yield located(kind is whole, boxes), best


def _compare_views(
    one: Side,
    other: Side,
    votes: Votes,
    nearest: float,
    rule: Evidence,
    judge: Judge,
    references: int,
    shift: Floats,
) -> PairOutcome:
    """Compare each view of the query with each of the reference; the likeliest decides, wholes before parts."""
    outcomes = []
    for own in one.views():
        for theirs in other.views():
            (mine, query), (its, reference) = own.seen(votes.query), theirs.seen(votes.reference)
            both = np.flatnonzero(mine & its)
            if not len(both):
                continue
            some = Votes(query[both], reference[both], votes.evidence[both])
            # Each part is one more chance to match; the whole has those that it had without parts.
            frames = len(own.places) if own.box is None else len(one.track().pts)
            outcome = _compare_videos(
                own.side, theirs.side, some, nearest, rule, judge, references, shift[own.places], frames
            )
            segments = tuple(
                replace(
                    segment,
                    query=_of_film(own, segment.query),
                    reference=_of_film(theirs, segment.reference),
                )
                for segment in outcome.segments
            )
            where, in_time = outcome.where, False
            if (own.box or theirs.box) and where.kind is not WhereKind.NOTHING:
                in_time = where.whole
                where = located(False, (own.box, theirs.box), where.spans)
            outcomes.append(structs.replace(outcome, where=where, in_time=in_time, segments=segments))
    return max(outcomes, key=lambda one: (RANK[one.judgement.decision], one.judgement.probability), default=_NOTHING)


def _of_film(view: View, ends: tuple[int, int]) -> tuple[int, int]:
    return int(view.places[ends[0]]), int(view.places[ends[1]])


def _compare_videos(
    one: Side,
    other: Side,
    votes: Votes,
    nearest: float,
    rule: Evidence,
    judge: Judge,
    references: int,
    shift: Floats,
    frames: int | None = None,
) -> PairOutcome:
    """Compare two films; `frames` are the query's, each a chance to match, if not all are in its track."""
    query, reference = one.track(), other.track()
    segments = find_segments(query, reference, votes, rule, judge.min_vote, shift)
    kept = keep_rare(segments, query, reference)
    if not kept:
        return PairOutcome(DISTINCT, nearest, 0.0, NOWHERE, segments=tuple(segments))
    judgement, best, chances = judge_segments(kept, frames or len(query.pts), judge, references)
    whole = min(coverage(kept, query, reference)) >= WHOLE_COVERAGE
    doubt = _doubt(one, other, kept, best) if whole else Doubt.NO
    outcome = PairOutcome(
        judgement,
        min(segment.distance for segment in kept),
        best.evidence,
        located(whole and not other.running, spans=tuple(segment.span for segment in kept)),
        chances,
        moments=best.same_moments and not math.isnan(best.contrast),
        segments=tuple(segments),
    )
    return _doubted(outcome, doubt)


LEAST_WHOLE = 0.5
"""Share of both pictures that a proof must lay over each other for a copy as a whole: a crop to less, or a picture that
was pasted into a larger one, is a copy of a part."""


def _proved_where(where: Where, proved: Proved, in_time: bool) -> Where:
    """Return where two match, as a proof found it. Of videos spans say that; what is no copy keeps its place.

    A film within plain bars, which matches from beginning to end, is a copy as a whole.
    """
    laid = where if where.kind is WhereKind.NOTHING else structs.replace(where, transform=proved.transform)
    if in_time and all(proved.bordered) and proved.finding is Finding.COPY:
        return structs.replace(laid, kind=WhereKind.WHOLE)
    if where.spans or proved.summary.finding is not Finding.COPY:
        return laid
    if where.whole and min(proved.query_share, proved.reference_share) >= LEAST_WHOLE:
        return laid
    boxes = tuple(None if box == _ALL else box for box in (proved.query_box, proved.reference_box))
    found = located(False, (boxes[0], boxes[1]))
    if found.kind is not WhereKind.PART:
        return laid
    return structs.replace(found, transform=proved.transform)


def _doubted(outcome: PairOutcome, doubt: Doubt) -> PairOutcome:
    """Return an outcome that is `unsure` at most where there is a doubt."""
    return outcome if doubt is Doubt.NO else structs.replace(at_most_unsure(outcome), doubt=doubt)


def at_most_unsure(outcome: PairOutcome) -> PairOutcome:
    """Return an outcome with `unsure` in the place of `duplicate`."""
    if outcome.judgement.decision is not Decision.DUPLICATE:
        return outcome
    return structs.replace(outcome, judgement=Judgement(Decision.UNSURE, outcome.judgement.probability))


def _doubt(query: Side, reference: Side, kept: Sequence[Segment], best: Segment) -> Doubt:
    """Return what the sound says against two videos that look the same as a whole.

    Where the pictures move they show whether both begin together; where they are still, any offset looks right.
    """
    first = min(kept, key=lambda segment: segment.span.query_start).span
    together = math.isnan(best.contrast) or abs(first.reference_start - first.query_start) <= MAX_OFFSET_SECONDS
    seconds = query.track().seconds, reference.track().seconds
    return compare_sounds(query.sound, reference.sound, seconds, together)


def judge_segments(
    kept: Sequence[Segment], frames: int, judge: Judge, references: int
) -> tuple[Judgement, Segment, int]:
    """Return what one segment or more say of two videos, the segment that says it, and the chances that it had.

    Args:
        frames: of the whole query.
    """
    best = max(kept, key=lambda segment: (segment.same_moments, segment.evidence))
    # Every frame is a chance to match. Frames of a still picture are one and the same chance; frames that agree on
    # moments of something that moves confirm each other: of k different moments, each beyond those that look-alikes
    # have in common would have to match by chance as well.
    still = math.isnan(best.contrast)
    chances = references * frames / (1 if still else best.votes**2)
    if best.same_moments:
        chances *= judge.chance_of_match(best.evidence) ** max(best.moments - COMMON_MOMENTS, 0.0)
    counted = math.ceil(chances)
    judgement = judge.judge(best.evidence, counted, moments=not still and best.same_moments)
    if not still and not best.same_moments and judgement.decision is Decision.DUPLICATE:
        judgement = Judgement(Decision.UNSURE, judgement.probability)
    return judgement, best, counted


def keep_rare(
    segments: Sequence[Segment], query: Track, reference: Track, query_is_whole: bool = True
) -> list[Segment]:
    """Leave out segments that many items have in common: intros, adverts, logos.

    What covers nearly all of one of the two is kept all the same: a viral excerpt is still a copy. What resembles the
    other one far less than the best segment does is not counted to it: an intro, and films that go on a little alike.

    Args:
        query_is_whole: else it is a stretch of a longer video, and nothing follows from covering it.
    """
    least = LEAST_SHARE * max((segment.evidence for segment in segments), default=0.0)
    alike = [segment for segment in segments if segment.evidence >= least]
    if alike and max(coverage(alike, query, reference)[0 if query_is_whole else 1 :]) >= WHOLE_COVERAGE:
        return list(segments)
    least = min(MIN_VOTES, int(query.speaks.sum()), int(reference.speaks.sum()))
    return [segment for segment in segments if segment.rarity >= least]


def coverage(segments: Sequence[Segment], query: Track, reference: Track) -> tuple[float, float]:
    """Return the share, 0 to 1, of each video's frames that lie within the segments; of those that say something."""
    seen = (np.zeros(len(query.pts), dtype=np.bool_), np.zeros(len(reference.pts), dtype=np.bool_))
    for segment in segments:
        seen[0][segment.query[0] : segment.query[1] + 1] = True
        seen[1][segment.reference[0] : segment.reference[1] + 1] = True
    shares = [float(one[track.speaks].mean()) for one, track in zip(seen, (query, reference), strict=True)]
    return shares[0], shares[1]


def run_around(
    pts: npt.NDArray[np.float64], frames: Ids, evidence: Floats, best: int, least: float
) -> tuple[float, float]:
    """Return seconds of the run of frames with at least this evidence that holds the best frame."""
    shows = np.zeros(len(pts), dtype=np.bool_)
    shows[frames[evidence >= least]] = True
    shows[best] = True
    absent = np.flatnonzero(~shows)
    after = np.searchsorted(absent, best)
    first = int(absent[after - 1]) + 1 if after > 0 else 0
    last = int(absent[after]) - 1 if after < len(absent) else len(shows) - 1
    return float(pts[first]), float(pts[last])
