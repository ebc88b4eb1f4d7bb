"""What is said of videos: in whole, in part, by a still, and of what many of them have in common."""

from __future__ import annotations

import numpy as np
import pytest

from neardup.pipeline.log.records import Described, Matched, Removed
from neardup.pipeline.match.query.compare_two import compare_both_ways
from neardup.pipeline.match.query.lookup import compare_stored, lookup
from neardup.pipeline.types import Decision, Descriptors, Exact, Span
from tests.pipeline.match.build import (
    BLANK,
    Film,
    Log,
    a_calibration,
    a_state,
    at,
    described,
    edited,
    picture,
    times,
    video,
)

INTERVAL = 0.5
FILM = Film(1)


def span_of(match: Matched) -> tuple[float, ...]:
    (span,) = match.where.spans
    return span.query_start, span.query_end, span.reference_start, span.reference_end


def cut(*pieces: Descriptors) -> Descriptors:
    return np.concatenate(pieces)


def found(log: Log, name: str, vectors: Descriptors, **how: object) -> dict[str, Matched]:
    """Add a video and return its matches by reference."""
    return {match.reference: match for match in log.verdict(*video(name, vectors, **how)).matches}  # type: ignore[arg-type]


# -- video against video -----------------------------------------------------------------------------------------------


def test_first_video_is_distinct_and_another_one_too() -> None:
    log = Log()
    assert log.verdict(*video("a", FILM.at(times(20)))).decision is Decision.DISTINCT
    assert log.verdict(*video("b", Film(2).at(times(20)))).decision is Decision.DISTINCT


def test_video_s_own_frames_are_no_match_however_often_they_come_back() -> None:
    scene = FILM.at(times(5))
    assert Log().verdict(*video("loop", cut(scene, scene, scene), part_size=6)).decision is Decision.DISTINCT


def test_re_encoded_video_is_a_copy_as_a_whole() -> None:
    log = Log()
    log.add(*video("film", FILM.at(times(20))))
    match = found(log, "copy", edited(FILM.at(times(20))))["film"]
    assert (match.decision, match.where.whole, match.exact) == (Decision.DUPLICATE, True, Exact.NO)
    assert span_of(match) == (0.0, 20.0, 0.0, 20.0)
    assert match.evidence == pytest.approx(0.95, abs=0.01)


def test_excerpt_is_a_duplicate_in_part_with_its_span_in_both() -> None:
    log = Log()
    log.add(*video("film", FILM.at(times(60))))
    match = found(log, "excerpt", cut(Film(2).at(times(6)), FILM.at(times(10) + 33.3), Film(3).at(times(4))))["film"]
    assert (match.decision, match.where.whole) == (Decision.DUPLICATE, False)
    assert span_of(match) == pytest.approx((6.5, 17.0, 33.3, 43.8), abs=1.5 * INTERVAL)
    assert match.probability > 0.99


def test_longer_video_that_holds_an_earlier_clip_is_found_the_other_way_round() -> None:
    log = Log()
    log.add(*video("clip", FILM.at(times(8) + 5)))
    match = found(log, "film", FILM.at(times(30)))["clip"]
    assert (match.decision, match.where.whole) == (Decision.DUPLICATE, False)
    assert span_of(match) == pytest.approx((5, 13, 0, 8), abs=1.5 * INTERVAL)


def test_long_video_in_parts_has_the_same_spans_as_in_one() -> None:
    film = FILM.at(times(300))  # 601 frames
    query = cut(Film(2).at(times(30)), FILM.at(times(200) + 70.2), Film(3).at(times(20)))
    matches = []
    for size in (256, 100, 10_000):
        log = Log()
        log.add(*video("film", film, part_size=size))
        matches.append(found(log, "query", query, part_size=size)["film"])
    assert matches[0] == matches[1] == matches[2]
    assert span_of(matches[0]) == pytest.approx((30.5, 231, 70.2, 270.7), abs=1.5 * INTERVAL)


def test_animation_that_shows_a_clip_twice_matches_it_twice_and_as_a_whole() -> None:
    scene = FILM.at(times(6))
    log = Log()
    log.add(*video("clip", scene))
    match = found(log, "loop", cut(scene, scene))["clip"]
    assert (match.decision, match.where.whole) == (Decision.DUPLICATE, True)
    assert [(s.query_start, s.query_end) for s in match.where.spans] == [(0.0, 6.25), (6.25, 12.5)]
    assert [(s.reference_start, s.reference_end) for s in match.where.spans] == [(0.0, 6.0), (0.0, 6.0)]


