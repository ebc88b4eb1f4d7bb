from __future__ import annotations

import numpy as np
import pytest

from neardup.pipeline.learn.calibrate.strangers import (
    MIN_KIND,
    MOST_DRAWS,
    OF_ONE_KIND,
    Labelled,
    Sample,
    count_strangers,
    strange_pairs,
)
from neardup.pipeline.log.records import Entry
from neardup.pipeline.match.decide.evidence import Evidence
from neardup.pipeline.match.query.lookup import lookup
from neardup.pipeline.types import Descriptors, Embedded
from tests.pipeline.match.build import D, a_calibration, a_state, described

NO_BACKGROUND = np.zeros((0, 2), dtype=np.float32)


def cos(degrees: float) -> float:
    return float(np.cos(np.radians(degrees)))


def embedded(vectors: Descriptors) -> Embedded:
    n = len(vectors)
    return Embedded(vectors, np.zeros((n, 32), np.uint8), np.full(n, 50, np.uint8))


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


def count(
    queries: Labelled, pictures: Labelled, cuts: Labelled, own: list[int], levels: tuple[int, ...] = ()
) -> Sample:
    return count_strangers(Evidence(NO_BACKGROUND, 0.0), queries, pictures, cuts, np.array(own), levels)


def test_strongest_stranger_and_the_copy_are_found_and_what_belongs_together_is_left_out() -> None:
    # Cosines with a query at 0 degrees: 1, 0.87 (kin); strangers at 0.5 and 0.77; cuts at 0.34, and 0.87 of kin.
    queries = labelled([0], [7], [1])
    pictures = labelled([0, 30, 60, 40], [7, 7, 2, 3], [1, 1, 1, 2])
    found = count(queries, pictures, labelled([70, 30], [4, 7], [2, 1]), [0])
    (copy,), (stranger,) = found.copies[-1][0], found.strangers[-1][0]
    # The cohort of the copy: 0.77 and 0.5; that of the strongest stranger: 0.5 and 0.34.
    assert copy == pytest.approx(1.0 - (cos(40) + cos(60)) / 2, abs=1e-5)
    assert stranger == pytest.approx(cos(40) - (cos(60) + cos(70)) / 2, abs=1e-5)
    assert found.levels == (6,)


