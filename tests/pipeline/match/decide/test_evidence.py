from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neardup.pipeline.match.decide import evidence
from neardup.pipeline.match.decide.evidence import (
    ABSENT,
    BLOCK,
    COHORT,
    FEW_KIN,
    NEIGHBOURS,
    OF_BACKGROUND,
    UNRELATED_BITS,
    Cohort,
    Evidence,
    Pictures,
    differing_bits,
    make_cohort,
    near,
)
from tests.pipeline.match.build import D, at

NOTHING = np.zeros((0, D), dtype=np.float32)


def no_cohort(count: int) -> Cohort:
    nothing = np.zeros((count, 0), np.int64), np.zeros((count, 0), np.float32)
    return make_cohort(*nothing, np.zeros((count, NEIGHBOURS), np.float32))


def some(seed: int, count: int) -> Pictures:
    """Return pictures in three dimensions, so that many pairs are close."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, 3)).astype(np.float32)
    return Pictures(
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        random.integers(0, 256, size=(count, 32), dtype=np.uint8) & random.integers(0, 2, (count, 1)).astype(np.uint8),
        no_cohort(count),
    )


def test_evidence_without_shift_and_hash_is_the_cosine() -> None:
    degrees = np.array([0.0, 60.0, 90.0, 180.0])
    distance = (2 - 2 * np.cos(np.radians(degrees))).astype(np.float32)
    evidence = Evidence(NOTHING, 0.0).of(distance, np.zeros(4, np.int64), np.zeros(4, np.float32))
    assert evidence.dtype == np.float32
    assert evidence == pytest.approx([1.0, 0.5, 0.0, -1.0], abs=1e-6)


def test_evidence_takes_the_cohort_off_and_adds_the_agreeing_hash() -> None:
    rule = Evidence(NOTHING, 0.2)
    evidence = rule.of(np.full(4, 0.2, np.float32), np.array([0, 48, UNRELATED_BITS, 256]), np.full(4, 0.3, np.float32))
    assert evidence == pytest.approx([0.9 - 0.3 + 0.2, 0.9 - 0.3 + 0.1, 0.6, 0.6])


def test_background_is_the_mean_of_the_three_nearest() -> None:
    background = at(0, 60, 90, 120, 180)
    # From 30 degrees: 0 and 60 are 30 away, 90 is 60 away, the others further.
    wanted = (2 * np.cos(np.radians(30)) + np.cos(np.radians(60))) / 3
    assert Evidence(background, 0.0).background(at(30)) == pytest.approx([wanted], abs=1e-6)


def test_less_of_the_cohort_is_taken_off_where_it_weighs_less() -> None:
    whole, half = (Evidence(NOTHING, 0.0, weight) for weight in (1.0, 0.5))
    given = np.array([0.2], np.float32), np.zeros(1, np.int64), np.array([0.4], np.float32)
    assert (whole.of(*given)[0], half.of(*given)[0]) == pytest.approx((0.5, 0.7))


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_no_pair_is_ruled_out_that_reaches_the_floor_at_any_weight(weight: float) -> None:
    rule = Evidence(at(0, 90), 0.1, weight)
    vectors = at(*range(0, 180, 7))
    pictures = Pictures(vectors, np.zeros((len(vectors), 32), np.uint8), no_cohort(len(vectors)))
    shift = rule.nearest_background(vectors).mean(axis=1)
    wanted = np.array([[rule.of(np.float32(2 - 2 * a @ b), np.int64(0), shift[i]) for b in vectors]
                       for i, a in enumerate(vectors)])  # fmt: skip
    query, reference, *_ = near(rule, pictures, pictures, shift, 0.4)
    found = np.zeros_like(wanted, dtype=bool)
    found[query, reference] = True
    clear = np.abs(wanted - 0.4) > 1e-4
    np.testing.assert_array_equal(found[clear], (wanted >= 0.4)[clear])


# -- cohorts -----------------------------------------------------------------------------------------------------------


def of(items: list[int], similarity: list[float], background: tuple[float, float] = (0.3, 0.1)) -> Cohort:
    return make_cohort(np.array([items]), np.array([similarity], np.float32), np.array([background], np.float32))


def test_shift_is_the_mean_similarity_of_the_two_nearest() -> None:
    assert of([7, 8, 9], [0.9, 0.5, 0.2]).shift() == pytest.approx([0.7])


def test_candidate_does_not_count_against_itself() -> None:
    cohort = of([7, 8, 9], [0.9, 0.5, 0.2])
    assert cohort.shift([7]) == pytest.approx([0.4])  # 0.5 and the background's 0.3
    assert cohort.shifts(np.array([0, 0]), np.array([7, 8]), lambda _: ()) == pytest.approx([0.4, 0.6])


def test_what_resembles_the_candidate_does_not_count_against_it() -> None:
    cohort = of([7, 8, 9], [0.9, 0.8, 0.2])
    assert cohort.shift([7, 8]) == pytest.approx([0.25])
    kin = {7: [8], 8: [7]}
    found = cohort.shifts(np.array([0, 0]), np.array([7, 9]), lambda number: kin.get(number, ()))
    assert found == pytest.approx([0.25, 0.85])


def test_of_very_many_kin_those_of_the_cohort_are_left_out() -> None:
    cohort = of([7, 8, 9], [0.9, 0.8, 0.2])
    many = [8, *range(100, 100 + 10 * FEW_KIN)]
    found = cohort.shifts(np.array([0, 0]), np.array([7, 9]), lambda number: many if number == 7 else ())
    assert found == pytest.approx([0.25, 0.85])
    stranger = cohort.shifts(np.array([0]), np.array([7]), lambda _: [*range(100, 100 + 10 * FEW_KIN)])
    assert stranger == cohort.shift([7])
    assert cohort.shift(many, 7) == cohort.shift([7, 8]) == pytest.approx([0.25])


def test_many_pairs_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = of([7, 8, 9], [0.9, 0.5, 0.2])
    query, reference = np.zeros(5, np.int64), np.array([7, 8, 9, 5, 7])
    together = cohort.shifts(query, reference, lambda _: ())
    monkeypatch.setattr(evidence, "PAIRS_AT_ONCE", 2)
    np.testing.assert_array_equal(cohort.shifts(query, reference, lambda _: ()), together)


def test_background_fills_up_when_all_are_left_out() -> None:
    cohort = of([7, 8], [0.9, 0.8])
    assert cohort.shift([7, 8]) == cohort.least == pytest.approx([0.2])


def test_of_moments_half_of_what_the_references_add_counts() -> None:
    cohort = of([7, 8, 9], [0.9, 0.5, 0.4])
    assert cohort.shift_of_moments([7]) == pytest.approx([(0.45 + 0.2) / 2])


def test_background_counts_where_it_is_nearer_than_the_references() -> None:
    assert of([7, 8], [0.2, 0.1], (0.6, 0.5)).shift() == pytest.approx([0.55])


def test_frames_of_one_item_are_one_neighbour() -> None:
    cohort = of([7, 7, 7, 8], [0.9, 0.89, 0.88, 0.5])
    assert cohort.shift() == pytest.approx([0.7])
    assert cohort.items[0, :3].tolist() == [7, 8, OF_BACKGROUND]


def test_what_was_not_found_is_no_neighbour() -> None:
    cohort = of([-1, 8, -1], [0.9, 0.5, np.nan])
    assert cohort.shift() == pytest.approx([0.4])
    assert (cohort.similarity[0, 1:COHORT] == ABSENT).all()


def test_cohort_holds_the_nearest_items_and_no_more() -> None:
    cohort = of(list(range(20)), [1 - n / 100 for n in range(20)])
    assert cohort.items[0].tolist() == [*range(COHORT), *[OF_BACKGROUND] * NEIGHBOURS]


def test_cohorts_of_several_queries_do_not_mix() -> None:
    cohort = make_cohort(
        np.array([[7, 8], [-1, 7]]), np.array([[0.9, 0.5], [np.inf, 0.4]], np.float32), np.zeros((2, 2), np.float32)
    )
    assert cohort.shift() == pytest.approx([0.7, 0.2])
    assert cohort.take(np.array([1])).shift([7]) == pytest.approx([0.0])


def test_nearest_background_is_the_same_however_queries_are_batched() -> None:
    random = np.random.default_rng(4)
    rows = random.normal(size=(700, D)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rule = Evidence(rows[:400], 0.0)
    together = rule.nearest_background(rows[400:])
    alone = np.concatenate([rule.nearest_background(rows[i : i + 1]) for i in range(400, 700)])
    np.testing.assert_array_equal(together, alone)
    assert together == pytest.approx(-np.sort(-(rows[400:] @ rows[:400].T), axis=1)[:, :2], abs=1e-5)


def test_nearest_background_is_zero_where_there_are_too_few() -> None:
    assert Evidence(at(0), 0.0).nearest_background(at(60)).tolist() == [[pytest.approx(0.5), 0.0]]
    assert Evidence(NOTHING, 0.0).nearest_background(at(60)).tolist() == [[0.0, 0.0]]


def test_background_of_fewer_than_three_pictures_is_the_mean_of_all() -> None:
    assert Evidence(at(0, 90), 0.0).background(at(0)) == pytest.approx([0.5], abs=1e-6)


def test_empty_background_takes_nothing_off() -> None:
    assert Evidence(NOTHING, 0.0).background(at(0, 10)).tolist() == [0.0, 0.0]


def test_background_of_no_queries_is_empty() -> None:
    assert Evidence(at(0, 90), 0.0).background(NOTHING).shape == (0,)


def test_differing_bits_count_each_bit_once() -> None:
    zero, two = np.zeros(32, np.uint8), np.zeros(32, np.uint8)
    two[0], two[31] = 0b00000001, 0b10000000
    assert differing_bits(zero, two) == 2
    assert differing_bits(np.stack([zero, two])[:, None], np.stack([zero, two])[None]).tolist() == [[0, 2], [2, 0]]
    assert differing_bits(zero, ~zero) == 256


def brute(
    rule: Evidence, queries: Pictures, references: Pictures, shift: npt.NDArray[np.float32], floor: float
) -> dict[tuple[int, int], float]:
    found = {}
    for q in range(len(queries.vectors)):
        for r in range(len(references.vectors)):
            distance = ((queries.vectors[q] - references.vectors[r]) ** 2).sum()
            bits = int(np.unpackbits(queries.hashes[q] ^ references.hashes[r]).sum())
            agreement = max(1 - bits / UNRELATED_BITS, 0.0)
            evidence = 1 - distance / 2 - shift[q] + rule.hash_weight * agreement
            if evidence >= floor:
                found[q, r] = float(evidence)
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 12),
    st.integers(0, 12),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([-np.inf, -0.5, 0.2, 0.9]),
)
def test_near_finds_exactly_the_pairs_that_reach_the_floor(
    seed: int, n: int, m: int, hash_weight: float, floor: float
) -> None:
    rule = Evidence(np.zeros((0, 3), np.float32), hash_weight)
    queries, references = some(seed, n), some(seed + 1, m)
    shift = np.random.default_rng(seed).uniform(0.0, 0.5, n).astype(np.float32)
    query, reference, distance, evidence = near(rule, queries, references, shift, floor)
    pairs = list(zip(query.tolist(), reference.tolist(), strict=True))
    wanted = brute(rule, queries, references, shift, floor)
    border = {p for p, e in brute(rule, queries, references, shift, -np.inf).items() if abs(e - floor) < 1e-5}
    assert set(pairs) - border == set(wanted) - border
    assert pairs == sorted(set(pairs))
    for pair, d, e in zip(pairs, distance.tolist(), evidence.tolist(), strict=True):
        assert e == pytest.approx(wanted.get(pair, floor), abs=1e-5)
        assert d == pytest.approx(
            float(((queries.vectors[pair[0]] - references.vectors[pair[1]]) ** 2).sum()), abs=1e-5
        )


def test_near_goes_on_beyond_a_block() -> None:
    pictures = some(3, BLOCK + 20)
    query, reference, distance, _ = near(
        Evidence(np.zeros((0, 3), np.float32), 0.0), pictures, pictures, np.zeros(BLOCK + 20, np.float32), 0.9999
    )
    own = query == reference
    assert query[own].tolist() == list(range(BLOCK + 20))
    assert distance[own].max() == 0.0


def test_near_may_be_bounded_to_the_nearest_of_each_query() -> None:
    rule = Evidence(np.zeros((0, 3), np.float32), 0.0)
    queries, references = some(5, 9), some(6, 40)
    query, reference, _, _ = near(rule, queries, references, np.zeros(9, np.float32), -np.inf, most=4)
    assert np.bincount(query).tolist() == [4] * 9
    similarity = queries.vectors @ references.vectors.T
    for q in range(9):
        assert set(reference[query == q]) == set(np.argsort(-similarity[q])[:4])


def test_bounded_near_of_pictures_that_are_all_alike_stays_small() -> None:
    same = Pictures(np.repeat(at(0), 300, axis=0), np.zeros((300, 32), np.uint8), no_cohort(300))
    query, *_ = near(Evidence(NOTHING, 0.0), same, same, np.zeros(300, np.float32), 0.5, most=8)
    assert np.bincount(query).tolist() == [8] * 300