def test_video_compiled_of_two_others_matches_both() -> None:
    log = Log()
    log.add(*video("one", FILM.at(times(20))), *video("two", Film(2).at(times(20))))
    matches = found(log, "both", cut(FILM.at(times(8) + 3), Film(2).at(times(8) + 9)))
    assert {name: match.decision for name, match in matches.items()} == dict.fromkeys(
        ("one", "two"), Decision.DUPLICATE
    )
    assert span_of(matches["two"]) == pytest.approx((8.5, 17, 9, 17.5), abs=1.5 * INTERVAL)


def test_identical_video_is_exact_and_matched_from_end_to_end() -> None:
    log = Log()
    log.add(*video("film", FILM.at(times(20)), sha256=b"same", seconds=20.3))
    match = found(log, "again", FILM.at(times(20)), sha256=b"same", seconds=20.3)["film"]
    assert (match.exact, match.identical_to, match.where.whole) == (Exact.BYTES, "film", True)
    assert (match.distance, match.probability) == (0.0, 1.0)
    assert span_of(match) == (0.0, 20.3, 0.0, 20.3)
    assert match.evidence == pytest.approx(1.0)


def test_two_recordings_of_one_room_are_no_duplicates() -> None:
    def room(seed: int) -> Descriptors:
        vectors = np.sqrt(0.9) * at(0) + np.sqrt(0.1) * Film(seed).at(times(30))
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    log = Log()
    log.add(*video("monday", room(1)))
    assert log.verdict(*video("tuesday", room(2))).decision is not Decision.DUPLICATE


def test_still_scene_is_one_chance_and_not_as_many_as_it_has_frames() -> None:
    still = np.repeat(at(0), 80, axis=0)
    log = Log()
    log.add(*video("still", edited(still, 1, 0.999)))
    match = found(log, "again", edited(still, 2, 0.999))["still"]
    assert (match.decision, len(match.where.spans)) == (Decision.DUPLICATE, 1)


@pytest.mark.slow
def test_copy_of_a_long_still_scene_is_a_copy_as_a_whole() -> None:
    # More frames than candidates are fetched for each: the votes cannot show the offset.
    still = np.repeat(at(0), 600, axis=0)
    log = Log()
    log.add(*video("lecture", still))
    match = found(log, "re-encoded", edited(still, 2, 0.999))["lecture"]
    assert (match.decision, match.where.whole) == (Decision.DUPLICATE, True)


@pytest.mark.parametrize("frames", [40, 100, 700])
def test_still_video_does_not_hide_what_else_is_alike(frames: int) -> None:
    log = Log()
    log.add(*video("lecture", np.repeat(at(0), frames, axis=0)), picture("slide", 38))
    verdict = log.verdict(picture("q", 18))
    assert [match.reference for match in verdict.matches] == ["lecture", "slide"]
    (found,) = lookup(log.state, [picture("asked", 18)], 2)
    assert [match.reference for match in found] == ["lecture", "slide"]


@pytest.mark.slow
def test_identical_long_still_scene_costs_no_square_of_its_frames() -> None:
    still = np.repeat(at(0), 1200, axis=0)
    log = Log()
    log.add(*video("lecture", still, sha256=b"same"), *video("copy", still, sha256=b"same"))
    assert log.head_of("copy") == "lecture"
    match = compare_stored(log.state, "copy", "lecture")
    assert match.decision is Decision.DUPLICATE


# -- blank frames ------------------------------------------------------------------------------------------------------


def test_black_frames_of_two_videos_are_no_match() -> None:
    black = np.repeat(at(0), 20, axis=0)
    detail = [50] * 41 + [BLANK] * 20
    log = Log()
    log.add(*video("a", cut(FILM.at(times(20)), black), detail=detail))
    assert log.verdict(*video("b", cut(Film(2).at(times(20)), black), detail=detail)).decision is Decision.DISTINCT


def test_copy_of_a_video_with_a_long_black_end_is_a_copy_as_a_whole() -> None:
    black = np.repeat(at(0), 20, axis=0)
    detail = [50] * 41 + [BLANK] * 20
    log = Log()
    log.add(*video("film", cut(FILM.at(times(20)), black), detail=detail))
    match = found(log, "copy", cut(edited(FILM.at(times(20))), black), detail=detail)["film"]
    assert (match.decision, match.where.whole) == (Decision.DUPLICATE, True)


def test_video_of_nothing_but_black_is_distinct_unless_identical() -> None:
    black = np.repeat(at(0), 20, axis=0)
    log = Log()
    log.add(*video("a", black, detail=BLANK, sha256=b"black"))
    assert log.verdict(*video("b", black, detail=BLANK)).decision is Decision.DISTINCT
    match = found(log, "c", black, detail=BLANK, sha256=b"black")["a"]
    assert match.exact is Exact.BYTES
    assert np.isfinite([match.distance, match.evidence]).all()


