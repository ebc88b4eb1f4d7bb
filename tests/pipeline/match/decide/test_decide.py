"""Hand-made pairs: a duplicate begins at evidence 0.85 and the unsure at 0.78, see `build.a_calibration`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.log.records import FULL
from neardup.pipeline.match.decide.decide import (
    Judge,
    PairOutcome,
    Pairs,
    Side,
    compare_items,
    judge_segments,
    keep_rare,
    run_around,
)
from neardup.pipeline.match.decide.evidence import Evidence
from neardup.pipeline.match.decide.segments import Segment, Track
from neardup.pipeline.types import Decision, Doubt, Kind, Span
from neardup.pipeline.where import Where, WhereKind
from tests.pipeline.match.build import D, a_calibration

JUDGE = Judge(a_calibration(), 0.99)
RULE = Evidence(np.empty((0, D), np.float32), 0.0)
LEFT_HALF = (0, 0, FULL // 2, FULL)
WHOLE = (0, 0, FULL, FULL)


def no_track() -> Track:
    raise AssertionError("a still was read as a video")


def image(*boxes: tuple[int, int, int, int], doubt: Doubt = Doubt.NO) -> Side:
    parts = np.array(boxes, dtype=np.uint16) if boxes else None
    return Side(Kind.IMAGE, no_track, boxes=parts, doubt=doubt)


def clip(seconds: int) -> Side:
    count = seconds + 1
    track = Track(
        pts=np.arange(count, dtype=np.float64),
        vectors=np.zeros((count, D), np.float32),
        hashes=np.zeros((count, 32), np.uint8),
        speaks=np.ones(count, np.bool_),
        shared=np.zeros(count, np.int64),
        seconds=float(seconds),
    )
    return Side(Kind.VIDEO, lambda: track)


def no_shift() -> npt.NDArray[np.float32]:
    return np.zeros(1000, np.float32)


def compared(query: Side, reference: Side, found: Sequence[tuple[int, int, float]], references: int = 1) -> PairOutcome:
    """Return the outcome for pairs of (frame of the query, frame of the reference, evidence)."""
    frames = np.array([(q, r) for q, r, _ in found], dtype=np.int64).reshape(-1, 2)
    evidence = np.array([e for _, _, e in found], dtype=np.float32)
    pairs = Pairs(frames[:, 0], frames[:, 1], 2 - 2 * evidence, evidence)
    return compare_items(query, reference, pairs, (frames[:, 0], frames[:, 1]), RULE, JUDGE, references, no_shift)


@pytest.mark.parametrize(
    ("evidence", "decision"),
    [(0.86, Decision.DUPLICATE), (0.84, Decision.UNSURE), (0.79, Decision.UNSURE), (0.77, Decision.DISTINCT)],
)
def test_evidence_decides_between_two_images(evidence: float, decision: Decision) -> None:
    outcome = compared(image(), image(), [(0, 0, evidence)])
    assert outcome.judgement.decision is decision
    assert outcome.where.whole
    assert outcome.distance == pytest.approx(2 - 2 * evidence)


def test_items_without_similar_descriptors_are_distinct() -> None:
    outcome = compared(image(), image(), [])
    assert (outcome.judgement.decision, outcome.judgement.probability, outcome.distance) == (Decision.DISTINCT, 0, 4)


def test_probability_falls_with_the_number_of_references() -> None:
    few, many = (compared(image(), image(), [(0, 0, 0.84)], count) for count in (1, 1_000_000))
    assert few.judgement.probability > many.judgement.probability


def test_a_part_that_shows_the_whole_reference_matches_as_a_part_with_its_box() -> None:
    outcome = compared(image(WHOLE, LEFT_HALF), image(), [(0, 0, 0.5), (1, 0, 0.99)])
    assert outcome.judgement.decision is Decision.DUPLICATE
    assert outcome.where == Where(kind=WhereKind.PART, query_box=(0.0, 0.0, 0.5, 1.0))


def test_two_parts_that_match_each_other_say_nothing() -> None:
    parts = image(WHOLE, LEFT_HALF)
    assert compared(parts, parts, [(1, 1, 0.99)]).judgement.decision is Decision.DISTINCT


def test_the_whole_stands_where_a_part_decides_no_more() -> None:
    outcome = compared(image(WHOLE, LEFT_HALF), image(), [(0, 0, 0.9), (1, 0, 0.99)])
    assert (outcome.where.whole, outcome.evidence) == (True, pytest.approx(0.9))


def test_a_dark_ground_leaves_a_duplicate_unsure() -> None:
    outcome = compared(image(doubt=Doubt.DARK_GROUND), image(), [(0, 0, 0.99)])
    assert (outcome.judgement.decision, outcome.doubt) == (Decision.UNSURE, Doubt.DARK_GROUND)


@pytest.mark.parametrize("video_is_query", [True, False])
def test_an_image_matches_a_video_in_the_run_of_frames_that_shows_it(video_is_query: bool) -> None:
    shown = [(3, 0.96), (4, 0.97), (5, 0.96), (8, 0.95), (6, 0.5)]
    sides = (clip(10), image()) if video_is_query else (image(), clip(10))
    found = [(frame, 0, e) if video_is_query else (0, frame, e) for frame, e in shown]
    outcome = compared(*sides, found)
    (span,) = outcome.where.spans
    seconds = (span.query_start, span.query_end) if video_is_query else (span.reference_start, span.reference_end)
    assert (outcome.judgement.decision, outcome.where.whole, seconds) == (Decision.DUPLICATE, False, (3.0, 5.0))


def test_each_frame_of_a_video_is_one_more_chance() -> None:
    short, long = (compared(clip(seconds), image(), [(1, 0, 0.84)]) for seconds in (1, 5000))
    assert short.judgement.probability > long.judgement.probability


def stretch(
    first: int, last: int, evidence: float, moments: float = 1.0, contrast: float = 0.9, rarity: float = 9.0
) -> Segment:
    """Return a segment of two videos with a frame a second that are in step."""
    ends = float(first), float(last)
    return Segment(
        Span(*ends, *ends, evidence), evidence, 0.1, last - first + 1, rarity, contrast, moments, False,
        (first, last), (first, last),
    )  # fmt: skip


def test_moments_that_differ_confirm_each_other() -> None:
    # 0.83 of one frame is not enough among 100,000 chances; of six different moments that agree, it is.
    judge = Judge(a_calibration(), 0.99)
    decisions = [
        judge_segments([stretch(0, 9, 0.855, moments=moments)], 1000, judge, 10_000)[0] for moments in (1.0, 2.0, 6.0)
    ]
    assert [one.decision for one in decisions] == [Decision.UNSURE, Decision.UNSURE, Decision.DUPLICATE]
    assert decisions[0].probability == decisions[1].probability < decisions[2].probability


def test_moments_of_another_recording_confirm_nothing() -> None:
    judge = Judge(a_calibration(), 0.99)
    judgement, _ = judge_segments([stretch(0, 9, 0.95, moments=9.0, contrast=0.3)], 1000, judge, 10_000)
    assert judgement.decision is Decision.UNSURE


def test_an_intro_is_not_kept_because_the_rest_resembles_the_other_film_a_little() -> None:
    track = clip(20).track()
    intro = stretch(0, 9, 0.8, rarity=1.0)
    assert keep_rare([intro, stretch(10, 19, 0.6)], track, track) != []
    assert keep_rare([intro, stretch(10, 19, 0.1, rarity=2.0)], track, track) == []


def test_a_run_holds_the_best_frame_even_alone() -> None:
    pts, evidence = np.arange(5.0), np.array([0.9, 0.1, 0.2], np.float32)
    assert run_around(pts, np.array([0, 2, 3]), evidence, 2, least=0.8) == (2.0, 2.0)


def test_an_unusable_precision_is_refused_when_a_judge_is_made() -> None:
    with pytest.raises(ConfigError):
        Judge(a_calibration(), 1.5)
