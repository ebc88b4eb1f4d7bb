"""The product says of random logs what the model says, and broken rules are noticed. More: `python -m tests.model`."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import pytest

from neardup.pipeline.match.decide.decide import Judge
from tests.model.compare import after_restart, after_takeover, check, shrink, story
from tests.model.curves import PRECISIONS, UNSURE_FROM, Curves, Unclear, calibration
from tests.model.mutations import MUTATIONS, Mutation, noticed_by

CHUNK = 20


@pytest.mark.parametrize("first", range(0, 120, CHUNK))
def test_product_and_model_say_the_same(first: int) -> None:
    unclear = 0
    for seed in range(first, first + CHUNK):
        try:
            found = check(seed)
        except Unclear:
            unclear += 1
            continue
        if found is not None:
            offsets, shrunk = shrink(seed)
            pytest.fail(f"seed {seed}\n{story(seed, offsets)}\n{shrunk}")
    assert unclear <= CHUNK // 4


def test_a_new_leader_says_the_same() -> None:
    for seed in range(2, 26):
        with suppress(Unclear):
            assert after_takeover(seed) is None, seed


def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    for seed in range(2, 14):
        folder = tmp_path / str(seed)
        folder.mkdir()
        with suppress(Unclear):
            assert after_restart(seed, folder) is None, seed


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("unsure_from", UNSURE_FROM)
def test_the_curves_of_the_model_are_those_of_the_product(unsure_from: float, precision: float) -> None:
    judge, curves = Judge(calibration(unsure_from), precision, proves=True), Curves(unsure_from, precision)
    for degrees in range(0, 60):
        evidence = math.cos(math.radians(degrees))
        with suppress(Unclear):
            assert curves.decide(evidence) is judge.judge(evidence, 2000).decision
            assert curves.proposes(evidence) == (evidence >= judge.least(2000))


QUICKLY_NOTICED = {
    "a late answer decides on an earlier upload for a day",
    "a late answer decides once more",
    "a replaced reference lapses",
    "a takedown is for good",
    "a review joins films that are copies as a whole",
    "a variant is distinct",
    "all identical references are exact",
    "an answer names the version of the reference",
    "an item that leaves waits no more",
    "at most five are asked about",
    "curated banks come first",
    "frames count for films that show them later",
    "identical content is exact",
    "moments that agree confirm each other",
    "the first of two answers counts",
    "what expired is unproved",
    "what many films have in common is no evidence",
    "what waits for another candidate is spare",
    "without an answer a match is unsure at most",
}
"""Within the first logs."""
MUTATED = [one for one in MUTATIONS if one.rule in QUICKLY_NOTICED]


@pytest.mark.parametrize("mutation", MUTATED, ids=lambda one: one.rule)
def test_a_broken_rule_is_noticed(mutation: Mutation) -> None:
    """Some of the rules; `python -m tests.model --mutate` breaks all."""
    assert noticed_by(mutation, range(24)) is not None


def test_all_quickly_noticed_rules_are_there() -> None:
    assert len(MUTATED) == len(QUICKLY_NOTICED)
