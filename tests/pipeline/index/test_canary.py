from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from neardup.pipeline.index.canary import Canary, CanaryPolicy, _is_taken
from neardup.pipeline.index.interface import Checked
from neardup.pipeline.index.scann.generation import Generation
from neardup.pipeline.index.scann.index import Policy, ScannIndex
from neardup.pipeline.index.store import RowNumbers, Store
from neardup.pipeline.types import Descriptors, Neighbours
from tests.timing import LATE_SECONDS

D = 16
ALL = CanaryPolicy(one_in=1, most=1000, pause_seconds=60.0)
NEVER = CanaryPolicy(one_in=1, most=0)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def units(n: int, seed: int) -> Descriptors:
    vectors = np.random.default_rng(seed).standard_normal((n, D)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def near(vectors: Descriptors) -> Descriptors:
    noise = 0.2 * units(len(vectors), 99)
    return np.asarray((vectors + noise) / np.linalg.norm(vectors + noise, axis=1, keepdims=True), np.float32)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[ScannIndex]:
    made = ScannIndex(D, "s", tmp_path, "cpu", Policy(min_rows=300), canary=ALL)
    made.add(np.arange(1000), units(1000, 0))
    assert made.wait(LATE_SECONDS)
    yield made
    made.close()


def checked(index: ScannIndex) -> Checked:
    index.poll()
    index._canary.wait()
    return index.status().checked


def test_searches_of_a_sound_index_are_checked_and_none_is_missed(index: ScannIndex) -> None:
    strangers = units(50, 7)
    index.search(np.concatenate([near(units(1000, 0)[:200]), strangers]), 5)
    far = int((((strangers[:, None] - units(1000, 0)) ** 2).sum(axis=2).min(axis=1) > 0.5).sum())
    assert 0 < far < 50
    assert checked(index) == Checked(near=250 - far, far=far)


def test_what_an_index_misses_is_counted(index: ScannIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Generation.candidates

    def forgetful(self: Generation, store: Store) -> RowNumbers:
        rows = sound(self, store)
        return np.where(rows % 4 == 0, -1, rows)

    monkeypatch.setattr(Generation, "candidates", forgetful)
    index.search(near(units(1000, 0)[:200]), 5)
    assert checked(index) == Checked(near=200, near_missed=50)


def test_the_answers_are_the_same_with_it_and_without(index: ScannIndex, tmp_path: Path) -> None:
    without = ScannIndex(D, "s", tmp_path, "cpu", Policy(min_rows=300), canary=NEVER)
    without.add(np.arange(1000), units(1000, 0))
    assert without.wait(LATE_SECONDS)
    for _ in range(3):
        found = [one.search(near(units(1000, 0)), 5) for one in (index, without)]
        np.testing.assert_array_equal(found[0].ids, found[1].ids)
        np.testing.assert_array_equal(found[0].distances, found[1].distances)
        index.poll()
    assert checked(without) == Checked()
    without.close()


def test_rows_that_came_later_or_went_meanwhile_were_not_missed() -> None:
    store, canary = Store(2, "s"), Canary(ALL)
    store.add(np.array([1, 2]), np.array([[1, 0], [0, 1]], np.float32))
    query = np.array([[1, 0]], np.float32)
    canary.note(query, Neighbours(np.array([[1]]), np.array([[0.0]], np.float32)), 2)
    canary.note(query, Neighbours(np.array([[2]]), np.array([[2.0]], np.float32)), 2)
    store.remove(np.array([1]))
    store.add(np.array([3]), query)
    canary.poll(store)
    canary.wait()
    assert canary.checked == Checked(far=2)
    canary.close()


def test_passes_are_few_and_small() -> None:
    clock = Clock()
    store, canary = Store(2, "s"), Canary(CanaryPolicy(one_in=1, most=3, pause_seconds=60), clock)
    store.add(np.array([1]), np.array([[1, 0]], np.float32))
    counts = []
    for _ in range(4):
        queries = np.tile(np.array([[1, 0]], np.float32), (5, 1))
        canary.note(queries, Neighbours(np.ones((5, 1), np.int64), np.zeros((5, 1), np.float32)), 1)
        canary.poll(store)
        canary.wait()
        counts.append(canary.checked.near)
        clock.seconds += 30
    assert counts == [3, 3, 6, 6]
    canary.close()


def test_about_one_in_so_many_descriptors_is_taken_always_the_same() -> None:
    stored = units(100_000, 3).astype(np.float16).astype(np.float32)
    taken = _is_taken(stored, 100)
    assert 900 < taken.sum() < 1100
    assert (_is_taken(stored[::-1], 100)[::-1] == taken).all()