def test_all_identical_videos_are_exact() -> None:
    log = Log(a_state(stars=False))
    for name in ("one", "two"):
        log.add(*video(name, FILM.at(times(10)), sha256=b"same"))
    verdict = log.verdict(*video("q", FILM.at(times(10)), sha256=b"same"))
    assert [(one.reference, one.exact) for one in verdict.matches] == [("one", Exact.BYTES), ("two", Exact.BYTES)]


# -- a still and a video -----------------------------------------------------------------------------------------------


def test_still_out_of_an_earlier_video_is_found_with_the_seconds_that_show_it() -> None:
    log = Log()
    log.add(*video("film", FILM.at(times(30))))
    (match,) = log.verdict(described("still", FILM.at([12.0]))).matches
    assert (match.reference, match.decision, match.where.whole) == ("film", Decision.DUPLICATE, False)
    (span,) = match.where.spans
    assert (span.query_start, span.query_end) == (0.0, 0.0)
    assert 11.0 <= span.reference_start <= 12.0 <= span.reference_end <= 13.0


def test_video_that_shows_an_earlier_picture_is_found_with_the_seconds_that_show_it() -> None:
    log = Log()
    log.add(described("still", FILM.at([12.0])))
    match = found(log, "film", FILM.at(times(30)))["still"]
    assert (match.decision, match.where.whole) == (Decision.DUPLICATE, False)
    (span,) = match.where.spans
    assert (span.reference_start, span.reference_end) == (0.0, 0.0)
    assert 11.0 <= span.query_start <= 12.0 <= span.query_end <= 13.0


def test_span_of_a_picture_is_the_run_of_frames_that_show_it() -> None:
    slide = np.repeat(at(0), 9, axis=0)
    log = Log()
    log.add(*video("talk", cut(FILM.at(times(10)), slide, Film(2).at(times(10)), slide[:2])))
    (match,) = log.verdict(picture("slide", 10)).matches
    assert match.where.spans == (Span(0.0, 0.0, 10.5, 14.5, pytest.approx(np.cos(np.radians(10)), abs=1e-3)),)


def test_blank_picture_matches_no_blank_frame() -> None:
    log = Log()
    log.add(*video("film", cut(FILM.at(times(5)), np.repeat(at(0), 4, axis=0)), detail=[50] * 11 + [BLANK] * 4))
    assert log.verdict(picture("blank", 0, detail=BLANK)).decision is Decision.DISTINCT
    assert log.verdict(picture("speaks", 0)).decision is Decision.DISTINCT


# -- what many have in common ------------------------------------------------------------------------------------------

INTRO = Film(100).at(times(6))


def episode(number: int) -> Descriptors:
    return cut(INTRO, Film(number).at(times(30)))


def test_clips_that_share_an_intro_are_not_duplicates_by_it() -> None:
    log = Log()
    said = [log.verdict(*video(f"episode {n}", episode(n))) for n in range(8)]
    assert [verdict.decision for verdict in said[3:]] == [Decision.DISTINCT] * 5
    # The first of them could not know yet; with what is known by now they are no duplicates either.
    assert compare_stored(log.state, "episode 1", "episode 0").decision is Decision.DISTINCT


def test_intro_is_discounted_also_where_the_clips_come_in_one_batch() -> None:
    log = Log()
    envelopes = log.add(*(part for n in range(5) for part in video(f"episode {n}", episode(n))))
    decisions = [event.decision for envelope in envelopes for event in envelope.events]  # type: ignore[union-attr]
    assert decisions[3:] == [Decision.DISTINCT] * 2


def test_clip_with_the_intro_is_still_found_by_what_is_its_own() -> None:
    log = Log()
    for n in range(6):
        log.add(*video(f"episode {n}", episode(n)))
    matches = found(log, "stolen", cut(INTRO, Film(3).at(times(15) + 10), Film(50).at(times(10))))
    assert {name: match.decision for name, match in matches.items()} == {"episode 3": Decision.DUPLICATE}
    assert span_of(matches["episode 3"]) == pytest.approx((6.5, 22, 16.5, 32), abs=1.5 * INTERVAL)


def test_lookup_with_a_still_of_what_many_have_says_what_apply_then_says() -> None:
    log = Log()
    for n in range(4):
        log.add(*video(f"episode {n}", episode(n)))
    still = described("still", INTRO[5:6])
    (looked_up,) = lookup(log.state, [still], 5)
    said = log.verdict(still).matches
    assert [match for match in looked_up if match.decision is not Decision.DISTINCT] == list(said)
    assert len(said) == 4


def test_excerpt_that_went_round_is_still_a_copy() -> None:
    log = Log()
    log.add(*video("film", FILM.at(times(60))))
    for n in range(5):
        log.add(*video(f"reaction {n}", cut(FILM.at(times(8) + 20), Film(60 + n).at(times(20)))))
    match = found(log, "excerpt", edited(FILM.at(times(8) + 20)))["film"]
    assert match.decision is Decision.DUPLICATE
    assert span_of(match) == pytest.approx((0, 8, 20, 28), abs=1.5 * INTERVAL)


