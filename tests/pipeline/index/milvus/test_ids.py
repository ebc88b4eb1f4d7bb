from __future__ import annotations

import numpy as np

from neardup.pipeline.index.milvus.names import first_after, ids_of, rows_of
from neardup.pipeline.index.milvus.sentinels import EVERY, ROTATING, SHARDS, Turns, wanted
from neardup.pipeline.index.milvus.sentinels import ids_of as sentinel_ids
from neardup.pipeline.match.data.items import Rows


def test_an_id_is_the_offset_of_the_record_and_the_number_in_it_and_leads_back_to_the_row() -> None:
    rows = Rows()
    rows.append(6, offset=np.array([0, 5, 5, 5, 1 << 40, 1 << 40]))
    all_rows = np.arange(6)
    ids = ids_of(rows, all_rows)
    assert ids.tolist() == [0, 5 << 20, (5 << 20) + 1, (5 << 20) + 2, 1 << 60, (1 << 60) + 1]
    assert rows_of(rows, ids.reshape(2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert rows_of(rows, np.array([-1, (5 << 20) + 3, 7 << 20, np.iinfo(np.int64).min])).tolist() == [-1] * 4
    assert (ids < first_after(5)).tolist() == [True] * 4 + [False] * 2


def test_rows_of_a_time_before_offsets_have_no_id() -> None:
    rows = Rows()
    rows.append(2, offset=np.array([-1, 3]))
    assert ids_of(rows, np.arange(2)).tolist() == [-1, 3 << 20]


def test_a_search_asks_for_all_first_sentinels_and_for_each_other_in_its_turn() -> None:
    turns, count = Turns(32), wanted(20 * EVERY)
    assert count == SHARDS + 20
    asked = [turns.choose(count) for _ in range(5)]
    first = set(sentinel_ids(np.arange(SHARDS)).tolist())
    for ids, vectors in asked:
        assert first <= set(ids.tolist())
        assert len(set(ids.tolist())) == len(ids) == SHARDS + ROTATING
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert {one for ids, _ in asked for one in ids.tolist()} == set(sentinel_ids(np.arange(count)).tolist())
    assert (sentinel_ids(np.arange(count)) < -1).all()


def test_everyone_computes_the_same_sentinels() -> None:
    a, b = Turns(64), Turns(64)
    b.choose(SHARDS)
    assert (a.take(np.arange(40))[1] == b.take(np.arange(40))[1]).all()
