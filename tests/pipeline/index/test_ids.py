from __future__ import annotations

import numpy as np
import pytest

from neardup.pipeline.index import ids
from neardup.pipeline.index.ids import IdTable


def test_any_history_gives_what_a_dict_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    table, expected, next_row = IdTable(), dict[int, int](), 0
    monkeypatch.setattr(ids, "_SMALLEST_MERGE", 40)  # so that merges happen
    for _ in range(200):
        free = np.setdiff1d(np.arange(500), np.array(list(expected), np.int64))
        new = rng.choice(free, min(len(free), int(rng.integers(0, 30))), replace=False)
        rows = np.arange(next_row, next_row + len(new))
        next_row += len(new)
        table.insert(new, rows)
        expected.update(zip(new.tolist(), rows.tolist(), strict=True))
        gone = rng.choice(np.array(list(expected), np.int64), min(len(expected), int(rng.integers(0, 28))), False)
        table.delete(gone)
        for i in gone.tolist():
            del expected[i]
        assert table.rows_of(np.arange(500)).tolist() == [expected.get(i, -1) for i in range(500)]
        assert len(table) == len(expected)
