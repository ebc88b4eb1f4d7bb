"""Find the stretches of time that two videos share.

Candidates come as votes: frame i of the query resembles frame j of the reference, which suggests that the query shows
at time t what the reference shows at start + speed · t. Votes only propose such lines. Each proposed line is then
*verified*: every query frame is compared with the reference frame that stands at its time on the line, and runs of
agreeing frames become segments. So a vote that the top-k search missed costs nothing, and a single lucky vote gains
nothing. Speeds other than 1, below zero where a film runs backwards, have to explain clearly more, and are taken only
where moments differ from each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import numpy.typing as npt

from neardup.pipeline.match.decide.evidence import Evidence, Floats, differing_bits
from neardup.pipeline.types import Descriptors, Hashes, Ids, Span

MAX_GAP_FRAMES = 2
"""Disagreeing frames that a run may bridge: a flash, a cut that falls between two samples."""
MAX_OFFSETS = 16
"""Proposed lines of speed 1 tried for one pair of videos, best first."""
WINDOW_OFFSETS = 5
"""The same for a stretch of a live video, which is looked at with speed 1 alone."""
SPEEDS = tuple(way * 2.0 ** (step / 8) for way in (1.0, -1.0) for step in range(-8, 9) if (way, step) != (1.0, 0))
"""Other speeds that lines are proposed with; between them the votes on a line settle its speed."""
SLOWEST, FASTEST = 0.45, 2.2
"""Between these, forwards or backwards, lies the speed of a line."""
MAX_LINES = 12
"""Proposed lines of other speeds tried for one pair of videos."""
VOTES_OF_A_FRAME = 4
"""Votes of one frame, the strongest, that propose lines of other speeds."""
OTHER_SPEED = 1.05
"""How many times the agreement at speed 1 another speed needs: where little moves, all speeds agree about as much."""
ALIGNED_AT_ONCE = 1 << 13
"""Pairs of frames compared at a time: some 8 MB."""
MIN_VOTES_OF_SPEED = 4
"""Agreeing frames that make a segment of another speed."""
EXPLAINED = (0.9, 0.8)
"""Share of the query's frames that agree at speed 1, and their contrast, with which no other speed is looked at."""
LEAST_SHARE = 0.4
"""Share of the evidence of the better half of a run that its ends need."""
MIN_VOTES = 3
"""Agreeing frames that make a segment, unless one of the videos has fewer."""
HASH_SHARE = 0.3
"""Weight of the hash beside the descriptor where moments are distinguished."""
REPEATED = 0.8
"""Share of the first showing's contrast that another showing of the same stretch needs."""
SAME_SCENE = 0.2
"""Contrast below which a stretch that moves is another recording of the same scene, and no segment."""
MIN_CONTRAST, MIN_CONTRAST_OF_SPEED = 0.4, 0.55
"""Contrast from which many frames show the same moments, and where their speed was chosen to fit."""
MOMENTS_OF = 256
"""Frames of a stretch, evenly over it, among which moments are counted."""
MIN_CHANGE = 0.05
"""Mean distance between the frames of a stretch (1 − similarity) from which it counts as moving at all."""


class Gathered(Protocol):
    """Descriptors by place: an array, or what reads them where they lie."""

    def __getitem__(self, places: Ids, /) -> Descriptors: ...


@dataclass(frozen=True, slots=True)
class Track:
    """The frames of one video, t of them, in order of time.

    Attributes:
        pts: seconds, float64 (t,).
        vectors: float32 (t, d), unit rows. hashes: uint8 (t, 32).
        speaks: bool (t,); False for a frame with nothing to recognise, which neither votes nor interrupts.
        shared: int64 (t,), number of other items known to show the same frame.
        seconds: duration, or where the frames end. begin: where they begin.
    """

    pts: npt.NDArray[np.float64]
    vectors: Gathered
    hashes: Hashes
    speaks: npt.NDArray[np.bool_]
    shared: npt.NDArray[np.int64]
    seconds: float
    begin: float = 0.0

    def take(self, places: Ids, begin: float) -> Track:
        """Return some of the frames, in order of time, which begin at this second."""
        columns = (self.pts[places], _Some(self.vectors, places), self.hashes[places], self.speaks[places])
        return Track(*columns, self.shared[places], self.seconds, begin)

    @property
    def interval(self) -> float:
        """Median seconds between frames."""
        return float(np.median(np.diff(self.pts))) if len(self.pts) > 1 else 0.0


class _Some:
    """Some of the descriptors that others gather, by place among these."""

    def __init__(self, vectors: Gathered, places: Ids) -> None:
        self._vectors, self._places = vectors, places

    def __getitem__(self, places: Ids, /) -> Descriptors:
        return self._vectors[self._places[places]]


