from __future__ import annotations

import msgspec
import numpy as np
import pytest

from neardup.pipeline.errors import UsageError
from neardup.pipeline.index import IndexOptions, make_index
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.log.records import Described, Removed, pack_vectors
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.data.similars import Similars
from neardup.pipeline.match.query.content import content_of_item, content_of_record, like_content
from neardup.pipeline.match.query.similar import Query, Similar
from neardup.pipeline.types import Descriptors
from tests.pipeline.match.build import Film, Log, a_state, live_frames, picture, times, video

SPACE = "t"


def a_state_with_contents() -> State:
    vectors = VectorFile(None, 2, SPACE)
    return a_state(similars=Similars(vectors, make_index(vectors, "similar", IndexOptions("exact", device="cpu"))))


def shows(record: Described, degrees: float, space: str = SPACE) -> Described:
    """Return the record with content at this angle."""
    return msgspec.structs.replace(record, similar=pack_vectors(angle(degrees)), similar_space=space)


def angle(degrees: float) -> Descriptors:
    return np.array([[np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]], np.float32)


def found(state: State, degrees: float, **how: object) -> list[Similar]:
    (results,) = like_content(state, [Query(angle(degrees), **{"k": 10, **how})])  # type: ignore[arg-type]
    return results


def ids(results: list[Similar]) -> list[str]:
    return [one.item.id for one in results]


@pytest.fixture
def log() -> Log:
    """A cat with a copy, another cat, a dog, and something that nobody says anything of; the copies are of one star."""
    log = Log(a_state_with_contents())
    log.add(
        shows(picture("cat", 0), 0),
        shows(picture("cat copy", 5), 4),
        shows(picture("other cat", 0, plane=1), 20),
        shows(picture("dog", 0, plane=2), 90),
        picture("silent", 0, plane=3),
    )
    return log


def test_items_are_found_by_content_nearest_first_and_copies_are_one_result(log: Log) -> None:
    results = found(log.state, 0)
    assert ids(results) == ["cat", "other cat", "dog"]
    assert [item.id for item, _ in results[0].others] == ["cat copy"]
    assert results[0].members == 2
    assert results[2].distance == pytest.approx(2.0, abs=1e-3)


def test_ungrouped_copies_stand_for_themselves(log: Log) -> None:
    assert ids(found(log.state, 5, grouped=False)) == ["cat copy", "cat", "other cat", "dog"]


def test_an_item_and_its_star_are_left_out_of_its_own_neighbours(log: Log) -> None:
    vectors = content_of_item(log.state, "cat copy")
    (grouped, single) = like_content(
        log.state, [Query(vectors, 10, item="cat copy"), Query(vectors, 10, item="cat copy", grouped=False)]
    )
    assert ids(grouped) == ["other cat", "dog"]
    assert ids(single) == ["cat", "other cat", "dog"]


def test_distance_and_number_bound_what_is_found(log: Log) -> None:
    assert ids(found(log.state, 0, max_distance=0.2)) == ["cat", "other cat"]
    assert ids(found(log.state, 0, k=1)) == ["cat"]


def test_what_was_taken_down_or_replaced_is_found_no_more(log: Log) -> None:
    log.add(Removed(id="cat"))
    assert ids(found(log.state, 0)) == ["cat copy", "other cat", "dog"]
    log.add(shows(picture("dog", 30, plane=2, sha256=b"new"), 1))
    assert ids(found(log.state, 0)) == ["dog", "cat copy", "other cat"]
    log.add(picture("dog", 60, plane=2, sha256=b"newer"))
    assert ids(found(log.state, 0)) == ["cat copy", "other cat"]


def test_a_thousand_copies_do_not_hide_what_else_is_alike(log: Log) -> None:
    log.add(*(shows(picture(f"viral {n}", 0, plane=5), 0.5) for n in range(200)))
    assert ids(found(log.state, 0, k=4)) == ["cat", "viral 0", "other cat", "dog"]


def test_the_last_part_of_a_video_says_what_it_shows() -> None:
    log = Log(a_state_with_contents())
    *parts, last = video("film", Film(1).at(times(6.0)), part_size=6)
    log.add(*parts, shows(last, 45))
    assert ids(found(log.state, 45)) == ["film"]
    np.testing.assert_allclose(content_of_item(log.state, "film"), angle(45), atol=1e-3)


def test_vectors_of_another_space_or_size_are_not_kept() -> None:
    log = Log(a_state_with_contents())
    wide = msgspec.structs.replace(
        picture("wide", 90), similar=pack_vectors(np.eye(3, dtype=np.float32)[:1]), similar_space=SPACE
    )
    log.add(shows(picture("old", 0), 0, space="former"), wide)
    assert len(log.state.items) == 2
    assert found(log.state, 0) == []


def test_a_live_video_has_no_content() -> None:
    log = Log(a_state_with_contents())
    log.add(*live_frames("live", Film(2).at([0.0, 1.0]), [0.0, 1.0]))
    assert content_of_item(log.state, "live").shape == (0, 2)


def test_a_state_that_keeps_none_says_so() -> None:
    log = Log()
    log.add(shows(picture("a", 0), 0))
    assert content_of_item(log.state, "a").shape == (0, 0)
    assert content_of_record(log.state, shows(picture("b", 0), 0)).shape == (0, 0)
    with pytest.raises(UsageError, match="by content"):
        found(log.state, 0)


def test_an_item_that_is_not_held_is_a_usage_error(log: Log) -> None:
    with pytest.raises(UsageError, match="no item 'bird'"):
        content_of_item(log.state, "bird")
