from __future__ import annotations

import numpy as np
import pytest

from neardup.pipeline.learn.calibrate.strangers import MIN_KIND, OF_ONE_KIND, Labelled, Sample, count_strangers
from neardup.pipeline.match.decide.evidence import Evidence
from neardup.pipeline.types import Embedded

COUNTS = ("copies", "near", "near_of", "far", "far_of", "kindred", "kindred_of")
NO_BACKGROUND = np.zeros((0, 2), dtype=np.float32)


def labelled(
    degrees: list[float], group: list[int], source: list[int], detail: int = 50, kind: list[int] | None = None
) -> Labelled:
    """Return unit vectors at these angles, all of one hash; a source is one kind, unless told otherwise."""
    angles = np.radians(degrees)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    hashes = np.zeros((len(degrees), 32), dtype=np.uint8)
    details = np.full(len(degrees), detail, dtype=np.uint8)
    kinds = np.array(kind or source)
    return Labelled(Embedded(vectors.reshape(-1, 2), hashes, details), np.array(group), np.array(source), kinds)


def test_strangers_are_counted_by_home_and_kin_are_left_out() -> None:
    # Cosines with a query at 0 degrees: 1, 0.87 (kin), 0.5 at home; 0.87 elsewhere; cuts at 0.5, and 0.87 of kin.
    queries = labelled([0], [7], [1])
    pictures = labelled([0, 30, 60, 30], [7, 7, 2, 3], [1, 1, 1, 2])
    cuts = labelled([60, 30], [4, 7], [2, 1])
    grid = np.array([0.4, 0.8])
    found = count_strangers(Evidence(NO_BACKGROUND, 0.0), queries, pictures, cuts, np.array([0]), grid)
    assert found.near.tolist() == [[1, 0]]
    assert found.near_of.tolist() == [1]
    assert found.far.tolist() == [[2, 1]]
    assert found.far_of.tolist() == [2]
    assert found.copies.tolist() == pytest.approx([1.0], abs=1e-6)


def test_strangers_of_the_querys_own_kind_are_counted_apart() -> None:
    # At home: kin, ten of its kind of which one is at 0.87, one of another kind at 0.87; cuts are of no kind.
    queries = labelled([0], [7], [1], kind=[3])
    pictures = labelled([30, 30, -30, *[90] * 9], [7, *range(20, 31)], [1] * 12, kind=[3, 3, 8, *[3] * 9])
    cuts = labelled([30], [5], [1], kind=[3])
    found = count_strangers(Evidence(NO_BACKGROUND, 0.0), queries, pictures, cuts, np.array([0]), np.array([0.4, 0.8]))
    assert found.near.tolist() == [[2, 2]]
    assert found.kindred.tolist() == [[1, 1]]
    assert found.kindred_of.tolist() == [MIN_KIND]


def test_of_a_kind_with_few_strangers_all_of_the_source_tells() -> None:
    queries = labelled([0], [7], [1], kind=[3])
    pictures = labelled([30, -30, *[90] * 12], list(range(20, 34)), [1] * 14, kind=[3, 8, *[3] * 8, *[4] * 4])
    found = count_strangers(
        Evidence(NO_BACKGROUND, 0.0), queries, pictures, labelled([], [], []), np.array([-1]), np.array([0.4, 0.8])
    )
    assert found.kindred.tolist() == found.near.tolist() == [[2, 2]]
    assert found.kindred_of.tolist() == found.near_of.tolist() == [14]


def test_what_says_nothing_neither_finds_nor_is_found() -> None:
    grid = np.array([0.4, 0.8])
    rule, own = Evidence(NO_BACKGROUND, 0.0), np.array([0])
    nothing = labelled([], [], [])
    blank = labelled([0], [1], [0], detail=0)
    speaking, known = labelled([0], [1], [0]), labelled([0, 10], [1, 2], [0, 0])
    asked = count_strangers(rule, blank, known, nothing, own, grid)
    assert asked.copies.tolist() == [-np.inf]
    assert asked.near.tolist() == [[0, 0]]
    blank_references = labelled([0, 10], [1, 2], [0, 0], detail=0)
    assert count_strangers(rule, speaking, blank_references, nothing, own, grid).near.tolist() == [[0, 0]]


def a_sample(near: int, near_of: int, far: int, far_of: int) -> Sample:
    return Sample(
        grid=np.array([0.0]),
        copies=np.array([1.0]),
        near=np.array([[near]], dtype=np.int32),
        near_of=np.array([near_of]),
        far=np.array([[far]], dtype=np.int32),
        far_of=np.array([far_of]),
        kindred=np.array([[near]], dtype=np.int32),
        kindred_of=np.array([near_of]),
        picture=np.array([0]),
        source=np.array([0]),
    )


@pytest.mark.parametrize(
    ("references", "wanted"),
    [
        (1, 0.1),  # one of ten at home
        (10, 1.0),  # all at home
    ],
)
def test_references_are_drawn_at_home_first(references: int, wanted: float) -> None:
    assert a_sample(1, 10, 0, 1000).false_rates(references).item() == pytest.approx(wanted)


def test_many_strangers_of_one_query_are_hardly_worse_than_one() -> None:
    # 100 of 1,000: among 50 it finds one nearly surely, and not with a "probability" of 5.
    assert a_sample(0, 0, 100, 1000).false_rates(50).item() == pytest.approx(1 - 0.95**100)


def test_beyond_what_was_counted_false_matches_grow_with_the_references() -> None:
    assert a_sample(0, 0, 1, 1000).false_rates(4000).item() == pytest.approx(4.0)
    assert a_sample(1, 100, 0, 0).false_rates(50).item() == pytest.approx(0.5)


def test_of_one_kind_there_may_be_many_more_than_were_counted_but_not_any_number() -> None:
    one = a_sample(1, 20, 0, 1000)
    assert one.false_rates_of_one_kind(10).item() == pytest.approx(0.5)
    assert one.false_rates_of_one_kind(200).item() == pytest.approx(10.0)
    assert one.false_rates_of_one_kind(10**6).item() == pytest.approx(OF_ONE_KIND / 20)
    assert a_sample(1, 5000, 0, 0).false_rates_of_one_kind(10**6).item() == pytest.approx(1.0)  # all of them are


def test_all_queries_of_a_picture_count_as_one() -> None:
    one = a_sample(0, 0, 1, 10)
    three = Sample(
        one.grid,
        *(np.repeat(getattr(one, name), 3, axis=0) for name in COUNTS),
        picture=np.array([0, 0, 1]),
        source=np.zeros(3, dtype=np.int64),
    )
    assert three.weight.tolist() == [0.5, 0.5, 1.0]
