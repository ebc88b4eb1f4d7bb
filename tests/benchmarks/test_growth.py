from __future__ import annotations

import numpy as np
import pytest

from benchmarks.growth import counted, levels_up_to, power_law, table, up_to, weights_of
from neardup.pipeline.learn.calibrate.strangers import Sample

GRID = np.array([0.0, 1.0])


def a_sample(shares: dict[int, float], queries: int = 400) -> Sample:
    """Return queries, each of a picture of its own, of which these shares find a stranger of evidence 1; the rest 0."""
    strangers = [(np.arange(queries) < round(share * queries)).astype(float)[None] for share in shares.values()]
    return Sample(
        levels=tuple(shares),
        copies=tuple(np.ones((1, queries)) for _ in shares),
        strangers=tuple(strangers),
        kindred=np.zeros(queries),
        kindred_of=np.ones(queries, np.int64),
        picture=np.arange(queries),
        source=np.zeros(queries, np.int64),
    )


def test_levels_are_a_quarter_of_each_other() -> None:
    assert levels_up_to(6400) == (100, 400, 1600)
    assert levels_up_to(62_000)[-2:] == (3875, 15_500)


def test_a_sample_without_its_larger_draws() -> None:
    sample = up_to(a_sample({100: 0.01, 400: 0.02, 1600: 0.04}), 400)
    assert sample.levels == (100, 400)
    assert len(sample.strangers) == len(sample.copies) == 2


def test_share_is_weighted_by_picture() -> None:
    sample = a_sample({100: 0.01})
    assert counted(sample, 100, GRID, weights_of(sample, 0))[0].tolist() == pytest.approx([1.0, 0.01])
    assert counted(sample, 400, GRID, weights_of(sample, 0))[0, 1] == pytest.approx(0.04)  # in proportion


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({100: 0.01, 400: 0.02}, 0.04),  # as the root of the number
        ({100: 0.01, 400: 0.04}, 0.16),  # in proportion
        ({100: 0.02, 400: 0.02}, 0.02),  # none
        ({100: 0.04, 400: 0.02}, 0.02),  # a fall is chance
        ({100: 0.0, 400: 0.02}, 0.08),  # too few to fit
    ],
)
def test_power_law_goes_on_as_the_draws_grew(shares: dict[int, float], expected: float) -> None:
    sample = a_sample(shares)
    assert power_law(sample, 1600, GRID, weights_of(sample, 0))[0, 1] == pytest.approx(expected)


def test_the_table_compares_each_way_with_what_was_counted() -> None:
    sample = a_sample({100: 0.0, 400: 0.0, 1600: 0.0, 6400: 0.0})
    # An exponential moved by the logarithm of m, as the strongest of m: its share above a point grows in proportion.
    strongest = -np.log((np.arange(400)[None] + 0.5) / 400)
    draws = tuple((strongest + np.log(m)) * 0.1 for m in sample.levels)
    sample = up_to(Sample(**{**_fields(sample), "strangers": draws, "copies": tuple(2 + d for d in draws)}), 6400)
    lines = list(table(sample, np.linspace(0.4, 2.0, 200)))
    assert len(lines) == 2 + 2 * 3 * 4
    rows = [line.split("|") for line in lines[2:]]
    assert {row[1].strip() for row in rows} == {"1,600 (m/4)", "400 (m/16)"}
    seen = [row for row in rows if "m/4" in row[1] and float(row[4]) >= 2.5]  # of 400 queries 3 among a quarter
    assert [row[2].strip() for row in seen] == ["calibration", "in proportion", "power law"]
    for row in seen:
        assert float(row[6].split()[0]) == pytest.approx(1.0, abs=0.25)


def _fields(sample: Sample) -> dict[str, object]:
    return {name: getattr(sample, name) for name in sample.__dataclass_fields__}
