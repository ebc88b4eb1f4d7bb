"""Films that show another film in one part of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neardup.pipeline.log.records import Described, Matched, Rolling, pack_boxes
from neardup.pipeline.prove.finding import Proved
from neardup.pipeline.prove.prover import Prover
from neardup.pipeline.types import Box, Decision, Descriptors
from neardup.pipeline.where import WhereKind
from tests.pipeline.match.build import AGREES, Film, Log, a_state, edited, live_end, live_frames, picture, times, video

CORNER: Box = (0.0625, 0.0625, 0.4375, 0.4375)


def with_part(name: str, whole: Descriptors, part: Descriptors, since: int = 2) -> list[Described]:
    """Return a film of which a part is described, too, after the whole frame; earlier ones come late, with `since`."""
    rows, pts, boxes = [], [], []
    for place, moment in enumerate(times(len(whole) / 2)[: len(whole)]):
        rows.append(whole[place])
        pts.append(moment)
        boxes.append(None)
        for shown in range(since + 1) if place == since else [place] if place > since else []:
            rows.append(part[shown])
            pts.append(shown / 2)
            boxes.append(CORNER)
    return video(name, np.stack(rows), pts, boxes=pack_boxes(boxes))


@pytest.fixture
def seconds() -> np.ndarray:
    return times(12)


def test_a_film_in_the_corner_of_another_is_found_with_its_times(seconds: np.ndarray) -> None:
    log = Log()
    log.add(video("film", Film(1).at(times(40))))
    shown = edited(Film(1).at(10 + seconds))
    verdict = log.verdict(with_part("corner", Film(2).at(seconds), shown))
    (match,) = verdict.matches
    assert match.decision is Decision.DUPLICATE
    assert match.where.kind is WhereKind.PART
    assert (match.where.query_box, match.where.reference_box) == (pytest.approx(CORNER, abs=1e-3), None)
    (span,) = match.where.spans
    assert (span.query_start, span.query_end) == (pytest.approx(0, abs=0.3), pytest.approx(12, abs=0.3))
    assert (span.reference_start, span.reference_end) == (pytest.approx(10, abs=0.3), pytest.approx(22, abs=0.3))


def test_the_corner_of_a_reference_is_found_too(seconds: np.ndarray) -> None:
    log = Log()
    log.add(with_part("corner", Film(2).at(seconds), Film(1).at(seconds)))
    (match,) = log.verdict(video("film", edited(Film(1).at(seconds)))).matches
    assert match.decision is Decision.DUPLICATE
    assert (match.where.query_box, match.where.reference_box) == (None, pytest.approx(CORNER, abs=1e-3))
    corner = log.state.items.named("corner")
    assert corner is not None
    assert log.state.rows.shared[log.state.rows_of(corner)].max() == 1


def test_copies_as_a_whole_stay_so(seconds: np.ndarray) -> None:
    log = Log()
    log.add(with_part("film", Film(2).at(seconds), Film(1).at(seconds)))
    copy = with_part("copy", edited(Film(2).at(seconds)), edited(Film(1).at(seconds), 1))
    (match,) = log.verdict(copy).matches
    assert (match.decision, match.where.kind) == (Decision.DUPLICATE, WhereKind.WHOLE)
    assert (match.where.query_box, match.where.reference_box) == (None, None)


def test_a_part_that_nothing_else_shows_changes_nothing(seconds: np.ndarray) -> None:
    log = Log()
    log.add(video("film", Film(2).at(seconds)))
    assert log.verdict(with_part("other", Film(3).at(seconds), Film(4).at(seconds))).matches == ()


@pytest.mark.parametrize(
    ("bordered", "start", "expected"),
    [
        ((True, True), 0.0, WhereKind.WHOLE),
        ((True, False), 0.0, WhereKind.PART),
        ((True, True), 10.0, WhereKind.PART),
    ],
    ids=["within bars", "beside something", "a section of the video"],
)
def test_a_film_within_a_plain_border_is_a_copy_as_a_whole(
    seconds: np.ndarray, bordered: tuple[bool, bool], start: float, expected: WhereKind
) -> None:
    class Finds(Prover):
        def prove(self, *_asked: object) -> Proved:  # type: ignore[override]
            return replace(AGREES, bordered=bordered)

    log = Log(a_state(prover=Finds(lambda *_: None)))
    log.add(video("film", Film(1).at(times(12 + 3 * start))))
    shown = edited(Film(1).at(start + seconds))
    (match,) = log.verdict(with_part("barred", Film(2).at(seconds), shown)).matches
    assert (match.decision, match.where.kind) == (Decision.DUPLICATE, expected)
    assert match.where.query_box == pytest.approx(CORNER, abs=1e-3)


def test_an_image_is_found_in_the_corner_of_a_film(seconds: np.ndarray) -> None:
    log = Log()
    still = np.repeat(picture("image", 0).embedded().vectors, len(seconds), axis=0)
    log.add(picture("image", 0))
    (match,) = log.verdict(with_part("corner", Film(2).at(seconds), still)).matches
    assert match.where.query_box == pytest.approx(CORNER, abs=1e-3)
    (span,) = match.where.spans
    assert (span.query_start, span.query_end) == (0.0, 12.0)


def test_live_films_are_compared_with_wholes(seconds: np.ndarray) -> None:
    log = Log()
    log.add(with_part("film", Film(2).at(seconds), Film(1).at(seconds)))

    def matches(name: str, seed: int) -> list[Matched]:
        shown = live_frames(name, edited(Film(seed).at(seconds)), seconds)
        said = [event for event in log.events(*shown, live_end(name)) if isinstance(event, Rolling)]
        return [match for event in said for match in event.verdict.matches]

    assert matches("part", 1) == []
    assert {match.reference for match in matches("whole", 2)} == {"film"}