def test_copies_of_a_whole_video_do_not_make_it_common() -> None:
    log = Log()
    log.add(*video("film", FILM.at(times(60))))
    for n in range(6):
        log.add(*video(f"copy {n}", edited(FILM.at(times(60)), n)))
    match = found(log, "reaction", cut(FILM.at(times(8) + 20), Film(60).at(times(20))))["film"]
    assert match.decision is Decision.DUPLICATE


def test_stills_and_unlike_videos_do_not_make_a_film_common() -> None:
    log = Log()
    log.add(*video("film", FILM.at(times(60))))
    log.add(*(described(f"still {n}", edited(FILM.at([20.0 + n]), n)) for n in range(8)))
    log.add(*(part for n in range(30) for part in video(f"other {n}", Film(200 + n).at(times(30)))))
    match = found(log, "reaction", cut(FILM.at(times(12) + 20), Film(60).at(times(20))))["film"]
    assert match.decision is Decision.DUPLICATE


def test_loop_counts_as_one_more_item_and_not_as_many_as_it_repeats() -> None:
    log = Log()
    log.add(*video("film", FILM.at(times(60))))
    scene = FILM.at(times(6) + 20)
    log.add(*video("loop", cut(scene, Film(2).at(times(20)), scene, Film(3).at(times(20)), scene)))
    item = log.state.items.named("film")
    assert item is not None
    assert log.state.rows.shared[item.rows].max() == 1


# -- two items, and nothing else ---------------------------------------------------------------------------------------


def test_comparison_of_two_does_not_depend_on_which_comes_first() -> None:
    film, part = video("a", FILM.at(times(30)), part_size=20), video("b", edited(FILM.at(times(10) + 5)))
    forth, back = (compare_both_ways(*sides, lambda: a_state(stars=False)) for sides in ((film, part), (part, film)))
    assert forth.decision is back.decision is Decision.DUPLICATE
    assert (forth.distance, forth.evidence) == pytest.approx((back.distance, back.evidence))
    (one,), (other,) = forth.where.spans, back.where.spans
    turned = (other.reference_start, other.reference_end, other.query_start, other.query_end)
    assert (one.query_start, one.query_end, one.reference_start, one.reference_end) == pytest.approx(
        turned, abs=INTERVAL
    )


@pytest.mark.parametrize(
    ("degrees", "decision"), [(20, Decision.DUPLICATE), (35, Decision.UNSURE), (60, Decision.DISTINCT)]
)
def test_comparison_of_pictures_follows_the_angle(degrees: float, decision: Decision) -> None:
    said = compare_both_ways([picture("a", 0)], [picture("b", degrees)], lambda: a_state(stars=False))
    assert said.decision is decision
    assert said.distance == pytest.approx(2 - 2 * np.cos(np.radians(degrees)), abs=2e-3)


def test_comparison_is_unsure_where_the_two_ways_differ() -> None:
    # B resembles the background, A does not: as a query B needs more evidence.
    calibration = a_calibration(cohort_weight=1.0)
    a, b = picture("a", 0), picture("b", 25)
    log = compare_both_ways([a], [b], lambda: a_state(calibration, at(115)))
    assert log.decision is Decision.DUPLICATE
    unlike = compare_both_ways([a], [b], lambda: a_state(calibration, at(100)))
    assert unlike.decision is Decision.UNSURE


def test_comparison_of_identical_files_is_exact() -> None:
    same = [picture(name, 0, sha256=b"same", detail=BLANK) for name in "ab"]
    said = compare_both_ways(same[:1], same[1:], lambda: a_state(stars=False))
    assert (said.decision, said.exact, said.probability) == (Decision.DUPLICATE, Exact.BYTES, 1.0)


def test_comparison_of_what_has_nothing_in_common_has_finite_numbers() -> None:
    sides: list[list[Described]] = [video("a", FILM.at(times(5))), video("b", Film(2).at(times(5)))]
    said = compare_both_ways(sides[0], sides[1], lambda: a_state(stars=False))
    assert (said.decision, said.where.spans) == (Decision.DISTINCT, ())
    assert np.isfinite([said.distance, said.evidence, said.probability]).all()


def test_excerpt_that_is_taken_down_again_and_again_makes_nothing_common() -> None:
    log = Log()
    log.add(*video("film", FILM.at(times(60))))
    for number in range(8):
        excerpt = cut(Film(20 + number).at(times(9)), edited(FILM.at(times(8) + 20), number))
        assert found(log, f"excerpt {number}", excerpt)["film"].decision is Decision.DUPLICATE
        log.add(Removed(id=f"excerpt {number}"))
    item = log.state.items.named("film")
    assert item is not None
    assert log.state.rows.shared[item.rows].max() == 0
