"""Images that match in a part: two angles of a plane are two pictures of one thing, see `build`."""

import numpy as np
import pytest

from neardup.pipeline.log.records import Described, Matched, pack_boxes, unpack_boxes
from neardup.pipeline.types import Box, Decision
from tests.pipeline.match.build import Log, at, described, picture

LEFT: Box = (0.0, 0.0, 0.5, 1.0)
RIGHT: Box = (0.5, 0.0, 1.0, 1.0)
NEARLY: Box = (0.0, 0.1, 1.0, 0.9)


def composed(item_id: str, plane: int, *parts: tuple[Box, float, int]) -> Described:
    """Return a picture of its own plane whose parts stand at (box, degrees, plane)."""
    vectors = np.concatenate([at(0, plane=plane), *(at(degrees, plane=of) for _, degrees, of in parts)])
    return described(item_id, vectors, boxes=pack_boxes([None, *(box for box, _, _ in parts)]))


def _box(match: Matched) -> tuple[float, ...]:
    assert match.where.query_box is not None
    return match.where.query_box


def test_a_collage_is_a_duplicate_of_both_originals_in_part_and_joins_no_star() -> None:
    log = Log()
    log.add(picture("a", 0, plane=1), picture("b", 0, plane=2))
    verdict = log.verdict(composed("collage", 3, (LEFT, 5, 1), (RIGHT, 5, 2)))
    assert {match.reference for match in verdict.matches} == {"a", "b"}
    assert all(match.decision is Decision.DUPLICATE and not match.where.whole for match in verdict.matches)
    boxes = {match.reference: _box(match) for match in verdict.matches}
    assert boxes["a"] == pytest.approx(LEFT, abs=1e-4)
    assert boxes["b"] == pytest.approx(RIGHT, abs=1e-4)
    assert log.head_of("collage") == "collage"


def test_an_original_that_comes_after_its_collage_is_found_too() -> None:
    log = Log()
    log.add(composed("collage", 3, (LEFT, 0, 1), (RIGHT, 0, 2)))
    (match,) = log.verdict(picture("a", 5, plane=1)).matches
    assert (match.reference, match.where.whole, match.where.query_box) == ("collage", False, None)
    assert match.where.reference_box == pytest.approx(LEFT, abs=1e-4)


def test_two_collages_with_a_cell_in_common_are_distinct() -> None:
    log = Log()
    log.add(composed("one", 3, (LEFT, 0, 1), (RIGHT, 0, 2)))
    assert log.verdict(composed("two", 4, (LEFT, 0, 1), (RIGHT, 0, 5))).decision is Decision.DISTINCT


def test_what_is_nearly_the_whole_picture_counts_as_it() -> None:
    log = Log()
    log.add(picture("a", 0, plane=1))
    (match,) = log.verdict(composed("with bars", 3, (NEARLY, 5, 1))).matches
    assert match.where.whole
    assert log.head_of("with bars") == "a"


def test_a_match_as_a_whole_comes_before_that_of_a_part() -> None:
    log = Log()
    log.add(picture("a", 0, plane=1))
    (match,) = log.verdict(composed("copy", 1, (LEFT, 0, 1))).matches
    assert match.where.whole
    assert match.where.query_box is None


def test_more_parts_ask_for_more_evidence() -> None:
    """Of 25 parts, one is likelier to match by chance than if it were the only one."""
    probabilities = []
    for count in (1, 25):
        log = Log()
        log.add(picture("a", 0, plane=1))
        others = [(RIGHT, 0.0, 4 + number) for number in range(count - 1)]
        (match,) = log.verdict(composed("q", 3, (LEFT, 31.0, 1), *others)).matches
        assert match.evidence == pytest.approx(np.cos(np.radians(31)), abs=1e-3)
        probabilities.append(match.probability)
    assert probabilities[1] < probabilities[0]


def test_boxes_survive_the_record() -> None:
    assert pack_boxes([None, None]) == b""
    assert unpack_boxes(b"", 2).tolist() == [[0, 0, 65535, 65535]] * 2
    assert unpack_boxes(pack_boxes([None, LEFT]), 2).tolist() == [[0, 0, 65535, 65535], [0, 0, 32768, 65535]]


def test_batches_of_any_size_give_the_same_verdicts() -> None:
    records = [
        picture("a", 0, plane=1),
        composed("collage", 3, (LEFT, 5, 1), (RIGHT, 0, 2)),
        picture("b", 5, plane=2),
        composed("framed", 4, (NEARLY, 8, 2)),
        composed("page", 5, (LEFT, 3, 1), (RIGHT, 2, 2)),
        picture("c", 4, plane=1),
    ]
    alone, together = Log(), Log()
    one_by_one = [envelope for record in records for envelope in alone.add(record)]
    assert together.add(*records) == one_by_one
