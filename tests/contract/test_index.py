"""One suite for every engine that is registered: whatever proposes, the index answers as brute force does.

ScaNN takes part twice, before its first build (all tail) and with a searcher built; Milvus here with all tail, and with
a server in `tests/integration/test_milvus.py`. Rows lie in a vector file under ids
that are neither dense nor in order.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neardup.pipeline.errors import ShapeError, UsageError
from neardup.pipeline.index import Index, IndexOptions, make_index
from neardup.pipeline.index.factory import PROPOSERS
from neardup.pipeline.index.milvus.options import MilvusOptions
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.types import Descriptors, Ids, Neighbours
from tests.pipeline.index.filled import Filled

D = 16
KINDS = (*PROPOSERS, "scann-built")


def new_index(kind: str, folder: Path) -> Callable[[VectorFile], Index]:
    name, _, built = kind.partition("-")
    nowhere = MilvusOptions("http://127.0.0.1:1")
    options = IndexOptions(name, folder, "cpu", scann_from=256 if built else 0, milvus=nowhere)
    return lambda vectors: make_index(vectors, "contract", options)


class Make:
    """Makes indexes of one kind, and closes them."""

    def __init__(
        self, kind: str, folder: Path, new: Callable[[str, Path], Callable[[VectorFile], Index]] = new_index
    ) -> None:
        self.kind, self._folder, self._new, self._made = kind, folder, new, list[Filled]()

    def __call__(self, dimension: int = D) -> Filled:
        path = self._folder / f"vectors-{len(self._made)}"
        self._made.append(Filled(path, self._new(self.kind, self._folder), dimension))
        return self._made[-1]

    def close(self) -> None:
        for one in self._made:
            one.close()


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    maker = Make(request.param, tmp_path)
    yield maker
    maker.close()


def unit(vectors: Descriptors) -> Descriptors:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def random_units(n: int, seed: int, d: int = D) -> Descriptors:
    return unit(np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32))


def edited(vectors: Descriptors, seed: int) -> Descriptors:
    """Near-duplicates: distance about 0.01."""
    return unit(vectors + 0.1 * random_units(len(vectors), seed, vectors.shape[1]))


def numbers(*ids: int) -> Ids:
    return np.array(ids, np.int64)


def filled(make: Make, n: int = 600) -> tuple[Filled, Ids, Descriptors]:
    """An index of n rows whose ids are neither dense nor in order."""
    index, ids, vectors = make(), np.random.default_rng(1).permutation(10 * n)[:n].astype(np.int64), random_units(n, 2)
    index.add(ids, vectors)
    index.settle()
    assert index.is_built or not make.kind.endswith("-built")
    return index, ids, vectors


def stored(vectors: Descriptors) -> Descriptors:
    return unit(vectors.astype(np.float16).astype(np.float32))


def brute_force(held: dict[int, Descriptors], queries: Descriptors, k: int) -> tuple[Ids, Descriptors]:
    ids = np.array(sorted(held), np.int64)
    found = np.full((len(queries), k), -1, np.int64)
    distances = np.full((len(queries), k), np.inf, np.float32)
    if len(ids):
        difference = stored(np.stack([held[i] for i in ids.tolist()]))[None] - queries[:, None]
        every = np.square(difference).sum(axis=2)
        order = np.argsort(every, axis=1, kind="stable")[:, :k]
        found[:, : order.shape[1]] = ids[order]
        distances[:, : order.shape[1]] = np.take_along_axis(every, order, 1)
    return found, distances


def test_vectors_at_0_60_and_90_degrees_have_distances_0_1_and_2(make: Make) -> None:
    index = make(dimension=2)
    index.add(numbers(7, 3, 5), np.array([[1, 0], [0.5, 0.75**0.5], [0, 1]], np.float32))
    found = index.search(np.array([[1, 0]], np.float32), 3)
    assert found.ids.tolist() == [[7, 3, 5]]
    assert found.distances[0] == pytest.approx([0, 1, 2], abs=1e-3)  # float16 storage
    assert (found.ids.dtype, found.distances.dtype) == (np.int64, np.float32)


def test_opposite_vectors_have_distance_4(make: Make) -> None:
    index = make(dimension=2)
    index.add(numbers(1), np.array([[-1, 0]], np.float32))
    assert index.search(np.array([[1, 0]], np.float32), 1).distances.tolist() == [[4.0]]


def test_a_descriptor_finds_itself_at_distance_almost_0(make: Make) -> None:
    index, ids, vectors = filled(make)
    found = index.search(vectors, 1)
    assert found.ids[:, 0].tolist() == ids.tolist()
    assert found.distances.max() < 1e-6


def test_near_duplicates_find_their_source_first(make: Make) -> None:
    index, ids, vectors = filled(make)
    assert np.mean(index.search(edited(vectors, 3), 1).ids[:, 0] == ids) > 0.99


def test_asking_for_more_than_there_is_returns_everything_and_padding(make: Make) -> None:
    index, ids, vectors = filled(make)
    queries = edited(vectors[:5], 3)
    found = index.search(queries, len(ids) + 3)
    expected = brute_force(dict(zip(ids.tolist(), vectors, strict=True)), queries, len(ids) + 3)
    assert found.ids.tolist() == expected[0].tolist()
    assert found.ids[:, -3:].tolist() == [[-1] * 3] * 5
    assert np.isinf(found.distances[:, -3:]).all()
    np.testing.assert_allclose(found.distances, expected[1], atol=1e-6)


def test_an_empty_index_returns_padding(make: Make) -> None:
    found = make().search(random_units(2, 0), 3)
    assert found.ids.tolist() == [[-1] * 3] * 2
    assert np.isinf(found.distances).all()


def test_arrays_may_be_views_and_read_only(make: Make) -> None:
    index, ids, vectors = filled(make)
    wide = np.repeat(vectors, 2, axis=1)
    queries = wide[::-1, ::2]
    queries.flags.writeable = False
    assert index.search(queries, 1).ids[:, 0].tolist() == ids[::-1].tolist()
    index.remove(ids)
    ids.flags.writeable = False
    index.add(ids[::-1], queries)
    assert len(index) == 600


def test_no_queries_give_no_rows(make: Make) -> None:
    index, _, _ = filled(make)
    assert index.search(np.empty((0, D), np.float32), 4).ids.shape == (0, 4)


def test_equal_distances_are_ordered_by_id(make: Make) -> None:
    index = make()
    index.add(np.arange(1000, 1300), random_units(300, 1))
    copies = np.repeat(random_units(1, 2), 12, axis=0)
    index.add(np.array([50, 11, 90, 12, 40, 13, 80, 14, 15, 10, 20, 30]), copies)
    index.settle()
    assert index.search(copies[:1], 5).ids.tolist() == [[10, 11, 12, 13, 14]]


def test_removed_is_not_found_from_then_on(make: Make) -> None:
    index, ids, vectors = filled(make)
    index.remove(ids[:100])
    assert len(index) == 500
    assert index.row_of[int(ids[0])] not in index.index
    assert index.row_of[int(ids[100])] in index.index
    found = index.search(vectors, 20)
    assert not np.isin(found.ids, ids[:100]).any()
    assert (found.ids >= 0).all()


def test_all_neighbours_of_a_query_removed_leaves_the_farther_ones(make: Make) -> None:
    index, ids, vectors = filled(make)
    far = np.argsort(vectors @ vectors[0])[:5]
    index.remove(np.delete(ids, far))
    found = index.search(vectors[:1], 5)
    assert sorted(found.ids[0].tolist()) == sorted(ids[far].tolist())


def test_a_removed_id_may_come_back_with_another_vector(make: Make) -> None:
    index, ids, vectors = filled(make)
    index.remove(ids[:1])
    index.add(ids[:1], -vectors[:1])
    found = index.search(np.concatenate([vectors[:1], -vectors[:1]]), 1)
    assert found.ids[0, 0] != ids[0]
    assert found.ids[1, 0] == ids[0]
    assert len(index) == 600


def test_everything_may_be_removed_and_added_again(make: Make) -> None:
    index, ids, vectors = filled(make)
    index.remove(ids)
    assert len(index) == 0
    assert index.search(vectors[:1], 1).ids.tolist() == [[-1]]
    index.add(ids, vectors)
    index.settle()
    assert index.search(vectors, 1).ids[:, 0].tolist() == ids.tolist()


def test_adding_nothing_and_removing_nothing_is_allowed(make: Make) -> None:
    index = make()
    index.add(np.empty(0, np.int64), np.empty((0, D), np.float32))
    index.remove(np.empty(0, np.int64))
    assert len(index) == 0


def test_a_row_that_was_removed_may_be_added_again(make: Make) -> None:
    index, ids, vectors = filled(make)
    rows = index.rows(ids[:100])
    for _ in range(2):
        index.index.remove(rows)
        index.index.add(rows)
        found = index.search(vectors, 3)
        assert found.ids[:, 0].tolist() == ids.tolist()
        assert all(len(set(some)) == 3 for some in found.ids.tolist())
    assert len(index) == 600


@pytest.mark.parametrize(
    "queries",
    [
        random_units(2, 0).astype(np.float64),
        random_units(2, 0, D + 1),
        random_units(2, 0)[0],
        random_units(2, 0) * 1.01,
        np.full((2, D), np.nan, np.float32),
        np.full((2, D), np.inf, np.float32),
        np.zeros((2, D), np.float32),
        random_units(2, 0).tolist(),
    ],
    ids=["float64", "dimension", "one-axis", "length", "nan", "inf", "zero", "list"],
)
def test_queries_that_are_no_unit_float32_rows_are_refused(make: Make, queries: Descriptors) -> None:
    with pytest.raises(ShapeError):
        make().search(queries, 1)


def test_rows_of_wrong_shape_or_type_are_refused(make: Make) -> None:
    index = make().index
    for rows in (np.array([1, 2], np.int32), np.array([[1, 2]]), [1, 2]):
        for call in (index.add, index.remove):
            with pytest.raises(ShapeError):
                call(rows)  # type: ignore[arg-type]


def test_a_bad_row_adds_nothing_and_says_which(make: Make) -> None:
    one = make()
    one.add(numbers(4), random_units(1, 0))
    one.vectors.append(numbers(5, 6), random_units(2, 1))
    wrong = ((numbers(1, 1), "twice: 1"), (numbers(1, 0), "held: 0"), (numbers(1, -2), "-2 is negative"))
    for rows, message in (*wrong, (numbers(1, 3), "row 3 is not in the vector file, which has 3")):
        with pytest.raises(UsageError, match=message):
            one.index.add(rows)
    assert len(one.index) == 1
    assert 1 not in one.index
    assert -1 not in one.index
    assert one.search(random_units(1, 1), 3).ids[0].tolist() == [4, -1, -1]


def test_a_bad_row_removes_nothing_and_says_which(make: Make) -> None:
    one = make()
    one.add(numbers(4, 5), random_units(2, 0))
    for rows, message in ((numbers(0, 0), "twice: 0"), (numbers(0, 9), "not held: 9")):
        with pytest.raises(UsageError, match=message):
            one.index.remove(rows)
    assert len(one.index) == 2


def test_distances_are_those_of_the_exact_index_bit_for_bit(make: Make, tmp_path: Path) -> None:
    one, ids, vectors = filled(make)
    exact = Filled(None, new_index("exact", tmp_path), D)
    exact.add(ids, vectors)
    queries = edited(vectors, 4)
    found, truth = one.search(queries, 10), exact.search(queries, 10)
    same = found.ids == truth.ids
    assert same[:, 0].mean() > 0.99
    assert found.distances[same].tolist() == truth.distances[same].tolist()
    exact.close()


def test_what_an_engine_reads_from_memory_is_what_the_file_gives(make: Make) -> None:
    one, ids, _ = filled(make)
    one.remove(ids[::7])
    rows = one.rows(np.setdiff1d(ids, ids[::7]))
    held = one.index.proposer.read(rows)
    assert held is None or np.array_equal(held, one.vectors.read(rows))


def test_k_below_1_is_refused(make: Make) -> None:
    with pytest.raises(UsageError, match="k is 0"):
        make().search(random_units(1, 0), 0)


def test_what_was_saved_and_the_vectors_make_the_index_again(make: Make, tmp_path: Path) -> None:
    index, ids, vectors = filled(make)
    index.remove(ids[::3])
    queries = edited(vectors, 4)
    nearest, everything = index.search(queries, 5), index.search(queries[:9], 600)
    index.restart(tmp_path / "saved", np.setdiff1d(ids, ids[::3]))
    index.settle()
    assert index.is_built or not make.kind.endswith("-built")
    assert len(index) == 400
    assert np.mean(nearest.ids[:, 0] == index.search(queries, 5).ids[:, 0]) > 0.99
    after = index.search(queries[:9], 600)
    assert everything.ids.tolist() == after.ids.tolist()
    assert everything.distances.tolist() == after.distances.tolist()
    index.index.add(index.rows(ids[::3]))
    assert len(index) == 600
    assert index.search(vectors, 1).ids[:, 0].tolist() == ids.tolist()


def test_what_one_kind_saved_any_other_may_load(make: Make, tmp_path: Path) -> None:
    vectors = random_units(300, 5)
    for kind in KINDS:
        index = Filled(tmp_path / f"vectors of {kind}", new_index(kind, tmp_path), D)
        index.add(np.arange(300), vectors)
        index.settle()
        index.restart(tmp_path / kind, np.arange(300), new_index(make.kind, tmp_path))
        assert index.search(vectors, 1).ids[:, 0].tolist() == list(range(300))
        index.close()


Steps = list[tuple[str, int]]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 200)),
        st.tuples(st.just("copy"), st.integers(1, 20)),
        st.tuples(st.just("remove"), st.integers(1, 150)),
        st.tuples(st.just("again"), st.integers(1, 150)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("settle"), st.just(0)),
    ),
    min_size=3,
    max_size=10,
)
HISTORIES = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, **HISTORIES)
@given(steps=STEPS, seed=st.integers(0, 2**31))
def test_any_history_gives_what_brute_force_gives(kind: str, steps: Steps, seed: int, tmp_path: Path) -> None:
    check_history(new_index(kind, tmp_path), steps, seed, tmp_path)


def check_history(new: Callable[[VectorFile], Index], steps: Steps, seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    (tmp_path / "v").unlink(missing_ok=True)
    index = Filled(tmp_path / "v", new, D)
    held: dict[int, Descriptors] = {}

    def add(vectors: Descriptors) -> None:
        free = np.setdiff1d(np.arange(2000), np.array(list(held), np.int64))
        ids = rng.choice(free, len(vectors), replace=False).astype(np.int64)
        index.add(ids, vectors)
        held.update(zip(ids.tolist(), vectors, strict=True))

    add(random_units(300, int(rng.integers(2**31))))
    for step, count in [*steps, ("settle", 0)]:
        known = np.array(list(held), np.int64)
        some = rng.choice(known, min(count, len(known)), replace=False) if len(known) else known
        if step == "add":
            add(random_units(count, int(rng.integers(2**31))))
        elif step == "copy" and held:
            add(np.stack([held[int(i)] for i in rng.choice(known, count)]))
        elif step == "remove":
            index.remove(some)
            for i in some.tolist():
                del held[i]
        elif step == "again":
            index.remove(some)
            index.index.add(index.rows(some))
        elif step == "restart":
            shutil.rmtree(tmp_path / "s", ignore_errors=True)
            index.restart(tmp_path / "s", known)
        else:
            index.settle()
        queries = random_units(3, int(rng.integers(2**31)))
        k = 10 if index.index.proposer.is_exact else len(held) + 2  # asked for everything, all are exact
        found, expected = index.search(queries, k), brute_force(held, queries, k)
        np.testing.assert_allclose(found.distances, expected[1], atol=1e-6)
        assert_same_up_to_ties(found, expected[0])
        assert len(index) == len(held)
    index.close()


def assert_same_up_to_ties(found: Neighbours, expected: Ids) -> None:
    """Rounding may change places of neighbours whose distances are nearly equal, and of no others."""
    for ids, wanted, distances in zip(found.ids, expected, found.distances, strict=True):
        for place in np.flatnonzero(ids != wanted).tolist():
            close = np.abs(distances - distances[place]) < 1e-6
            last = np.isin(wanted[place], ids, invert=True) and close[-1]
            assert last or wanted[place] in ids[close]