@pytest.mark.parametrize("original_is_there", [True, False])
def test_evidence_is_that_of_the_stream(original_is_there: bool) -> None:
    """The same pictures, added to a state one after the other, give a query the same evidence."""
    random = np.random.default_rng(5)
    vectors = random.normal(size=(40, D)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = vectors[3] + 0.5 * random.normal(size=D).astype(np.float32) / np.sqrt(D)
    query = np.asarray(query / np.linalg.norm(query), np.float32)[None]
    state = a_state(a_calibration(cohort_weight=1.0), stars=False)
    for n, vector in enumerate(vectors):
        if n != 3 or original_is_there:
            state.apply([Entry(n, described(f"r{n}", vector[None]))])
    evidence = {match.reference: match.evidence for match in lookup(state, [described("q", query)], 40)[0]}
    places, nothing = np.arange(40), np.zeros(40, np.int64)
    known = Labelled(embedded(vectors), places, nothing, nothing)
    asked = Labelled(embedded(query), places[3:4], nothing[:1], nothing[:1])
    rule = Evidence(np.zeros((0, D), np.float32), 0.0)
    found = count_strangers(rule, asked, known, known.where(slice(0, 0)), places[3:4], ())
    if original_is_there:
        assert found.copies[-1].item() == pytest.approx(evidence["r3"], abs=2e-3)
    else:  # strangers are counted for a query that copies nothing
        assert found.strangers[-1].item() == pytest.approx(max(evidence.values()), abs=2e-3)


def test_strangers_of_the_querys_own_kind_are_counted_apart() -> None:
    queries = labelled([0], [7], [1], kind=[3])
    pictures = labelled([30, 30, -20, *[90] * 9], [7, *range(20, 31)], [1] * 12, kind=[3, 3, 8, *[3] * 9])
    found = count(queries, pictures, labelled([], [], []), [0])
    assert found.kindred.item() == pytest.approx(cos(30), abs=1e-5)  # the next of its kind are at right angles
    assert found.kindred_of.tolist() == [MIN_KIND]


def test_of_a_kind_with_few_strangers_all_of_the_source_tells() -> None:
    queries = labelled([0], [7], [1], kind=[3])
    pictures = labelled([30, -20, *[90] * 12], list(range(20, 34)), [1] * 14, kind=[3, 8, *[3] * 8, *[4] * 4])
    found = count(queries, pictures, labelled([], [], []), [-1])
    assert found.kindred.item() == pytest.approx(cos(20) - cos(30) / 2, abs=1e-5)
    assert found.kindred_of.tolist() == [14]


def test_what_says_nothing_neither_finds_nor_is_found() -> None:
    nothing = labelled([], [], [])
    blank = labelled([0], [1], [0], detail=0)
    speaking, known = labelled([0], [1], [0]), labelled([0, 10], [1, 2], [0, 0])
    asked = count(blank, known, nothing, [0])
    assert asked.copies[0].item() == asked.strangers[0].item() == -np.inf
    found = count(speaking, labelled([0, 10], [1, 2], [0, 0], detail=0), nothing, [0])
    assert found.copies[0].item() == found.strangers[0].item() == -np.inf


def test_references_are_drawn_at_home_first_and_levels_end_with_all_there_are() -> None:
    # One at home at 0.87, a hundred elsewhere at right angles: among one reference it is always the one at home.
    queries = labelled([0], [7], [1])
    pictures = labelled([30, *[90] * 100], list(range(20, 121)), [1, *[2] * 100])
    found = count(queries, pictures, labelled([], [], []), [-1], (1, 10, 1000))
    assert found.levels == (1, 10, 101)
    assert found.strangers[0].ravel() == pytest.approx([cos(30)] * len(found.strangers[0]), abs=1e-5)
    assert len(found.strangers[0]) == MOST_DRAWS
    assert np.isnan(found.copies[0]).all()


def test_draws_of_fewer_references_find_a_stranger_as_often_as_their_share() -> None:
    queries = labelled([0], [7], [1])
    pictures = labelled([30, *[90] * 9], list(range(20, 30)), [1] * 10)
    found = count(queries, pictures, labelled([], [], []), [-1], (5,))
    share = (found.strangers[0] > 0.5).mean()
    assert share == pytest.approx(0.5, abs=0.3)


def a_sample(copies: list[float], strangers: list[float], kindred: float = 0.0, kindred_of: int = 10) -> Sample:
    """Return what one query found, at one level of 1,000 references, draw by draw."""
    return Sample(
        levels=(1000,),
        copies=(np.array(copies)[:, None],),
        strangers=(np.array(strangers)[:, None],),
        kindred=np.array([kindred]),
        kindred_of=np.array([kindred_of]),
        picture=np.array([0]),
        source=np.array([0]),
    )


GRID = np.array([0.0, 0.5])


def test_rates_are_shares_of_the_draws() -> None:
    one = a_sample([0.6, 0.4], [0.1, 0.7, 0.2, -0.3])
    assert one.recalls(1000, GRID).tolist() == [[1.0, 0.5]]
    assert one.false_rates(1000, GRID).tolist() == [[0.75, 0.25]]


def test_beyond_what_was_drawn_false_matches_grow_with_the_references() -> None:
    assert a_sample([1.0], [0.2]).false_rates(4000, GRID).tolist() == [[4.0, 0.0]]


def test_of_one_kind_there_may_be_many_more_than_were_counted_but_not_any_number() -> None:
    one = a_sample([1.0], [0.2], kindred=0.2, kindred_of=20)
    assert one.false_rates_of_one_kind(10, GRID).tolist() == [[0.5, 0.0]]
    assert one.false_rates_of_one_kind(200, GRID).tolist() == [[10.0, 0.0]]
    assert one.false_rates_of_one_kind(10**6, GRID).tolist() == [[OF_ONE_KIND / 20, 0.0]]


def test_all_queries_of_a_picture_count_as_one() -> None:
    queries = labelled([0, 5, 90], [7, 7, 8], [1, 1, 1])
    found = count(queries, labelled([0, 90], [7, 8], [1, 1]), labelled([], [], []), [0, 0, 1])
    assert found.weight.tolist() == [0.5, 0.5, 1.0]
    assert found.take(np.array([True, False, True])).weight.tolist() == [1.0, 1.0]


def test_pairs_of_strangers_are_listed_from_the_floor_up() -> None:
    pictures = labelled([0, 10, 90, 95], [1, 1, 2, 3], [0] * 4)
    found = list(strange_pairs(Evidence(NO_BACKGROUND, 0.0), pictures, pictures, 0.9))
    assert [(a, b) for a, b, _ in found] == [(2, 3), (3, 2)]
