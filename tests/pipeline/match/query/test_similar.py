"""What is most like an item, whatever the decision: the first results are the same however many are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.query.similar import Query, similar, vectors_of_item
from tests.pipeline.match.build import D, Log, described, edited

STRANGERS, COPIED, COPIES = 60, 8, 4


@pytest.fixture(scope="module")
def state() -> State:
    """Strangers, of whom some have copies, near and less near."""
    log = Log()
    vectors = np.random.default_rng(0).normal(size=(STRANGERS, D)).astype(np.float32)
    vectors[:, 0] += 6  # so that there are nearer ones and farther ones
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    log.add([described(f"i{n}", vectors[n : n + 1]) for n in range(STRANGERS)])
    for copy in range(COPIES):
        for n in range(COPIED):
            cosine = 0.99 - 0.02 * copy
            log.add(described(f"i{n}-{copy}", edited(vectors[n : n + 1], 100 * copy + n, cosine)))
    return log.state


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("item", ["i0", "i3", "i3-2", "i40"])
def test_the_first_results_are_the_same_however_many_are_asked_for(state: State, item: str, grouped: bool) -> None:
    vectors = vectors_of_item(state, item)
    ((*everything,),) = similar(state, [Query(vectors, 1000, item=item, grouped=grouped)])
    assert len(everything) > 20
    assert [one.distance for one in everything] == sorted(one.distance for one in everything)
    for k in (1, 2, 5, 10):
        assert similar(state, [Query(vectors, k, item=item, grouped=grouped)]) == [everything[:k]]


@pytest.mark.parametrize("item", ["i0", "i3-2", "i40"])
def test_ungrouped_every_other_item_is_found_by_its_own_distance(state: State, item: str) -> None:
    query = vectors_of_item(state, item)
    (found,) = similar(state, [Query(query, 1000, item=item, grouped=False)])
    wanted = {
        one.id: float(np.square(query - vectors_of_item(state, one.id)).sum()) for one in state.items if one.id != item
    }
    assert {one.item.id: one.distance for one in found} == pytest.approx(wanted, abs=1e-5)


def test_several_queries_are_answered_as_alone(state: State) -> None:
    queries = [Query(vectors_of_item(state, f"i{n}"), 1 + n, item=f"i{n}") for n in range(6)]
    assert similar(state, queries) == [similar(state, [query])[0] for query in queries]
