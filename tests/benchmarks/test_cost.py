from __future__ import annotations

from benchmarks.cost import Cost, rows

CLOCK = 9.0
"""Seconds by the clock, which count on a machine with a GPU only."""
COSTS = {
    "default": [Cost(cpu, CLOCK) for cpu in (0.002, 0.001, 0.004)],
    "pdq": [Cost(cpu, CLOCK) for cpu in (0.004, 0.002, 0.002)],  # in turn 0.5, 0.5 and 2 of the first
    "gpu": [Cost(0.003, seconds) for seconds in (0.001, 0.0005, 0.0002)],
}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_dollar_buys_an_hour_by_its_price_and_ratios_are_of_one_turn() -> None:
    _, _, default, pdq, gpu = (cells(line) for line in rows(COSTS, core_hour=0.04, gpu_hour=3.6))
    # 3,600 s ÷ 2 ms = 1,800,000 images in an hour of a core, which costs 0.04
    assert default == ["neardup, `default`", "2.00", "500", "", "45,000,000", "1.00"]
    assert pdq == ["PDQ + FAISS", "2.00", "500", "", "45,000,000", "0.50"]
    # 2,000 images/s: 7,200,000 in an hour, which costs 3.6
    assert gpu[:5] == ["neardup, `default`, GPU", "3.00", "", "2,000", "2,000,000"]