@dataclass(frozen=True, slots=True)
class Votes:
    """Pairs (frame of the query, frame of the reference) that look alike; all arrays (v,)."""

    query: npt.NDArray[np.int64]
    reference: npt.NDArray[np.int64]
    evidence: Floats


@dataclass(frozen=True, slots=True)
class Segment:
    """A verified stretch.

    Attributes:
        span: seconds in both.
        evidence: mean over its frames that speak.
        distance: least over its frames.
        votes: number of its frames that agree.
        rarity: the same number, each frame divided by the square of the number of items that share it.
        contrast: how far the frames agree in *time* and not only in scene, see `_contrast`; nan where nothing moves.
        moments: how many moments it shows that differ from each other, see `_moments`; from 1, where nothing moves.
        other_speed: the query runs faster, slower or backwards.
        query, reference: first and last frame of the stretch in each, inclusive, in order of each one's time.
    """

    span: Span
    evidence: float
    distance: float
    votes: int
    rarity: float
    contrast: float
    moments: float
    other_speed: bool
    query: tuple[int, int]
    reference: tuple[int, int]

    @property
    def same_moments(self) -> bool:
        """Whether what moves shows the same moments and not only the same scene; the fewer frames, the more proof."""
        frames = min(self.votes, self.reference[1] - self.reference[0] + 1)  # at half speed two may show one
        least = MIN_CONTRAST_OF_SPEED if self.other_speed else MIN_CONTRAST
        return self.contrast >= least + 0.8 / max(frames, 1)


def find_segments(
    query: Track,
    reference: Track,
    votes: Votes,
    evidence: Evidence,
    min_vote: float,
    shift: Floats,
    window: bool = False,
) -> list[Segment]:
    """Return the segments two videos share, in order of the query's time; they do not overlap in the query.

    Args:
        min_vote: evidence from which a pair of frames counts as agreeing.
        shift: of the query's frames for the reference, (t,), see `evidence.Cohort`.
        window: the query is a stretch of a longer video, looked at again and again: its ends say nothing, and a few
            offsets are enough.
    """
    if len(votes.query) == 0:
        return []
    step = max(query.interval, reference.interval, 1e-3)

    def align(lines: Sequence[_Line]) -> list[_Aligned]:
        return list(_align(query, reference, lines, step, evidence, shift))

    def agreement(one: _Aligned) -> float:
        return float(one.strength[one.strength >= min_vote].sum())

    starts = list(islice(_proposed(query, reference, votes, step), WINDOW_OFFSETS if window else MAX_OFFSETS))
    # Where nothing moves, votes cannot tell lines apart: a copy begins, and ends, with its original.
    ends = [_Line(reference.begin - query.begin), _Line(float(reference.pts[-1] - query.pts[-1]))]
    aligned = align(starts if window else [*ends, *starts])
    # The line on which most frames agree, and best, has the first choice of frames.
    aligned.sort(key=lambda one: -agreement(one))
    if not window and not _explains(query, reference, aligned[0], min_vote):
        least_agreement = OTHER_SPEED * agreement(aligned[0])
        others = align(_other_speeds(query, reference, votes, step))
        aligned += [one for one in others if agreement(one) >= least_agreement]
        aligned.sort(key=lambda one: -agreement(one))
    free = np.ones(len(query.pts), dtype=np.bool_)
    claimed = np.full(len(reference.pts), -np.inf)
    least = min(MIN_VOTES, int(query.speaks.sum()), int(reference.speaks.sum()))
    found: list[Segment] = []
    for one in aligned:
        agrees = (one.strength >= min_vote) & free & query.speaks
        # Frames that another segment has taken end a run as frames that disagree do.
        for first, last in _runs(agrees, query.speaks & ((one.pairs >= 0) | ~free)):
            start, stop = _core(one.strength, agrees, first, last)
            if agrees[start : stop + 1].sum() < (least if one.line.plain else MIN_VOTES_OF_SPEED):
                continue
            segment = _segment(query, reference, one, agrees, start, stop)
            shown = slice(segment.reference[0], segment.reference[1] + 1)
            # In a still scene every line fits, in a lively one some other moments nearly. A stretch that is shown
            # once more has to fit nearly as well as it did the first time.
            repeated = (claimed[shown] > -np.inf).mean() > 0.5
            doubtful = repeated and not segment.contrast >= REPEATED * claimed[shown].max()
            doubtful |= not one.line.plain and not segment.same_moments
            if not doubtful and not segment.contrast < SAME_SCENE:
                found.append(segment)
                free[start : stop + 1] = False
                claimed[shown] = np.inf if math.isnan(segment.contrast) else max(segment.contrast, 0.5)
    return sorted(found, key=lambda segment: segment.query)


