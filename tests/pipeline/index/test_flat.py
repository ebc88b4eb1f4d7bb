"""What the contract cannot see: many rows, many blocks, ties beyond the spare candidates."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neardup.pipeline.index import flat
from neardup.pipeline.index.flat import Flat
from neardup.pipeline.index.products import NumpyProducts, Products
from neardup.pipeline.index.products_torch import TorchProducts


@pytest.fixture(params=["numpy", "torch"])
def products(request: pytest.FixtureRequest) -> Products:
    return NumpyProducts() if request.param == "numpy" else TorchProducts("cpu")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat, "_BLOCK_ROWS", 8)
    monkeypatch.setattr(NumpyProducts, "queries_at_once", 3)
    monkeypatch.setattr(TorchProducts, "queries_at_once", 3)


def circle(degrees: list[float]) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def proposed(index: Flat, queries: np.ndarray, k: int) -> list[list[int]]:
    return [sorted(rows[rows >= 0].tolist()) for rows in index.candidates(queries, k)]


def test_the_nearest_are_proposed_whatever_block_they_are_in(products: Products) -> None:
    index = Flat(2, products)
    index.add(np.arange(100, 190), circle(list(range(90))))
    assert len(index) == 90
    for query, rows in zip(range(0, 90, 7), proposed(index, circle(list(range(0, 90, 7))), 1), strict=True):
        assert 100 + query in rows
        assert len(rows) < 90


def test_removed_places_are_taken_by_the_last_rows(products: Products) -> None:
    index = Flat(2, products)
    index.add(np.arange(30), circle(list(range(30))))
    index.remove(np.array([29, 3, 0, 17, 28]))
    assert len(index) == 25
    left = sorted(set(range(30)) - {29, 3, 0, 17, 28})
    assert proposed(index, circle([0]), 25) == [left]
    for row, rows in zip(left, proposed(index, circle([float(row) for row in left]), 1), strict=True):
        assert row in rows
    index.add(np.array([30, 31]), circle([80, 81]))
    assert 31 in proposed(index, circle([81]), 1)[0]


def test_vectors_are_read_as_they_were_added_wherever_they_have_moved_to(products: Products) -> None:
    vectors = circle(list(range(30)))
    index = Flat(2, products)
    index.add(np.arange(100, 130), vectors)
    index.remove(np.array([129, 103, 100, 117, 128]))
    rows = np.array([127, 101, 126, 118, 101])
    assert np.array_equal(index.read(rows), vectors[rows - 100])
    index.remove(np.arange(104, 117))
    assert np.array_equal(index.read(rows), vectors[rows - 100])


def test_the_rows_from_one_on_can_be_taken_out(products: Products) -> None:
    index = Flat(2, products)
    index.add(np.arange(30), circle(list(range(30))))
    index.remove(np.array([29, 3, 0, 17, 28]))
    later = index.since(15)
    left = sorted(set(range(15, 30)) - {29, 17, 28})
    assert proposed(later, circle([0]), 20) == [left]
    for row, rows in zip(left, proposed(later, circle([float(row) for row in left]), 1), strict=True):
        assert row in rows
    later.remove(np.array([15]))
    later.add(np.array([30]), circle([80]))
    assert proposed(later, circle([0]), 20) == [[*left[1:], 30]]
    assert len(index) == 25
    assert len(index.since(31)) == 0


def test_memory_of_removed_blocks_is_released_and_rows_may_follow(products: Products) -> None:
    index = Flat(2, products)
    index.add(np.arange(20), circle(list(range(20))))
    index.remove(np.arange(20))
    assert (len(index), index._blocks) == (0, [])
    assert index.candidates(circle([1]), 3).shape == (1, 0)
    index.add(np.array([50]), circle([5]))
    assert proposed(index, circle([5]), 3) == [[50]]


def test_all_rows_that_tie_with_the_kth_are_proposed(products: Products) -> None:
    index = Flat(2, products)
    index.add(np.arange(60), circle([0.0] * 10 + [50.0] * 40 + [89.0] * 10))
    assert proposed(index, circle([50, 0]), 2) == [list(range(10, 50)), list(range(10))]


def test_of_very_many_ties_the_earliest_rows_are_proposed(products: Products, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat, "_MOST_TIES", 20)
    index = Flat(2, products)
    index.add(np.arange(500), circle([0.0] * 500))
    (rows,) = proposed(index, circle([0]), 2)
    assert set(range(20)) <= set(rows)
    assert len(rows) <= 20 + 2 + flat._SPARE


def test_a_lower_precision_of_products_widens_what_is_proposed() -> None:
    index = Flat(2, TorchProducts("cpu"))
    index.add(np.arange(60), circle([0.01 * i for i in range(60)]))
    narrow = proposed(index, circle([0]), 1)[0]
    torch.set_float32_matmul_precision("high")
    try:
        assert len(proposed(index, circle([0]), 1)[0]) > len(narrow)
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_proposes_what_the_cpu_proposes() -> None:
    cpu, gpu = Flat(2, NumpyProducts()), Flat(2, TorchProducts("cuda"))
    for index in (cpu, gpu):
        index.add(np.arange(90), circle(list(range(90))))
        index.remove(np.array([3, 40, 89]))
    queries = circle([3.2, 39.9, 88.8])
    assert np.array_equal(cpu.candidates(queries, 4)[:, :4], gpu.candidates(queries, 4)[:, :4])
