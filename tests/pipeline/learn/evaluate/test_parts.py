"""The best allowed pair of parts is found by hand, too."""

import numpy as np
import pytest

from neardup.pipeline.learn.evaluate import parts
from neardup.pipeline.learn.evaluate.parts import NOTHING, Parts, best_evidence, describe_parts, differing, find_kin
from neardup.pipeline.match.decide.evidence import Evidence
from neardup.pipeline.types import Embedded, Pixels

RULE = Evidence(np.zeros((0, 2), dtype=np.float32), 0.0, cohort_weight=0.0)


class Means:
    """Describes a tile by its mean colour: enough to see in which order tiles came."""

    space, dimension, size, engine = "means", 2, 160, "means"

    def embed(self, tiles: Pixels) -> Embedded:
        values = tiles.mean(axis=(1, 2, 3), dtype=np.float32)
        return Embedded(
            np.stack([values, values], 1), np.zeros((len(tiles), 32), np.uint8), np.full(len(tiles), 50, np.uint8)
        )


def given(degrees: list[float], owner: list[int], area: list[float], detail: int = 50) -> Parts:
    turned = np.radians(degrees)
    vectors = np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)
    embedded = Embedded(vectors, np.zeros((len(owner), 32), np.uint8), np.full(len(owner), detail, np.uint8))
    return Parts(embedded, np.array(owner), np.array(area))


def test_the_best_part_of_a_query_is_compared_with_whole_references() -> None:
    queries = given([90, 0, 90], [0, 0, 1], [1, 0.25, 1])
    references = given([0, 90], [0, 1], [1, 1])
    np.testing.assert_allclose(best_evidence(RULE, queries, references), [[1, 1], [0, 1]], atol=1e-6)


def test_a_part_of_a_query_counts_less_by_the_number_of_its_parts_and_the_whole_does_not() -> None:
    queries, references = given([90, 0, 90], [0, 0, 1], [1, 0.25, 1]), given([0, 90], [0, 1], [1, 1])
    found = best_evidence(RULE, queries, references, lambda parts: 0.1 * parts)
    np.testing.assert_allclose(found, [[0.8, 1], [0, 1]], atol=1e-6)


def test_cohort_is_taken_off_without_the_reference_and_its_kin() -> None:
    rule = Evidence(np.zeros((0, 2), dtype=np.float32), 0.0)
    queries, references = given([0], [0], [1]), given([30, 40, 50, 90], [0, 1, 2, 3], [1] * 4)
    cosines = np.cos(np.radians([30, 40, 50, 90]))
    others = [[1, 2], [0, 2], [0, 1], [0, 1]]
    wanted = [own - cosines[rest].mean() for own, rest in zip(cosines, others, strict=True)]
    np.testing.assert_allclose(best_evidence(rule, queries, references)[0], wanted, atol=1e-6)
    kin = {0: [1], 1: [0]}
    found = best_evidence(rule, queries, references, None, kin)[0]
    np.testing.assert_allclose(found[0], cosines[0] - cosines[[2, 3]].mean(), atol=1e-6)
    np.testing.assert_allclose(found[2:], wanted[2:], atol=1e-6)


def test_kin_is_what_reaches_the_evidence_whichever_came_first() -> None:
    rule = Evidence(np.zeros((0, 2), dtype=np.float32), 0.0)
    references = given([0, 5, 90, 180], [0, 1, 2, 3], [1] * 4)
    assert find_kin(rule, references, 0.5) == {0: {1}, 1: {0}}


def test_two_parts_are_no_pair_unless_one_is_nearly_all() -> None:
    queries = given([90, 0], [0, 0], [1, 0.25])
    small, large = (given([180, 0], [0, 0], [1, share]) for share in (0.5, 0.8))
    assert best_evidence(RULE, queries, small)[0, 0] == pytest.approx(0, abs=1e-6)
    assert best_evidence(RULE, queries, large)[0, 0] == pytest.approx(1, abs=1e-6)


def test_what_shows_nothing_is_no_pair() -> None:
    blank, picture = given([0], [0], [1], detail=0), given([0], [0], [1])
    assert best_evidence(RULE, blank, picture).tolist() == best_evidence(RULE, picture, blank).tolist() == [[NOTHING]]


@pytest.mark.parametrize("block", [1, 2, 3])
def test_blocks_that_cut_through_a_query_change_nothing(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    queries = given([90, 0, 30, 60, 200], [0, 0, 1, 1, 1], [1, 0.25, 1, 0.5, 0.3])
    references = given([0, 90, 10], [0, 1, 1], [1, 1, 0.4])
    expected = best_evidence(RULE, queries, references)
    monkeypatch.setattr(parts, "BLOCK", block)
    np.testing.assert_array_equal(best_evidence(RULE, queries, references), expected)


def test_a_picture_is_described_before_its_regions_and_in_order() -> None:
    page = np.full((240, 320, 3), 200, dtype=np.uint8)
    page[60:180, 80:240] = 40
    plain = np.full((240, 320, 3), 120, dtype=np.uint8)
    plain.flags.writeable = False
    found = describe_parts([plain, page, plain], Means(), "boxes")
    assert found.owner.tolist() == [0, 1, 1, 2]
    assert found.first.tolist() == [0, 1, 3]
    np.testing.assert_allclose(found.area, [1, 1, 0.25, 1], atol=0.03)
    np.testing.assert_allclose(found.embedded.vectors[:, 0], [120, 160, 40, 120], atol=4)
    assert describe_parts([plain, page], Means(), "none").owner.tolist() == [0, 1]


def test_differing_bits_are_counted_for_all_pairs() -> None:
    a, b = np.array([[0, 1, 1, 0]], np.uint8), np.array([[0, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 1]], np.uint8)
    assert differing(a, b).tolist() == [[0, 2, 4]]
