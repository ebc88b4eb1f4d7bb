from __future__ import annotations

import pytest

from benchmarks.photographs import render_photographs
from benchmarks.popular import (
    Collection,
    Make,
    Shares,
    alone,
    describe,
    draw_pictures,
    in_bank,
    judge,
    make_of,
    mean,
    together,
)
from neardup.pipeline.learn.shared.pictures import load_pictures
from neardup.pipeline.log.records import Matched, Verdict
from neardup.pipeline.settings import load
from neardup.pipeline.types import Decision

ONE = 1 / 36
"""One copy of all: there are more references, so that a little more evidence is wanted."""
D, U, N = Decision.DUPLICATE, Decision.UNSURE, Decision.DISTINCT


def verdict(item: str, *matches: tuple[str, Decision]) -> Verdict:
    matched = tuple(
        Matched(reference=reference, bank="seen", decision=decision, distance=0.1, evidence=0.5, probability=0.9)
        for reference, decision in matches
    )
    return Verdict(id=item, decision=D, matches=matched)


def test_what_counts_as_right_by_hand() -> None:
    verdicts = [
        verdict("p1/copy-0", ("p1/original", D)),
        verdict("p1/copy-1", ("p2/original", D), ("p1/copy-0", U)),
        verdict("p3/copy-0", ("p9/original", D)),  # p3 stands under p9
        verdict("p4/copy-0", ("p4/original", N)),
    ]
    assert judge(verdicts, {"p3": "p9/original"}) == Shares(4, duplicate=0.5, listed=0.75, first=0.5, wrong=0.25)
    assert judge(verdicts, bank="known") == Shares(4, 0, 0, 0, 0)


def test_the_mean_of_orders() -> None:
    assert mean([Shares(10, 1.0, 1.0, 1.0, 0.0), Shares(20, 0.5, 1.0, 0.0, 0.5)]) == Shares(15, 0.75, 1.0, 0.5, 0.25)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Six photographs with six copies and three twins each, and thirty others."""
    folder = tmp_path_factory.mktemp("popular")
    render_photographs(folder / "source", 100, 240, 192)
    pictures = load_pictures([folder / "source"], 192)
    draw_pictures(pictures, 6, 6, 30, folder / "drawn", twins=3)
    found = describe(folder / "drawn", "default", load())
    assert [len(one) for one in (found.originals, found.copies, found.twins, found.others)] == [6, 36, 18, 30]
    return found


@pytest.fixture(scope="module")
def make(given: Collection) -> Make:
    return make_of(given, "default", 0.99)


@pytest.mark.slow
def test_proved_copies_that_come_together_are_found_as_often_as_alone(given: Collection, make: Make) -> None:
    single = alone(given, make)
    assert single.duplicate > 0.75
    for order in range(2):
        crowd = together(given, make, order)
        assert crowd.copies == 36
        assert crowd.duplicate >= single.duplicate - ONE
        assert crowd.listed >= single.listed - ONE
        assert crowd.wrong == 0


@pytest.mark.slow
def test_twins_in_a_bank_hide_no_reference(given: Collection, make: Make) -> None:
    plain, crowded = in_bank(given, make, twins=False), in_bank(given, make, twins=True)
    assert plain.duplicate > 0.75
    assert crowded.duplicate >= plain.duplicate - ONE
    assert crowded.listed >= plain.listed - ONE


@pytest.mark.slow
def test_only_the_first_of_a_picture_is_no_copy(given: Collection) -> None:
    assert together(given, make_of(given, "default", 0.99, proves=False), 0, originals_first=False).copies == 36
