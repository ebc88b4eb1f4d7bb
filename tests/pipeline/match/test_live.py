"""What is said of a live video while it runs."""

from __future__ import annotations

import numpy as np
import pytest

from neardup.pipeline.messages import (
    Described,
    Event,
    Matched,
    Record,
    Redelivered,
    Rolling,
    Verdict,
)
from neardup.pipeline.types import Decision, Descriptors
from tests.pipeline.match.build import (
    Film,
    Log,
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
    (one,) = match.spans
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
    assert (event.flagged.reference, event.flagged.whole) == ("film", False)
    assert span(event.flagged) == pytest.approx((12, 12 + n / 2, 40, 40 + n / 2), abs=0.75)


def test_spans_grow_and_are_told_in_steps_and_flagged_once() -> None:
    log = a_log()
    events = log.events(*a_broadcast(OTHER.at(times(10)), edited(FILM.at(times(60) + 30)), Film(3).at(times(10))))
    assert flagged(events) == [("film", Decision.DUPLICATE)]
    assert 6 <= len(rolling(events)) <= 12
    lengths = [event.verdict.matches[0].spans[0].query_end for event in rolling(events)]
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
    spans = rolling(events)[-1].verdict.matches[0].spans
    assert [(s.query_start, s.query_end) for s in spans] == [
        pytest.approx((0, 20.25), abs=0.75),
        pytest.approx((221, 241.25), abs=0.75),
    ]
    assert [(s.reference_start, s.reference_end) for s in spans] == [pytest.approx((10, 30.25), abs=0.75)] * 2


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
    assert [decision for _, decision in found] in ([], [Decision.UNSURE])


def test_image_is_found_in_a_live_video_with_its_run() -> None:
    log = Log()
    log.add(picture("slide", 0))
    events = log.events(*a_broadcast(OTHER.at(times(5)), edited(at(*[0] * 20), 1, 0.97), OTHER.at(times(10) + 20)))
    assert flagged(events) == [("slide", Decision.DUPLICATE)]
    assert span(rolling(events)[-1].verdict.matches[0]) == (5.5, 15.0, 0.0, 0.0)


# -- as a reference ----------------------------------------------------------------------------------------------------


def test_image_and_video_match_a_live_video_that_runs() -> None:
    log = Log()
    log.add(a_broadcast(FILM.at(times(60))))
    found = log.verdict(*video("clip", edited(FILM.at(times(20) + 30))))
    assert (found.matches[0].reference, found.matches[0].whole) == ("live", False)
    assert span(found.matches[0]) == pytest.approx((0, 20, 30, 50), abs=0.75)
