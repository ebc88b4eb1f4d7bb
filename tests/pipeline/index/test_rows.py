from __future__ import annotations

import numpy as np

from neardup.pipeline.index.rows import RowMap


def test_any_history_gives_what_a_dict_gives() -> None:
    rng = np.random.default_rng(0)
    found, expected = RowMap(np.int32, -1), dict[int, int]()
    for step in range(200):
        rows = rng.choice(100 * (step + 1), int(rng.integers(0, 60)), replace=False)
        values = rng.integers(-1, 1000, len(rows))
        found[rows] = values
        expected.update(zip(rows.tolist(), values.tolist(), strict=True))
        asked = rng.integers(-1, 30_000, (7, 50))
        assert found[asked].tolist() == [[expected.get(row, -1) for row in some] for some in asked.tolist()]


def test_rows_far_apart_take_little_room() -> None:
    held = RowMap(np.bool_, False)
    for row in range(0, 10_000_000, 1_000_000):
        held[np.array([row])] = True
    assert held._values.nbytes + held._pages.nbytes < 250_000
    assert held[np.array([-1, 0, 1, 9_000_000, 9_000_001, 2**40])].tolist() == [False, True, False, True, False, False]
