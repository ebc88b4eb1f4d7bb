from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neardup.pipeline.index.canary import Canary, CanaryPolicy, _is_taken
from neardup.pipeline.index.exact import NumpyProducts
from neardup.pipeline.index.index import Index
from neardup.pipeline.index.proposer import Checked, Proposed
from neardup.pipeline.index.rows import RowMap
from neardup.pipeline.index.scann.generation import Generation
from neardup.pipeline.index.scann.proposer import Policy, ScannProposer
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.types import Descriptors, Neighbours
from tests.pipeline.index.filled import Filled

D = 16
ALL = CanaryPolicy(one_in=1, most=1000, pause_seconds=60.0)


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


def built(folder: Path, policy: CanaryPolicy | None) -> Filled:
    def make(vectors: VectorFile) -> Index:
        return Index(vectors, ScannProposer(vectors, "seen", folder, NumpyProducts(), Policy(min_rows=300)), policy)

    made = Filled(None, make, D)
    made.add(np.arange(1000), units(1000, 0))
    made.settle()
    return made


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Filled]:
    made = built(tmp_path, ALL)
    yield made
    made.close()


def checked(index: Filled) -> Checked:
    """Return what was checked, after a search that begins a pass."""
    index.search(units(0, 0), 1)
    if index.index._canary is not None:
        index.index._canary.wait()
    return index.index.status().checked


def test_searches_of_a_sound_index_are_checked_and_none_is_missed(index: Filled) -> None:
    strangers = units(50, 7)
    index.search(np.concatenate([near(units(1000, 0)[:200]), strangers]), 5)
    far = int((((strangers[:, None] - units(1000, 0)) ** 2).sum(axis=2).min(axis=1) > 0.5).sum())
    assert 0 < far < 50
    assert checked(index) == Checked(near=250 - far, far=far)


def test_what_an_index_misses_is_counted(index: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Generation.candidates

    def forgetful(self: Generation) -> Proposed:
        found = sound(self)
        return replace(found, rows=np.where(found.rows % 4 == 0, -1, found.rows))

    monkeypatch.setattr(Generation, "candidates", forgetful)
    index.search(near(units(1000, 0)[:200]), 5)
    assert checked(index) == Checked(near=200, near_missed=50)


def test_the_answers_are_the_same_with_it_and_without(index: Filled, tmp_path: Path) -> None:
    without = built(tmp_path, None)
    for _ in range(3):
        found = [one.search(near(units(1000, 0)), 5) for one in (index, without)]
        np.testing.assert_array_equal(found[0].ids, found[1].ids)
        np.testing.assert_array_equal(found[0].distances, found[1].distances)
    assert checked(without) == Checked()
    without.close()


def test_rows_that_came_later_or_went_meanwhile_were_not_missed() -> None:
    vectors, held, canary = VectorFile(None, 2, "s"), RowMap(np.bool_, False), Canary(ALL)
    vectors.append(np.array([1, 2]), np.array([[1, 0], [0, 1]], np.float32))
    query = np.array([[1, 0]], np.float32)
    canary.note(query, Neighbours(np.array([[1]]), np.array([[0.0]], np.float32)), 2)
    canary.note(query, Neighbours(np.array([[2]]), np.array([[2.0]], np.float32)), 2)
    vectors.append(np.array([3]), query)
    held[np.array([1, 2])] = True
    canary.poll(vectors, held)
    canary.wait()
    assert canary.checked == Checked(far=2)
    canary.close()


def test_passes_are_few_and_small() -> None:
    clock = Clock()
    vectors, held = VectorFile(None, 2, "s"), RowMap(np.bool_, False)
    canary = Canary(CanaryPolicy(one_in=1, most=3, pause_seconds=60), clock)
    vectors.append(np.array([1]), np.array([[1, 0]], np.float32))
    held[np.array([0])] = True
    counts = []
    for _ in range(4):
        queries = np.tile(np.array([[1, 0]], np.float32), (5, 1))
        canary.note(queries, Neighbours(np.ones((5, 1), np.int64), np.zeros((5, 1), np.float32)), 1)
        canary.poll(vectors, held)
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
