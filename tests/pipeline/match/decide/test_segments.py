"""Which stretches two videos share, told from hand-made tracks."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from neardup.pipeline.match.decide.evidence import NEIGHBOURS, Evidence, Pictures, make_cohort, near
from neardup.pipeline.match.decide.segments import Segment, Track, Votes, find_segments
from neardup.pipeline.types import Descriptors, Span
from tests.pipeline.match.build import D, Film, at, edited, times, track

RULE = Evidence(np.zeros((0, D), dtype=np.float32), 0.0)
MIN_VOTE = 0.78
INTERVAL = 0.5


def no_shift(track: Track) -> npt.NDArray[np.float32]:
    return np.zeros(len(track.pts), np.float32)


def segments_of(query: Track, reference: Track) -> list[Segment]:
    """Return what two tracks share, every pair of frames that is close enough being a vote."""
    shift = np.zeros(len(query.pts), np.float32)
    cohort = make_cohort(
        np.zeros((0, 0), np.int64), np.zeros((0, 0), np.float32), np.zeros((0, NEIGHBOURS), np.float32)
    )
    sides = [Pictures(np.asarray(one.vectors), one.hashes, cohort) for one in (query, reference)]
    frames, shown, _, strength = near(RULE, *sides, shift, MIN_VOTE)
    heard = query.speaks[frames] & reference.speaks[shown]
    return find_segments(
        query, reference, Votes(frames[heard], shown[heard], strength[heard]), RULE, MIN_VOTE, no_shift(query)
    )


def spans(segments: list[Segment]) -> list[tuple[float, ...]]:
    return [
        (one.span.query_start, one.span.query_end, one.span.reference_start, one.span.reference_end) for one in segments
    ]


def blurred(film: Film, moments: np.ndarray, base: int = 9) -> Descriptors:
    """Return frames of which nine tenths are one scene and a tenth moves as the film does."""
    scene = Film(base).at([0.0])
    vectors = np.sqrt(0.9) * scene + np.sqrt(0.1) * film.at(moments)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def join(*pieces: Descriptors) -> Track:
    return track(np.concatenate(pieces))


# -- where a stretch begins and ends -----------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [0.0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.49])
@pytest.mark.parametrize(("start", "length"), [(0.0, 6.0), (7.0, 9.0), (20.0, 10.0)])
def test_excerpt_inside_another_clip_is_found_within_a_sampling_interval_and_a_half(
    phase: float, start: float, length: float
) -> None:
    source, other = Film(1), Film(2)
    reference = track(source.at(times(30)))
    # The query: 5 seconds of something else, the excerpt, 4 seconds of something else; sampled at another phase.
    moments = times(9 + length, phase=phase)
    inside = (moments >= 5) & (moments < 5 + length)
    vectors = np.where(inside[:, None], source.at(moments - 5 + start), other.at(moments))
    (found,) = segments_of(track(vectors, moments), reference)
    truth = (5.0, 5 + length, start, start + length)
    assert spans([found])[0] == pytest.approx(truth, abs=1.5 * INTERVAL)
    assert found.same_moments


@pytest.mark.parametrize("interval", [0.4, 0.5, 0.7, 1.0])
def test_excerpt_is_found_where_the_two_are_sampled_at_different_rates(interval: float) -> None:
    film = Film(1)
    moments = times(10, interval)
    (found,) = segments_of(track(film.at(moments + 12), moments), track(film.at(times(30))))
    assert spans([found])[0] == pytest.approx((0, 10, 12, 22), abs=1.5 * max(interval, INTERVAL))


def test_edited_excerpt_is_found_at_its_place() -> None:
    film = Film(1)
    query = track(edited(film.at(times(10) + 7.2), cosine=0.9))
    (found,) = segments_of(query, track(film.at(times(30))))
    assert spans([found])[0] == pytest.approx((0, 10, 7.2, 17.2), abs=1.5 * INTERVAL)
    assert found.evidence == pytest.approx(0.9, abs=0.05)


def test_whole_clip_is_matched_from_its_first_second_to_its_last() -> None:
    film = track(Film(1).at(times(12)))
    (found,) = segments_of(film, film)
    assert found.span == Span(0.0, 12.0, 0.0, 12.0, pytest.approx(1.0))
    assert (found.votes, found.distance) == (25, pytest.approx(0.0, abs=1e-6))


def test_segment_ends_at_the_end_of_a_video_that_is_longer_than_its_last_frame() -> None:
    film = dataclasses.replace(track(Film(1).at(times(12))), seconds=12.4)
    assert spans(segments_of(film, film)) == [(0.0, 12.4, 0.0, 12.4)]


@pytest.mark.parametrize("seed", range(8))
def test_spans_lie_within_the_videos_at_any_frame_rate(seed: int) -> None:
    random = np.random.default_rng(seed)
    film = Film(1)
    moments = np.cumsum(random.choice([0.05, 0.3, 0.5, 0.6], size=80)) + 0.3
    one = track(film.at(moments), moments)
    # A last frame close behind the one before it, as samplers add it.
    late = np.append(times(20), 20.05)
    other = track(np.concatenate([film.at(late[:-1]), Film(2).at([0.0])]), late)
    for query, reference in ((one, other), (other, one)):
        found = segments_of(query, reference)
        assert found
        for segment in found:
            span = segment.span
            assert 0.0 <= span.query_start < span.query_end <= query.seconds
            assert 0.0 <= span.reference_start < span.reference_end <= reference.seconds


def test_variable_frame_rate_is_matched_by_time_and_not_by_number_of_frames() -> None:
    film = Film(1)
    random = np.random.default_rng(4)
    moments = np.cumsum(random.uniform(0.2, 0.8, size=30))
    moments -= moments[0]
    (found,) = segments_of(track(film.at(moments + 9), moments), track(film.at(times(40))))
    assert spans([found])[0] == pytest.approx((0, moments[-1], 9, 9 + moments[-1]), abs=1.5 * 0.8)


# -- gaps --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("odd", "pieces"), [(1, 1), (2, 1), (3, 2), (6, 2)])
def test_gap_of_up_to_two_frames_is_bridged(odd: int, pieces: int) -> None:
    film = Film(1)
    vectors = film.at(times(15)).copy()
    vectors[12 : 12 + odd] = Film(2).at(times(9))[:odd]
    found = segments_of(track(vectors), track(film.at(times(15))))
    assert len(found) == pieces
    if pieces == 1:
        assert (found[0].votes, found[0].query) == (31 - odd, (0, 30))
        assert found[0].evidence < 1.0
    else:
        assert [one.query for one in found] == [(0, 11), (12 + odd, 30)]


@pytest.mark.parametrize("count", [2, 8])
def test_blank_frames_in_between_do_not_interrupt(count: int) -> None:
    film = Film(1)
    vectors = film.at(times(15)).copy()
    vectors[10 : 10 + count] = at(0)
    query = track(vectors, blank=range(10, 10 + count))
    (found,) = segments_of(query, track(film.at(times(15))))
    assert (found.query, found.votes) == ((0, 30), 31 - count)
    assert found.evidence == pytest.approx(1.0, abs=1e-5)


def test_blank_frames_do_not_vote() -> None:
    black = np.repeat(at(0), 10, axis=0)
    one, other = (np.concatenate([film.at(times(5)), black]) for film in (Film(1), Film(2)))
    assert segments_of(track(one, blank=range(11, 21)), track(other, blank=range(11, 21))) == []
    assert segments_of(track(one), track(other)) != []


def test_blank_frames_at_the_ends_are_no_part_of_a_segment() -> None:
    film = Film(1)
    black = np.repeat(at(0), 6, axis=0)
    query = track(np.concatenate([black, film.at(times(8)), black]), blank=[*range(6), *range(23, 29)])
    (found,) = segments_of(query, track(film.at(times(8))))
    assert found.query == (6, 22)


# -- other speeds, and backwards ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.25, 1.5, 2.0, -1.0, -0.5, -1.5])
def test_stretch_at_another_speed_is_found_with_its_times(speed: float) -> None:
    film, seconds = Film(1), 12.0
    start, end = 5.0, 5.0 + seconds * abs(speed)
    moments = times(seconds)
    shown = start + speed * moments if speed > 0 else end + speed * moments
    (found,) = segments_of(track(edited(film.at(shown), cosine=0.97), moments), track(film.at(times(40))))
    assert spans([found])[0] == pytest.approx((0, seconds, start, end), abs=INTERVAL)
    assert (found.span.backwards, found.other_speed, found.same_moments) == (speed < 0, True, True)
    assert found.span.speed == pytest.approx(abs(speed), rel=0.06)


def test_excerpt_at_double_speed_between_other_material_is_found() -> None:
    film, other = Film(1), Film(2)
    query = join(other.at(times(5)), film.at(10 + 2 * times(8)), other.at(times(5) + 20))
    (found,) = segments_of(query, track(film.at(times(40))))
    assert (found.query[0], found.query[1]) == pytest.approx((11, 27), abs=1)
    assert spans([found])[0][2:] == pytest.approx((10, 26), abs=2 * INTERVAL)


def test_film_at_its_own_speed_is_never_given_another() -> None:
    for seed in range(6):
        film = Film(seed)
        for frames in (film.at(times(15) + 3.2), blurred(film, times(15) + 3.2)):
            reference = track(film.at(times(30)) if frames[0] @ film.at([3.2])[0] > 0.99 else blurred(film, times(30)))
            (found, *_) = segments_of(track(edited(frames, cosine=0.98)), reference)
            assert (found.other_speed, found.span.speed, found.span.backwards) == (False, 1.0, False)


def test_still_scene_is_not_said_to_run_backwards() -> None:
    still = track(edited(np.repeat(at(0), 40, axis=0), cosine=0.999))
    assert [one.other_speed for one in segments_of(still, still)] == [False]


def test_window_of_a_live_video_is_looked_at_with_its_own_speed_alone() -> None:
    film = Film(1)
    query, reference = track(film.at(20 - times(10))), track(film.at(times(30)))
    frames = np.arange(21)
    votes = Votes(frames, 40 - frames, np.ones(21, np.float32))
    (found,) = find_segments(query, reference, votes, RULE, MIN_VOTE, no_shift(query))
    assert found.span.backwards
    assert find_segments(query, reference, votes, RULE, MIN_VOTE, no_shift(query), window=True) == []


# -- where two films part ----------------------------------------------------------------------------------------------


def test_films_that_go_on_a_little_alike_after_an_intro_share_the_intro_alone() -> None:
    intro, rest = Film(1).at(times(8)), Film(2).at(times(8))
    alike = edited(rest, cosine=0.3)
    query, reference = join(intro, rest), join(intro, alike)
    votes = Votes(np.arange(17), np.arange(17), np.ones(17, np.float32))
    (found, *_) = find_segments(query, reference, votes, RULE, 0.05, no_shift(query))
    assert found.query == found.reference == (0, 16)


@pytest.mark.parametrize(("frames", "moments"), [(at(*[0.0] * 9), 1.0), (Film(1).at(10 * times(8)), 17.0)])
def test_moments_are_as_many_as_differ(frames: Descriptors, moments: float) -> None:
    (found,) = segments_of(track(frames), track(frames))
    assert found.moments == pytest.approx(moments, rel=0.25)


# -- what makes a segment ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "found"), [(2, 0), (3, 1)])
def test_fewer_than_three_agreeing_frames_are_no_segment(frames: int, found: int) -> None:
    film = Film(1)
    vectors = Film(2).at(times(10)).copy()
    vectors[8 : 8 + frames] = film.at(times(20))[14 : 14 + frames]
    assert len(segments_of(track(vectors), track(film.at(times(20))))) == found


def test_clip_of_a_single_frame_is_found() -> None:
    film = Film(1)
    (found,) = segments_of(track(film.at([4.1]), [0.0]), track(film.at(times(20))))
    assert found.reference == (8, 8)


def test_videos_that_share_nothing_have_no_segments() -> None:
    assert segments_of(track(Film(1).at(times(20))), track(Film(2).at(times(20)))) == []


def test_no_votes_give_no_segments() -> None:
    none = np.zeros(0, np.int64)
    film = track(Film(1).at(times(5)))
    assert find_segments(film, film, Votes(none, none, np.zeros(0, np.float32)), RULE, MIN_VOTE, no_shift(film)) == []


def test_vote_that_the_search_missed_costs_nothing() -> None:
    film = track(Film(1).at(times(20)))
    few = np.array([3, 17, 30])
    votes = Votes(few, few, np.ones(3, np.float32))
    (found,) = find_segments(film, film, votes, RULE, MIN_VOTE, no_shift(film))
    assert (found.query, found.votes) == ((0, 40), 41)


def test_single_lucky_vote_gains_nothing() -> None:
    one, other = track(Film(1).at(times(20))), track(Film(2).at(times(20)))
    votes = Votes(np.array([4]), np.array([9]), np.ones(1, np.float32))
    assert find_segments(one, other, votes, RULE, MIN_VOTE, no_shift(one)) == []


def test_two_recordings_of_one_scene_are_not_the_same_moments() -> None:
    one, other = (track(blurred(Film(seed), times(20))) for seed in (1, 2))
    assert segments_of(one, other) == []


def test_copy_of_a_scene_in_which_little_moves_is_told_from_another_recording() -> None:
    film = track(blurred(Film(1), times(20)))
    (found, *_) = segments_of(film, film)
    assert found.same_moments
    assert found.contrast == pytest.approx(1.0, abs=0.01)
    assert found.query == (0, 40)


def test_still_scene_yields_one_segment_that_says_nothing_of_moments() -> None:
    still = track(edited(np.repeat(at(0), 40, axis=0), cosine=0.999))
    again = track(edited(np.repeat(at(0), 40, axis=0), seed=1, cosine=0.999))
    (found,) = segments_of(again, still)
    assert math.isnan(found.contrast)
    assert not found.same_moments
    assert found.query == found.reference == (0, 39)


def test_perfectly_still_scene_is_matched_from_end_to_end() -> None:
    still = track(np.repeat(at(0), 200, axis=0))
    (found,) = segments_of(still, still)
    assert found.query == found.reference == (0, 199)


def test_clip_shown_twice_is_found_twice() -> None:
    film = Film(1).at(times(6))
    found = segments_of(join(film, film), track(film))
    assert [(one.query, one.reference) for one in found] == [((0, 12), (0, 12)), ((13, 25), (0, 12))]


def test_clip_that_shows_a_stretch_of_the_reference_in_another_order_is_found_in_pieces() -> None:
    film = Film(1).at(times(20))
    found = segments_of(join(film[20:32], film[2:14]), track(film))
    assert [one.query for one in found] == [(0, 11), (12, 23)]
    assert [one.reference for one in found] == [(20, 31), (2, 13)]


def test_stretch_inserted_into_another_is_not_counted_to_both() -> None:
    film = Film(1).at(times(40))
    # 0..5 of the film, then 60..79, then the film goes on in step: two offsets in one query.
    query = join(film[0:6], film[60:80], film[26:32])
    found = segments_of(query, track(film))
    assert [one.query for one in found] == [(0, 5), (6, 25), (26, 31)]


def test_segments_do_not_overlap_in_the_query() -> None:
    for seed in range(6):
        random = np.random.default_rng(seed)
        film = Film(seed).at(times(40))
        cuts = random.integers(0, 60, size=6)
        found = segments_of(join(*(film[cut : cut + 12] for cut in cuts)), track(film))
        places = [one.query for one in found]
        assert all(a[1] < b[0] for a, b in pairwise(places))
        assert sum(b - a + 1 for a, b in places) >= 60


def test_frame_shared_by_others_counts_by_the_square_of_their_number() -> None:
    film = Film(1).at(times(10))
    for shared, rarity in ((0, 21.0), (1, 21.0), (2, 21 / 4), (3, 21 / 9)):
        (by_query,) = segments_of(track(film, shared=shared), track(film))
        (by_reference,) = segments_of(track(film), track(film, shared=shared))
        assert by_query.rarity == by_reference.rarity == pytest.approx(rarity)
