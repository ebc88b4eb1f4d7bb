"""What is said of a live video while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.learn.evaluate.systems import tiles
from neardup.pipeline.log.reasons import IgnoredReason
from neardup.pipeline.log.records import (
    Described,
    Entry,
    Envelope,
    Event,
    Matched,
    Record,
    Redelivered,
    Removed,
    RemovedEvent,
    Replaced,
    Rolling,
    Verdict,
    ignored,
)
from neardup.pipeline.match.apply.make import make_state, read_calibration
from neardup.pipeline.match.apply.snapshot import Snapshots
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.live.videos import LiveRules
from neardup.pipeline.types import Decision, Descriptors, Kind, Pixels
from tests.pipeline.match.apply.test_batches import a_log as a_mixed_log
from tests.pipeline.match.apply.test_batches import assert_same
from tests.pipeline.match.apply.test_snapshot import a_state_in, saved_and_followed
from tests.pipeline.match.build import (
    BLANK,
    Film,
    Log,
    a_state,
    at,
    edited,
    live_end,
    live_frame,
    live_frames,
    picture,
    times,
    video,
)

FILM, OTHER = Film(1), Film(2)


def a_broadcast(*pieces: Descriptors, item: str = "live", begin: float = 0.0) -> list[Described]:
    """Return the frames of a live video that shows these one after the other, twice a second."""
    vectors = np.concatenate(pieces)
    return live_frames(item, vectors, begin + np.arange(len(vectors)) / 2.0)


def rolling(events: list[Event]) -> list[Rolling]:
    return [event for event in events if isinstance(event, Rolling)]


def flagged(events: list[Event]) -> list[tuple[str, Decision]]:
    return [(e.flagged.reference, e.flagged.decision) for e in rolling(events) if e.flagged is not None]


def span(match: Matched) -> tuple[float, ...]:
    (one,) = match.where.spans
    return one.query_start, one.query_end, one.reference_start, one.reference_end


def a_log(*records: Record | list[Described]) -> Log:
    """Return a log that holds a film of 100 s, and what else is given."""
    log = Log()
    log.add(video("film", FILM.at(times(100))), *records)
    return log


# -- rolling verdicts --------------------------------------------------------------------------------------------------


def test_live_video_is_matched_within_seconds_while_it_runs() -> None:
    log = a_log()
    assert log.events(*a_broadcast(OTHER.at(times(11.5)))) == []
    for n in range(30):  # from 12 s on it shows the film from its 40 s
        events = log.events(live_frame("live", 12 + n / 2, edited(FILM.at([40 + n / 2]), seed=n)))
        if flagged(events):
            break
    assert n <= 8
    (event,) = rolling(events)
    assert event.verdict.running
    assert (event.verdict.id, event.verdict.decision) == ("live", Decision.DUPLICATE)
    assert event.flagged == event.verdict.matches[0]
    assert (event.flagged.reference, event.flagged.where.whole) == ("film", False)
    assert span(event.flagged) == pytest.approx((12, 12 + n / 2, 40, 40 + n / 2), abs=0.75)


def test_spans_grow_and_are_told_in_steps_and_flagged_once() -> None:
    log = a_log()
    events = log.events(*a_broadcast(OTHER.at(times(10)), edited(FILM.at(times(60) + 30)), Film(3).at(times(10))))
    assert flagged(events) == [("film", Decision.DUPLICATE)]
    assert 6 <= len(rolling(events)) <= 12
    lengths = [event.verdict.matches[0].where.spans[0].query_end for event in rolling(events)]
    assert lengths == sorted(lengths)
    assert span(rolling(events)[-1].verdict.matches[0]) == pytest.approx((10.5, 70.75, 30, 90.25), abs=0.75)


def test_span_longer_than_the_window_is_one_span() -> None:
    log = Log()
    log.add(video("film", FILM.at(times(600))))
    events = log.events(*a_broadcast(edited(FILM.at(times(500) + 50))), live_end("live"))
    assert flagged(events) == [("film", Decision.DUPLICATE)]
    assert span(rolling(events)[-1].verdict.matches[0]) == pytest.approx((0, 500, 50, 550), abs=0.75)


def test_what_comes_twice_has_two_spans_and_one_flag() -> None:
    advert = FILM.at(times(20) + 10)
    show = [Film(seed).at(times(200)) for seed in (3, 4)]
    events = a_log().events(*a_broadcast(advert, show[0], advert, show[1]), live_end("live"))
    assert flagged(events) == [("film", Decision.DUPLICATE)]
    spans = rolling(events)[-1].verdict.matches[0].where.spans
    assert [(s.query_start, s.query_end) for s in spans] == [
        pytest.approx((0, 20.25), abs=0.75),
        pytest.approx((221, 241.25), abs=0.75),
    ]
    assert [(s.reference_start, s.reference_end) for s in spans] == [pytest.approx((10, 30.25), abs=0.75)] * 2


def test_clip_shown_again_and_again_has_a_span_for_each_time() -> None:
    scene = FILM.at(times(12))
    log = Log()
    log.add(video("clip", scene))
    events = log.events(*a_broadcast(*(edited(scene, n) for n in range(20))), live_end("live"))
    assert flagged(events) == [("clip", Decision.DUPLICATE)]
    spans = rolling(events)[-1].verdict.matches[0].where.spans
    assert [(s.query_start, s.query_end) for s in spans] == [
        pytest.approx((12.5 * n, 12.5 * n + 12.25), abs=0.75) for n in range(20)
    ]


def test_newest_spans_are_told_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neardup.pipeline.match.live.match.MAX_SPANS", 3)
    scene = FILM.at(times(12))
    log = Log()
    log.add(video("clip", scene))
    events = log.events(*a_broadcast(*(edited(scene, n) for n in range(9))))
    spans = rolling(events)[-1].verdict.matches[0].where.spans
    assert len(spans) == 3
    assert spans[-1].query_end == pytest.approx(9 * 12.5, abs=16)


def test_still_scene_is_one_span_however_long_it_is() -> None:
    log = Log()
    log.add(video("lecture", edited(np.repeat(at(0), 300, axis=0), 1, 0.999)))
    events = log.events(*a_broadcast(edited(np.repeat(at(0), 600, axis=0), 2, 0.999)), live_end("live"))
    assert flagged(events) == [("lecture", Decision.DUPLICATE)]
    assert span(rolling(events)[-1].verdict.matches[0])[:2] == pytest.approx((0, 299.5), abs=0.75)


def test_end_says_all_that_was_seen_and_that_it_is_over() -> None:
    log = a_log()
    log.add(a_broadcast(edited(FILM.at(times(20) + 40))))
    (event,) = log.events(live_end("live"))
    assert isinstance(event, Rolling)
    assert (event.flagged, event.verdict.running) == (None, False)
    assert span(event.verdict.matches[0]) == pytest.approx((0, 20, 40, 60), abs=0.75)
    assert log.events(live_end("live")) == [Redelivered(id="live")]


def test_live_video_like_nothing_is_distinct_and_says_so_at_its_end() -> None:
    events = a_log().events(*a_broadcast(OTHER.at(times(60))), live_end("live"))
    assert events == [Rolling(verdict=Verdict(id="live", decision=Decision.DISTINCT))]


def test_unsure_match_is_told_at_once_and_flagged_when_it_is_over() -> None:
    def room(seed: int) -> Descriptors:  # two recordings of one room
        vectors = np.sqrt(0.85) * at(0) + np.sqrt(0.15) * Film(seed).at(times(12))
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    log = Log()
    log.add(video("monday", room(1)))
    during = log.events(*a_broadcast(room(5)))
    after = log.events(*a_broadcast(OTHER.at(times(10)), begin=12.5), live_end("live"))
    found = flagged(during) + flagged(after)
    assert [decision for _, decision in found] in ([Decision.UNSURE],)


def test_image_is_found_in_a_live_video_with_its_run() -> None:
    log = Log()
    log.add(picture("slide", 0))
    events = log.events(*a_broadcast(OTHER.at(times(5)), edited(at(*[0] * 20), 1, 0.97), OTHER.at(times(10) + 20)))
    assert flagged(events) == [("slide", Decision.DUPLICATE)]
    assert span(rolling(events)[-1].verdict.matches[0]) == (5.5, 15.0, 0.0, 0.0)


# -- as a reference ----------------------------------------------------------------------------------------------------


def test_clip_of_a_live_video_that_runs_is_a_copy_of_its_part() -> None:
    log = Log()
    log.add(a_broadcast(FILM.at(times(60))))
    found = log.verdict(*video("clip", edited(FILM.at(times(20) + 30)))).matches[0]
    assert (found.reference, found.decision, found.where.whole) == ("live", Decision.DUPLICATE, False)
    assert span(found) == pytest.approx((0, 20, 30, 50), abs=0.75)


def test_recording_of_a_live_video_is_a_copy_as_a_whole_only_when_it_is_over() -> None:
    log = Log()
    log.add(a_broadcast(FILM.at(times(30))))
    assert [match.where.whole for match in log.verdict(*video("early", edited(FILM.at(times(30)), 1))).matches] == [
        False
    ]
    log.add(live_end("live"))
    matches = log.verdict(*video("late", edited(FILM.at(times(30)), 2))).matches
    assert {match.reference: match.where.whole for match in matches} == {"early": True, "live": True}


def test_screenshot_matches_a_live_video_at_its_moment_and_is_not_held_against_it() -> None:
    log = Log()
    slide = edited(at(*[0] * 20), 1, 0.97)
    log.add(a_broadcast(OTHER.at(times(5)), slide))
    (match,) = log.verdict(picture("screenshot", 0)).matches
    assert (match.reference, match.decision) == ("live", Decision.DUPLICATE)
    assert span(match) == (0.0, 0.0, 5.5, 15.0)
    assert log.events(*a_broadcast(slide, OTHER.at(times(5) + 20), begin=20)) == []
    assert {name for name, _ in flagged(log.events(*a_broadcast(slide, item="another"), live_end("another")))} == {
        "live",
        "screenshot",
    }


def test_live_video_matches_another_that_shows_it_earlier_and_not_the_other_way_round() -> None:
    log = Log()
    moments = times(40)
    first = live_frames("first", FILM.at(moments), moments)
    second = live_frames("second", edited(FILM.at(moments)), moments + 7)
    log.add(first[:20])
    events = [event for both in zip(first[20:], second, strict=False) for event in log.events(*both)]
    assert [(e.verdict.id, e.flagged.reference) for e in rolling(events) if e.flagged] == [("second", "first")]
    (last,) = log.events(live_end("second"))
    assert isinstance(last, Rolling)
    assert span(last.verdict.matches[0]) == pytest.approx((7, 37, 0, 30), abs=0.75)


def test_own_frames_are_no_match_however_often_they_come_back() -> None:
    scene = FILM.at(times(30))
    events = Log().events(*a_broadcast(scene, scene, scene), live_end("live"))
    assert [event.verdict.decision for event in rolling(events)] == [Decision.DISTINCT]


@pytest.mark.slow
def test_still_picture_for_hours_hides_nothing_else() -> None:
    log = Log()
    log.add(a_broadcast(edited(at(*[0] * 3000), 1, 0.9999)), picture("slide", 37))
    assert len(log.state.parts().index) < 10
    assert [match.reference for match in log.verdict(picture("q", 18)).matches] == ["live", "slide"]


def test_blank_frames_neither_vote_nor_interrupt() -> None:
    log = a_log()
    moments = times(30)
    blank = [BLANK if 10 <= n < 20 else 50 for n in range(len(moments))]
    frames = [
        live_frame("live", t, edited(FILM.at([t + 40]), n), detail=blank[n]) for n, t in enumerate(moments.tolist())
    ]
    events = log.events(*frames, live_end("live"))
    assert flagged(events) == [("film", Decision.DUPLICATE)]
    assert span(rolling(events)[-1].verdict.matches[0]) == pytest.approx((0, 30, 40, 70), abs=0.75)
    log = Log()
    log.add(video("black", np.repeat(at(0), 20, axis=0), detail=BLANK))
    assert log.events(*a_broadcast(np.repeat(at(0), 20, axis=0)))[:1] == []


# -- identity, order, end ----------------------------------------------------------------------------------------------


def test_same_moment_again_is_redelivered_whatever_its_bytes() -> None:
    log = a_log()
    frames = a_broadcast(FILM.at(times(10)))
    log.add(frames)
    assert log.events(frames[3], live_frame("live", 4.0, OTHER.at([1.0]))) == [Redelivered(id="live")] * 2
    assert [e.events for e in log.add([frames[5], frames[5]])] == [(Redelivered(id="live"),)] * 2
    twice = a_broadcast(FILM.at([20.0]), begin=10.5)
    assert [e.events for e in log.add([*twice, *twice])] == [(), (Redelivered(id="live"),)]


def test_replay_of_all_its_frames_changes_nothing() -> None:
    log = a_log()
    records = [*a_broadcast(edited(FILM.at(times(30) + 20))), live_end("live")]
    log.add(records)
    before = len(log.state.rows)
    assert log.events(records) == [Redelivered(id="live")] * len(records)
    assert len(log.state.rows) == before


def test_frames_slightly_out_of_order_give_the_same_spans() -> None:
    def final(frames: list[Described]) -> Matched:
        return rolling(a_log().events(*frames, live_end("live")))[-1].verdict.matches[0]

    frames = a_broadcast(OTHER.at(times(5)), edited(FILM.at(times(20) + 40)), Film(3).at(times(5)))
    mixed = [frames[n ^ 3] for n in range(len(frames) - len(frames) % 4)]
    assert span(final(mixed)) == pytest.approx(span(final(frames)), abs=0.1)


def test_frame_that_comes_very_late_is_found_by_others_and_votes_no_more() -> None:
    log = Log()
    log.add(picture("slide", 0))
    log.add(a_broadcast(FILM.at(times(200)), begin=100))
    assert log.events(live_frame("live", 1.0, at(1))) == []
    log.add(Removed(id="slide"))
    assert [match.reference for match in log.verdict(picture("q", 0)).matches] == ["live"]


def test_frame_after_the_end_is_ignored() -> None:
    log = a_log()
    log.add([*a_broadcast(FILM.at(times(5))), live_end("live")])
    (event,) = log.events(live_frame("live", 99.0, FILM.at([7.0])))
    assert event == ignored("live", IgnoredReason.LIVE_ENDED)


def test_end_of_an_unknown_live_video_is_ignored() -> None:
    assert Log().events(live_end("x")) == [ignored("x", IgnoredReason.UNKNOWN_LIVE)]


def test_silence_ends_a_live_video_when_the_log_goes_on() -> None:
    log = a_log()
    log.add(a_broadcast(edited(FILM.at(times(20) + 40))))
    log.now = LiveRules().idle_seconds
    assert log.add(picture("a", 0))[0].events == (Verdict(id="a", decision=Decision.DISTINCT),)
    log.now = LiveRules().idle_seconds + 1
    ended, verdict = log.add(picture("b", 90))[0].events
    assert isinstance(ended, Rolling)
    assert (ended.verdict.id, ended.verdict.running, ended.flagged) == ("live", False, None)
    assert verdict == Verdict(id="b", decision=Decision.DISTINCT)
    assert rolling(log.events(picture("c", 180))) == []


def test_each_frame_keeps_a_live_video_running_also_within_a_batch() -> None:
    frames = a_broadcast(FILM.at(times(5)))
    entries = [Entry(n, frame, round(0.8 * n * LiveRules().idle_seconds * 1000)) for n, frame in enumerate(frames)]
    other = Entry(len(frames), picture("a", 0), entries[-1].timestamp_ms + 1000)
    state = a_state()
    assert rolling([event for envelope in state.apply([*entries, other]) for event in envelope.events]) == []
    assert [live.running for live in state.parts().live] == [True]


def test_live_video_that_had_fallen_silent_goes_on_and_flags_nothing_again() -> None:
    log = a_log()
    log.add(a_broadcast(edited(FILM.at(times(20) + 40))))
    log.now = LiveRules().idle_seconds + 1
    log.add(picture("a", 0))
    events = log.events(*a_broadcast(edited(FILM.at(times(20) + 61), 1), begin=21), live_end("live"))
    assert flagged(events) == []
    assert not rolling(events)[-1].verdict.running
    assert span(rolling(events)[-1].verdict.matches[0]) == pytest.approx((0, 41, 40, 81), abs=1)


def test_live_video_that_is_taken_down_is_gone_for_good() -> None:
    log = a_log()
    log.add(a_broadcast(edited(FILM.at(times(20)))))
    assert log.events(Removed(id="live")) == [RemovedEvent(id="live")]
    assert (
        log.events(live_frame("live", 50.0, FILM.at([1.0])), live_end("live"))
        == [ignored("live", IgnoredReason.TAKEN_DOWN)] * 2
    )
    assert "live" not in log.state.items
    assert [m.reference for m in log.verdict(*video("clip", edited(FILM.at(times(10)), 3))).matches] == ["film"]


def test_reference_that_is_taken_down_is_said_no_more() -> None:
    log = a_log()
    frames = a_broadcast(edited(FILM.at(times(40) + 20)))
    log.add(frames[:40], Removed(id="film"))
    events = log.events(*frames[40:], live_end("live"))
    first, last = rolling(events)
    assert first.withdrawn == (("seen", "film"),)
    assert [(one.verdict.decision, one.verdict.matches) for one in (first, last)] == [(Decision.DISTINCT, ())] * 2
    assert last.withdrawn == ()


def test_item_and_live_video_of_one_id_replace_each_other() -> None:
    log = Log()
    log.add(picture("x", 0))
    assert log.events(*a_broadcast(FILM.at(times(5)), item="x"))[:1] == [Replaced(id="x")]
    assert log.verdict(picture("q", 0)).matches == ()
    assert log.events(picture("x", 45))[0] == Replaced(id="x")
    assert log.verdict(*video("clip", FILM.at(times(5)))).decision is Decision.DISTINCT
    item = log.state.items.named("x")
    assert item is not None
    assert item.kind is Kind.IMAGE


def test_how_long_a_silence_ends_a_live_video_is_a_rule() -> None:
    log = Log(a_state(live=LiveRules(idle_seconds=5.0)))
    log.add(a_broadcast(FILM.at(times(4.0))))
    log.now = 5.0
    assert rolling(log.events(picture("a", 10))) == []
    log.now = 5.1
    assert [event.verdict.running for event in rolling(log.events(picture("b", 20)))] == [False]


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_oldest_frames_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neardup.pipeline.match.live.videos.DROPPED", 20)
    log = Log(a_state(live=LiveRules(max_frames=60)))
    frames = a_broadcast(FILM.at(times(49.5)))
    log.add(frames)
    assert len(log.state.parts().index) == 60
    assert log.verdict(*video("old", FILM.at(times(15)))).matches == ()
    assert [m.reference for m in log.verdict(*video("new", FILM.at(times(15) + 30))).matches] == ["live"]
    assert log.events(frames[0]) == [ignored("live", IgnoredReason.FRAME_TOO_OLD)]


def test_snapshot_without_an_index_knows_which_frames_were_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neardup.pipeline.match.live.videos.DROPPED", 20)
    rules = LiveRules(max_frames=60)
    state = a_state_in(tmp_path, live=rules)
    state.apply([Entry(n, frame) for n, frame in enumerate(a_broadcast(FILM.at(times(49.5))))])
    held = len(state.parts().index)
    Snapshots(tmp_path).save(state, 99)
    state.close()
    again = a_state_in(tmp_path, live=rules)
    assert Snapshots(tmp_path).load(again) == 99
    assert len(again.parts().index) == held == 60
    assert len(Log(again).verdict(*video("new", FILM.at(times(15) + 30))).matches) == 1
    again.close()


def test_live_video_counts_once_for_what_frames_are_common() -> None:
    log = a_log()
    log.add(a_broadcast(edited(FILM.at(times(20) + 40))))
    item = log.state.items.named("film")
    assert item is not None
    assert log.state.rows.shared[item.rows].max() == 0
    log.add(live_end("live"))
    assert np.flatnonzero(log.state.rows.shared[item.rows]).tolist() == list(range(80, 121))


def test_what_a_running_live_video_needs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neardup.pipeline.match.live.verdicts.MAX_MATCHED", 5)
    log = Log()
    log.add(*(video(f"v{n}", Film(n).at(times(10))) for n in range(20)))
    log.add(a_broadcast(*(edited(Film(n).at(times(10)), n) for n in range(20)), *[OTHER.at(times(300) + 50)]))
    (live,) = log.state.parts().live
    assert len(live.sightings) <= 5 + 1
    assert sum(len(one.votes) for one in live.sightings.values()) == 0


# -- however the log is cut --------------------------------------------------------------------------------------------


@st.composite
def a_live_video(draw: st.DrawFn, item: str) -> list[Record]:
    """Return frames of a live video, some late or twice, blank or missing, and perhaps its end."""
    begin, length = draw(st.sampled_from([0.0, 2.2, 5.0])), draw(st.sampled_from([6.0, 12.0]))
    moments = times(length)
    vectors = draw(st.sampled_from([FILM, OTHER])).at(moments + begin)
    if draw(st.booleans()):
        vectors = edited(vectors, seed=ord(item))
    blank = draw(st.sets(st.integers(0, len(moments) - 1), max_size=3))
    frames: list[Record] = [
        live_frame(item, t, vectors[n : n + 1], detail=BLANK if n in blank else 50)
        for n, t in enumerate(moments.tolist())
    ]
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(frames) - 2))
        change = draw(st.sampled_from(["late", "twice", "missing"]))
        if change == "late":
            frames.insert(min(place + 3, len(frames) - 1), frames.pop(place))
        elif change == "twice":
            frames.insert(place + 2, frames[place])
        else:
            frames.pop(place)
    return [*frames, live_end(item)] if draw(st.booleans()) else frames


@st.composite
def a_live_log(draw: st.DrawFn) -> list[Entry]:
    """Return two live videos, mixed with each other and with items, removals and pauses."""
    lanes: list[list[Record]] = [draw(a_live_video("x")), draw(a_live_video("y")), draw(a_mixed_log())]
    records: list[Record] = []
    while any(lanes):
        lane = draw(st.sampled_from([lane for lane in lanes if lane]))
        count = draw(st.integers(1, 8))
        records += lane[:count]
        del lane[:count]
        if draw(st.integers(0, 30)) == 0:
            records.append(Removed(id=draw(st.sampled_from("xyab"))))
    now, entries = 0, []
    for offset, record in enumerate(records):
        now += draw(st.sampled_from([500] * 30 + [100_000, 400_000]))
        entries.append(Entry(offset, record, now))
    return entries


def in_pieces(state: State, log: Sequence[Entry], cuts: Sequence[int]) -> list[Envelope]:
    borders = [0, *sorted(min(cut, len(log)) for cut in cuts), len(log)]
    return [envelope for a, b in pairwise(borders) for envelope in state.apply(log[a:b])]


def told(state: State) -> list[object]:
    """Return what was told of each live video, and what counts as common."""
    lives = [
        (live.id, live.running, live.taken, [(s.reference, s.told, s.flagged) for s in live.sightings.values()])
        for live in state.parts().live
    ]
    return [lives, state.rows.shared[: len(state.rows)].tolist()]


@settings(max_examples=40, deadline=None)
@given(a_live_log(), st.lists(st.integers(0, 80), max_size=5))
@pytest.mark.slow
def test_batches_of_any_size_say_the_same(log: list[Entry], cuts: list[int]) -> None:
    single, cut, whole = a_state(), a_state(), a_state()
    expected = in_pieces(single, log, range(len(log)))
    assert_same(in_pieces(whole, log, []), expected)
    assert_same(in_pieces(cut, log, cuts), expected)
    assert told(whole) == told(single) == told(cut)


@settings(max_examples=15, deadline=None)
@given(a_live_log(), st.floats(0, 1))
@pytest.mark.slow
def test_a_restored_snapshot_goes_on_as_if_nothing_had_happened(log: list[Entry], share: float) -> None:
    with TemporaryDirectory() as folder:
        saved_and_followed(Path(folder), log, round(share * len(log)))


@settings(max_examples=15, deadline=None)
@given(a_live_log())
def test_each_match_is_flagged_once_as_unsure_and_once_as_duplicate_at_most(log: list[Entry]) -> None:
    state, seen = a_state(), set()
    for envelope in state.apply(log):
        for event in envelope.events:
            if isinstance(event, RemovedEvent | Replaced):
                seen = {one for one in seen if event.id not in one[:2]}
            if isinstance(event, Rolling) and event.flagged is not None:
                one = (event.verdict.id, event.flagged.reference, event.flagged.decision)
                assert one not in seen
                seen.add(one)


# -- what was published ------------------------------------------------------------------------------------------------


def test_follower_that_found_nothing_takes_over_what_was_published_and_flags_it_no_more() -> None:
    leader, follower = a_log(), Log()  # the follower's search misses the film
    follower.add(picture("something", 0, detail=BLANK), [])
    frames = a_broadcast(edited(FILM.at(times(30) + 20)))
    published = {envelope.offset: envelope for envelope in leader.add(frames[:40])}
    film = follower.state.apply([Entry(0, record) for record in video("film", FILM.at(times(100)), detail=BLANK)])
    assert film
    entries = [Entry(offset, record) for offset, record in zip(published, frames, strict=False)]
    assert follower.state.apply(entries, published) == list(published.values())
    rest = [Entry(100 + n, record) for n, record in enumerate([*frames[40:], live_end("live")])]
    events = [event for envelope in follower.state.apply(rest) for event in envelope.events]
    assert flagged(events) == []
    assert [match.reference for match in rolling(events)[-1].verdict.matches] == ["film"]


@settings(max_examples=20, deadline=None)
@given(a_live_log(), st.floats(0, 1))
@pytest.mark.slow
def test_follower_that_comes_to_lead_says_what_the_leader_would_have_said(log: list[Entry], share: float) -> None:
    leader, follower = a_state(), a_state()
    said = leader.apply(log)
    cut = round(share * len(log))
    assert follower.apply(log[:cut], {one.offset: one for one in said}) == said[:cut]
    assert_same(follower.apply(log[cut:]), said[cut:])


def test_recording_of_a_still_live_video_that_counts_from_a_later_moment_is_a_copy_as_a_whole() -> None:
    still = np.repeat(at(0), 600, axis=0)
    log = Log()
    log.add(a_broadcast(edited(still, 1, 0.999), begin=5000.0), live_end("live"))
    match = log.verdict(*video("recording", edited(still, 2, 0.999))).matches[0]
    assert (match.reference, match.where.whole) == ("live", True)
    assert span(match) == pytest.approx((0, 299.5, 5000, 5299.5))


def test_follower_that_finds_what_was_not_published_says_it_when_it_leads() -> None:
    log = a_log()
    frames = a_broadcast(edited(FILM.at(times(30) + 20)))
    silent = {offset: Envelope(offset=offset) for offset in range(100, 140)}
    entries = [Entry(100 + n, frame) for n, frame in enumerate(frames)]
    assert log.state.apply(entries[:40], silent) == list(silent.values())
    events = [event for envelope in log.state.apply(entries[40:]) for event in envelope.events]
    assert flagged(events) == [("film", Decision.DUPLICATE)]


# -- as the network sees it --------------------------------------------------------------------------------------------


def a_pan(blots: Pixels, seconds: float) -> list[Pixels]:
    """Return views, two a second, that move over a blurred picture: (120, 160, 3)."""
    wide = Image.fromarray(blots).resize((1600, 420), Image.Resampling.BICUBIC)
    return [
        np.asarray(wide.resize((160, 120), box=(20 * n, 2 * n, 20 * n + 400, 2 * n + 300)))
        for n in range(round(2 * seconds))
    ]


def as_jpeg(rgb: Pixels) -> Pixels:
    with BytesIO() as file:
        Image.fromarray(rgb).resize((100, 80)).save(file, "JPEG", quality=40)
        return np.asarray(Image.open(file).convert("RGB"))


@pytest.mark.slow
def test_recompressed_frames_of_a_film_are_found_by_the_shipped_network() -> None:
    checkpoint = load_checkpoint("default")
    embedder = make_embedder(checkpoint, "cpu", threads=1)
    blots = np.random.default_rng(1).integers(0, 256, (9, 40, 3), dtype=np.uint8)
    stripes = np.repeat(np.random.default_rng(2).integers(0, 256, (1, 90, 1), dtype=np.uint8), 3, axis=2)
    film, other = a_pan(blots, 25), a_pan(stripes, 6)
    shown = [as_jpeg(rgb) for rgb in [*other, *film[14:40]]]
    known, live = (embedder.embed(tiles(pictures, embedder.size)) for pictures in (film, shown))
    log = Log(make_state(checkpoint, read_calibration(checkpoint), 0.99, kind="exact"))
    log.add(video("film", known.vectors, hashes=known.hashes, detail=known.detail.tolist()))
    frames = [
        live_frame("live", n / 2, live.vectors[n : n + 1], hashes=live.hashes[n : n + 1], detail=int(live.detail[n]))
        for n in range(len(shown))
    ]
    assert log.events(*frames[: len(other)]) == []
    events = log.events(*frames[len(other) :], live_end("live"))
    assert flagged(events) == [("film", Decision.DUPLICATE)]
    assert span(rolling(events)[-1].verdict.matches[0]) == pytest.approx((6, 19, 7, 20), abs=0.75)
