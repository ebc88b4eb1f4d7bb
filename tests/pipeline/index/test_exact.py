"""What the contract cannot see: many rows, many blocks, ties beyond the spare candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from neardup.pipeline.index import exact
from neardup.pipeline.index.exact import Exact, NumpyProducts, Products
from neardup.pipeline.index.products_torch import TorchProducts
from neardup.pipeline.index.vectors import VectorFile


@pytest.fixture(params=["numpy", "torch"])
def products(request: pytest.FixtureRequest) -> Products:
    return NumpyProducts() if request.param == "numpy" else TorchProducts("cpu")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_BLOCK_ROWS", 8)
    monkeypatch.setattr(NumpyProducts, "queries_at_once", 3)
    monkeypatch.setattr(TorchProducts, "queries_at_once", 3)


def circle(degrees: list[float]) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def made(products: Products, first: int, degrees: list[float]) -> Exact:
    """Return an engine that holds vectors at these angles, from row `first` on; those before are of nobody."""
    vectors = VectorFile(None, 2, "s")
    vectors.append(np.zeros(first, np.int64), circle([0.0] * first))
    index = Exact(vectors, products)
    more(index, degrees)
    return index


def more(index: Exact, degrees: list[float]) -> None:
    first = index._vectors.append(np.zeros(len(degrees), np.int64), circle(degrees))
    index.add(np.arange(first, first + len(degrees)))


def proposed(index: Exact, queries: np.ndarray, k: int) -> list[list[int]]:
    return [sorted(rows[rows >= 0].tolist()) for rows in index.propose(queries, k)]


def test_the_nearest_are_proposed_whatever_block_they_are_in(products: Products) -> None:
    index = made(products, 100, list(range(90)))
    assert len(index) == 90
    for query, rows in zip(range(0, 90, 7), proposed(index, circle(list(range(0, 90, 7))), 1), strict=True):
        assert 100 + query in rows
        assert len(rows) < 90


def test_removed_places_are_taken_by_the_last_rows(products: Products) -> None:
    index = made(products, 0, list(range(30)))
    index.remove(np.array([29, 3, 0, 17, 28]))
    assert len(index) == 25
    left = sorted(set(range(30)) - {29, 3, 0, 17, 28})
    assert proposed(index, circle([0]), 25) == [left]
    for row, rows in zip(left, proposed(index, circle([float(row) for row in left]), 1), strict=True):
        assert row in rows
    more(index, [80, 81])
    assert 31 in proposed(index, circle([81]), 1)[0]


def test_vectors_are_read_as_they_were_added_wherever_they_have_moved_to(products: Products) -> None:
    index = made(products, 100, list(range(30)))
    vectors = index._vectors.read(np.arange(100, 130))
    index.remove(np.array([129, 103, 100, 117, 128]))
    rows = np.array([127, 101, 126, 118, 101])
    assert np.array_equal(index.read(rows), vectors[rows - 100])
    index.remove(np.arange(104, 117))
    assert np.array_equal(index.read(rows), vectors[rows - 100])


def test_memory_of_removed_blocks_is_released_and_rows_may_follow(products: Products) -> None:
    index = made(products, 0, list(range(20)))
    index.remove(np.arange(20))
    assert (len(index), index._blocks) == (0, [])
    assert index.propose(circle([1]), 3).shape == (1, 0)
    more(index, [5])
    assert proposed(index, circle([5]), 3) == [[20]]


def test_all_rows_that_tie_with_the_kth_are_proposed(products: Products) -> None:
    index = made(products, 0, [0.0] * 10 + [50.0] * 40 + [89.0] * 10)
    assert proposed(index, circle([50, 0]), 2) == [list(range(10, 50)), list(range(10))]


def test_of_very_many_ties_the_earliest_rows_are_proposed(products: Products, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_MOST_TIES", 20)
    index = made(products, 0, [0.0] * 500)
    (rows,) = proposed(index, circle([0]), 2)
    assert set(range(20)) <= set(rows)
    assert len(rows) <= 20 + 2 + exact._SPARE


def test_a_lower_precision_of_products_widens_what_is_proposed() -> None:
    index = made(TorchProducts("cpu"), 0, [0.01 * i for i in range(60)])
    narrow = proposed(index, circle([0]), 1)[0]
    torch.set_float32_matmul_precision("high")
    try:
        assert len(proposed(index, circle([0]), 1)[0]) > len(narrow)
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_product_that_is_too_low_may_be_as_much_higher_as_products_are_out() -> None:
    """As those of a GPU are where float32 may be multiplied as bfloat16: no near row is passed over for it."""

    class Low(NumpyProducts):
        error = 1e-2

        def best(self, *given: Any) -> Any:
            scores, places = super().best(*given)
            return scores - np.float32(0.009), places

    queries, index = circle([0, 31, 59]), made(Low(), 0, list(range(60)))
    rows, at_most = index.propose_with_scores(queries, 2)
    known = np.isfinite(at_most)
    right = (index.read(np.where(known, rows, 0).ravel()).reshape(*rows.shape, 2) * queries[:, None]).sum(axis=2)
    assert known.any(axis=1).all()
    assert (at_most >= right)[known].all()
    assert (at_most <= right + 2e-2)[known].all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_proposes_what_the_cpu_proposes() -> None:
    cpu, gpu = (made(one, 0, list(range(90))) for one in (NumpyProducts(), TorchProducts("cuda")))
    for index in (cpu, gpu):
        index.remove(np.array([3, 40, 89]))
    queries = circle([3.2, 39.9, 88.8])
    assert np.array_equal(cpu.propose(queries, 4)[:, :4], gpu.propose(queries, 4)[:, :4])