@dataclass(frozen=True, slots=True)
class _Line:
    """The query shows at second t what the reference shows at start + speed · t; below zero it runs backwards."""

    start: float
    speed: float = 1.0

    @property
    def plain(self) -> bool:
        """Whether the query plays at the speed of the reference."""
        return self.speed == 1.0

    def at(self, seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the seconds of the reference."""
        return np.asarray(seconds + self.start if self.plain else self.start + self.speed * seconds)


def _proposed(
    query: Track, reference: Track, votes: Votes, step: float, speeds: Sequence[float] = (1.0,), least: int = 1
) -> Iterator[_Line]:
    """Yield lines of these speeds that some query frames vote for, at least so many; the one with most first."""
    speed = np.repeat(np.asarray(speeds), len(votes.query))  # (s · v,)
    voter, evidence = np.tile(votes.query, len(speeds)), np.tile(votes.evidence.astype(np.float64), len(speeds))
    offset = np.tile(reference.pts[votes.reference], len(speeds)) - speed * query.pts[voter]
    bins = np.floor(offset / step).astype(np.int64)
    low, width = int(bins.min()), int(bins.max() - bins.min()) + 2
    bins += np.repeat(np.arange(len(speeds)), len(votes.query)) * width - low
    # A frame votes once for a bin, and for the neighbour too, since a true offset may lie on the border.
    wide, twice, strength = np.concatenate([bins, bins + 1]), np.tile(voter, 2), np.tile(evidence, 2)
    order = np.lexsort((strength, twice, wide))
    wide, twice, strength = wide[order], twice[order], strength[order]
    last = np.append((np.diff(wide) != 0) | (np.diff(twice) != 0), True)  # the strongest of a frame for a bin
    totals = np.bincount(wide[last], weights=strength[last])
    weight = np.maximum(evidence, 1e-3)
    sums = [np.bincount(bins, some, len(totals)) for some in (weight, weight * offset)]
    voters = np.bincount(wide[last])
    names = np.flatnonzero(voters >= least)
    for name in names[np.argsort(-totals[names], kind="stable")].tolist():
        inside = slice(max(name - 1, 0), name + 1)
        yield _Line(float(sums[1][inside].sum() / sums[0][inside].sum()), float(speeds[name // width]))


def _other_speeds(query: Track, reference: Track, votes: Votes, step: float) -> list[_Line]:
    """Return the lines of other speeds that most query frames vote for, each with the speed that its votes fit best."""
    few = _strongest(votes)
    lines: list[_Line] = []
    ends = query.pts[[0, -1]]
    for line in islice(_proposed(query, reference, few, step, SPEEDS, MIN_VOTES), 4 * MAX_LINES):
        one = _refined(query, reference, few, step, line)
        if all(np.abs(one.at(ends) - other.at(ends)).max() > step / 2 for other in lines):
            lines.append(one)
        if len(lines) == MAX_LINES:
            break
    return lines


def _strongest(votes: Votes) -> Votes:
    """Keep the VOTES_OF_A_FRAME strongest votes of each frame of the query."""
    order = np.lexsort((votes.reference, -votes.evidence, votes.query))
    new = np.flatnonzero(np.diff(votes.query[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(new, np.diff(new, append=len(order)))
    kept = order[rank < VOTES_OF_A_FRAME]
    return Votes(votes.query[kept], votes.reference[kept], votes.evidence[kept])


def _refined(query: Track, reference: Track, votes: Votes, step: float, line: _Line) -> _Line:
    """Fit a line to the votes near it, by least squares weighted with their evidence."""
    x, y = query.pts[votes.query], reference.pts[votes.reference]
    for reach in (1.0, 1.0, 0.6):
        near = np.abs(y - line.at(x)) <= reach * step
        if len(np.unique(x[near])) < MIN_VOTES_OF_SPEED:
            break
        weight = np.maximum(votes.evidence[near], 1e-3).astype(np.float64)
        x0, y0 = weight @ x[near] / weight.sum(), weight @ y[near] / weight.sum()
        away = x[near] - x0
        speed = float((weight * away) @ (y[near] - y0) / ((weight * away) @ away))
        if not SLOWEST <= abs(speed) <= FASTEST or speed == 1.0:
            break
        line = _Line(float(y0 - speed * x0), speed)
    return line


def _explains(query: Track, reference: Track, one: _Aligned, min_vote: float) -> bool:
    """Whether nearly all of the query agrees on a line, and in time."""
    agrees = (one.strength >= min_vote) & query.speaks
    if agrees.sum() < EXPLAINED[0] * query.speaks.sum():
        return False
    frames = np.flatnonzero(agrees)
    return _contrast(query, reference, frames, one.pairs[frames]) >= EXPLAINED[1]


@dataclass(frozen=True, slots=True)
class _Aligned:
    """A query laid over a reference along a line; for each of its frames, (t,).

    Attributes:
        line: which one.
        pairs: the reference frame at that time, -1 where there is none.
        strength: evidence of the two, -inf where there is none or it says nothing.
        distance: inf where there is none.
    """

    line: _Line
    pairs: npt.NDArray[np.int64]
    strength: Floats
    distance: Floats


def _align(
    query: Track, reference: Track, lines: Sequence[_Line], step: float, evidence: Evidence, shift: Floats
) -> Iterator[_Aligned]:
    """Compare each query frame with the reference frame at its time on each of the lines."""
    at_once = max(1, ALIGNED_AT_ONCE // len(query.pts))
    for first in range(0, len(lines), at_once):
        some = lines[first : first + at_once]
        wanted = np.stack([line.at(query.pts) for line in some])  # (lines, t)
        right = np.minimum(np.searchsorted(reference.pts, wanted), len(reference.pts) - 1)
        left = np.maximum(right - 1, 0)
        after, before = np.abs(reference.pts[right] - wanted), np.abs(reference.pts[left] - wanted)
        pairs = np.where(np.minimum(before, after) <= 0.55 * step, np.where(before <= after, left, right), -1)
        line, frame = np.nonzero(pairs >= 0)
        shown = pairs[line, frame]
        strength = np.full(pairs.shape, -np.inf, dtype=np.float32)
        distance = np.full(pairs.shape, np.inf, dtype=np.float32)
        difference = query.vectors[frame] - reference.vectors[shown]
        distance[line, frame] = np.einsum("nd,nd->n", difference, difference)
        bits = differing_bits(query.hashes[frame], reference.hashes[shown])
        found = evidence.of(distance[line, frame], bits, shift[frame])
        found[~reference.speaks[shown]] = -np.inf
        strength[line, frame] = found
        yield from map(_Aligned, some, pairs, strength, distance)


def _runs(agrees: npt.NDArray[np.bool_], comparable: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return maximal runs (first, last) of agreeing frames, bridging at most MAX_GAP_FRAMES disagreeing ones.

    Frames that cannot be compared (blank ones) are bridged freely.
    """
    hits = np.flatnonzero(agrees)
    if hits.size == 0:
        return []
    disagreeing = np.concatenate([[0], np.cumsum(comparable & ~agrees)])
    gap = disagreeing[hits[1:]] - disagreeing[hits[:-1]]
    breaks = np.flatnonzero(gap > MAX_GAP_FRAMES)
    firsts = np.concatenate([hits[:1], hits[breaks + 1]])
    lasts = np.concatenate([hits[breaks], hits[-1:]])
    return [(int(a), int(b)) for a, b in zip(firsts, lasts, strict=True)]


def _core(strength: Floats, agrees: npt.NDArray[np.bool_], first: int, last: int) -> tuple[int, int]:
    """Return the part of a run that is left without ends that agree far less than the rest.

    The stretch with the highest sum of evidence beyond LEAST_SHARE of what the better half of the run has: a film that
    goes on in another way after an intro resembles the other one a little by chance.
    """
    inside = np.arange(first, last + 1)
    agreeing = strength[inside[agrees[inside]]]
    least = LEAST_SHARE * float(np.sort(agreeing)[len(agreeing) // 2 :].mean())
    beyond = np.where(np.isfinite(strength[inside]), strength[inside], least) - least
    sums = np.concatenate([[0.0], np.cumsum(beyond, dtype=np.float64)])
    stop = int(np.argmax(sums[1:] - np.minimum.accumulate(sums[:-1])))
    start = int(np.argmin(sums[: stop + 1]))
    kept = np.flatnonzero(agrees[first + start : first + stop + 1])
    return first + start + int(kept[0]), first + start + int(kept[-1])


def _segment(
    query: Track, reference: Track, one: _Aligned, agrees: npt.NDArray[np.bool_], start: int, stop: int
) -> Segment:
    inside = np.arange(start, stop + 1)
    heard = inside[np.isfinite(one.strength[inside]) & query.speaks[inside]]
    shown = one.pairs[heard]
    shared = np.maximum(np.maximum(query.shared[heard], reference.shared[shown]), 1)
    first, last = sorted((int(one.pairs[start]), int(one.pairs[stop])))
    query_start, query_end = _widen(query, start, stop)
    reference_start, reference_end = _widen(reference, first, last)
    if not one.line.plain:  # the frames of one of them are too far apart to say where it begins in the other
        ends = np.sort(one.line.at(np.array([query_start, query_end])))
        reference_start, reference_end = np.clip(ends, reference.begin, max(reference.seconds, reference_end)).tolist()
    mean = float(one.strength[heard].mean())
    return Segment(
        span=Span(query_start, query_end, reference_start, reference_end, mean, backwards=one.line.speed < 0),
        evidence=mean,
        distance=float(one.distance[heard].min()),
        votes=int(agrees[inside].sum()),
        rarity=float((agrees[heard] / shared.astype(np.float64) ** 2).sum()),
        contrast=_contrast(query, reference, heard, shown),
        moments=min(_moments(query, heard), _moments(reference, shown)),
        other_speed=not one.line.plain,
        query=(start, stop),
        reference=(first, last),
    )


def _contrast(query: Track, reference: Track, frames: Ids, shown: Ids) -> float:
    """Return how much more alike frames are at the same moment than at different moments of one stretch.

    Two recordings of one room by one camera agree in every frame and are no copies: their frames agree as well at
    any other offset. In a copy the right moment stands out by as much as moments differ within each video:

        (mean similarity at the same moment − at different moments) / (1 − mean similarity of moments within each)

    near 1 for a copy, less where it was edited, near 0 for another recording; nan where hardly anything moves. Measured
    on the descriptors alone and with the hashes beside them (which see smaller movements, but not through a crop or a
    mirror), of which the higher counts.

    Args:
        frames, shown: int64 (t,), frames of the query and of the reference, moment by moment.
    """
    if len(frames) < MIN_VOTES:
        return float("nan")
    a, b = query.vectors[frames], reference.vectors[shown]
    if 1.0 - (_at_other_moments(a, a) + _at_other_moments(b, b)) / 2.0 < MIN_CHANGE:
        return float("nan")
    with_hashes = np.hstack([a, _signs(query.hashes[frames])]), np.hstack([b, _signs(reference.hashes[shown])])
    return max(_stands_out(a, b), _stands_out(*with_hashes))


def _moments(track: Track, frames: Ids) -> float:
    """Return how many different moments frames show, from 1 to t.

    The participation ratio of the eigenvalues of their Gram matrix, (Σ λ)² / Σ λ²: t for frames that have nothing in
    common, 1 for equal ones.
    """
    some = frames if len(frames) <= MOMENTS_OF else frames[np.linspace(0, len(frames) - 1, MOMENTS_OF).astype(np.int64)]
    vectors = track.vectors[some]
    products = vectors @ vectors.T
    return float(np.trace(products) ** 2 / np.einsum("ij,ij->", products, products))


def _stands_out(a: Floats, b: Floats) -> float:
    same = float(np.einsum("td,td->", a, b)) / len(a)
    norm = float(np.einsum("td,td->", a, a)) / len(a)  # rows are of equal length
    change = norm - (_at_other_moments(a, a) + _at_other_moments(b, b)) / 2.0
    return (same - _at_other_moments(a, b)) / change


def _at_other_moments(a: Floats, b: Floats) -> float:
    """Return the mean inner product of frames at different moments, without the matrix of all pairs."""
    t = len(a)
    return float(a.sum(axis=0) @ b.sum(axis=0) - np.einsum("td,td->", a, b)) / (t * (t - 1))


def _signs(hashes: Hashes) -> Floats:
    """Return the bits of hashes as vectors (t, 256) whose squared length is HASH_SHARE."""
    bits = np.unpackbits(hashes, axis=1).astype(np.float32)
    return np.asarray((2.0 * bits - 1.0) * np.sqrt(HASH_SHARE / bits.shape[1]), dtype=np.float32)


def _widen(track: Track, start: int, stop: int) -> tuple[float, float]:
    """Return the seconds of frames start to stop, each end half a sampling interval further out.

    The true border lies somewhere between the first agreeing sample and the one before it: the middle halves the error.
    Where the next sample is nearer than an interval, the middle is nearer too.
    """
    begin, end = track.begin, max(track.seconds, float(track.pts[-1]))
    if start > 0:
        begin = float(track.pts[start]) - min(track.interval, float(track.pts[start] - track.pts[start - 1])) / 2.0
    if stop < len(track.pts) - 1:
        end = float(track.pts[stop]) + min(track.interval, float(track.pts[stop + 1] - track.pts[stop])) / 2.0
    return begin, end
