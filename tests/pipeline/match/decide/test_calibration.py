from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.match.decide.calibration import SDS, Calibration, parse_calibration
from tests.pipeline.match.build import a_calibration

# One stranger pair in e^5 reaches evidence 0.0, one in e^15 evidence 1.0; half of the copies reach 0.5.
PLAIN = a_calibration(
    evidence=(0.0, 0.5, 1.0),
    log_false_matches=(-5.0, -10.0, -15.0),
    recall=(1.0, 0.5, 0.1),
    slope=20.0,
    intercept=-2.0,
)


def test_false_match_rate_is_read_between_the_knots() -> None:
    assert PLAIN.log_false_match_rate(0.25) == pytest.approx(-7.5)


def test_false_match_rate_falls_on_beyond_the_last_knot_with_the_last_slope() -> None:
    assert PLAIN.log_false_match_rate(1.5) == pytest.approx(-20.0)


def test_precision_weighs_the_copies_found_against_strangers_among_all_references() -> None:
    # prior 0.1, half of the copies: 0.05 true per query; 1,000 references at e^-10: 0.0454 false.
    assert PLAIN.precision(0.5, 1000) == pytest.approx(0.05 / (0.05 + 1000 * math.exp(-10)))


def test_min_evidence_has_the_wanted_precision_and_a_little_less_has_not() -> None:
    for references in (10, 100, 1000):
        least = PLAIN.min_evidence(0.9, references)
        assert PLAIN.precision(least, references) >= 0.9
        assert PLAIN.precision(least - 0.001, references) < 0.9


def test_min_evidence_is_reached_although_the_last_copies_are_fewer_than_strangers_there() -> None:
    # Recall ends at 0 and strangers do not: at the very end the ratio says nothing.
    falling = a_calibration(evidence=(0.0, 0.5, 1.0), log_false_matches=(-2.0, -9.0, -12.0), recall=(1.0, 0.9, 0.0))
    least = falling.min_evidence(0.99, 1)
    assert 0.3 < least < 0.5
    assert falling.precision(0.999, 1000) < 0.99


def test_min_evidence_is_infinite_where_no_copy_could_be_told_from_strangers() -> None:
    assert PLAIN.min_evidence(0.99, 10**9) == math.inf


@pytest.mark.parametrize("precision", [0.5, 0.9, 0.99])
def test_thresholds_rise_with_the_number_of_references(precision: float) -> None:
    limits = [PLAIN.thresholds(precision, m) for m in (1, 10, 100, 1000)]
    assert np.all(np.diff([one.min_duplicate for one in limits]) >= 0)
    assert np.all(np.diff([one.min_unsure for one in limits]) >= 0)
    assert limits[-1].min_duplicate > limits[0].min_duplicate


def test_thresholds_rise_with_the_wanted_precision() -> None:
    assert PLAIN.min_evidence(0.99, 100) > PLAIN.min_evidence(0.9, 100) > PLAIN.min_evidence(0.5, 100)


def test_unsure_begins_at_even_odds() -> None:
    least = PLAIN.thresholds(0.99, 100).min_unsure
    assert PLAIN.probability(least, 100) == pytest.approx(0.5)


def test_unsure_never_begins_above_duplicate() -> None:
    # So low a precision is wanted that a duplicate is called below even odds.
    limits = PLAIN.thresholds(0.01, 1)
    assert limits.min_unsure <= limits.min_duplicate


def test_probability_rises_with_evidence_and_falls_with_references() -> None:
    evidence = np.linspace(-3, 3, 200)
    assert np.all(np.diff(PLAIN.probability(evidence, 10)) >= 0)
    assert PLAIN.probability(0.3, 10) > PLAIN.probability(0.3, 100)


def test_probability_stays_finite_for_any_evidence() -> None:
    assert PLAIN.probability([-1e9, 1e9], 1).tolist() == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize("precision", [0.0, 1.0, -0.1, 99.0, math.nan])
def test_precision_outside_zero_to_one_is_refused(precision: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        PLAIN.min_evidence(precision, 10)


@pytest.mark.parametrize(
    "broken",
    [
        {"evidence": (0.0, 1.0)},
        {"evidence": (0.0,), "log_false_matches": ((-1.0,),), "recall": ((1.0,),)},
        {"evidence": (0.0, 1.0, 0.5)},
        {"evidence": (0.0, 0.5, 0.5)},
        {"log_false_matches": ((-5.0, -4.0, -15.0),)},
        {"log_false_matches": ((-5.0, math.nan, -15.0),)},
        {"log_false_matches": ((-5.0, -10.0, -15.0), (-4.0, -9.0, -14.0))},
        {"levels": (2,)},
        {"levels": (1, 1), "log_false_matches": ((-5.0, -10.0, -15.0),) * 2, "shifts": (0.0, 1.0)},
        {"spread": ((1.0, 1.0),)},
        {"spread": ((1.0, -1.0, 1.0),)},
        {"shifts": (0.0, 1.0)},
        {"recall": ((0.9, 1.0, 0.1),)},
        {"slope": 0.0},
        {"slope": -3.0},
        {"slope": math.nan},
        {"intercept": math.inf},
        {"prior": 0.0},
        {"allowance": 0.0},
        {"allowance": 1.5},
        {"prior": 1.0},
    ],
)
def test_broken_calibration_is_refused(broken: dict[str, object]) -> None:
    whole = msgspec.to_builtins(PLAIN)
    with pytest.raises(ConfigError, match="hand-made"):
        msgspec.convert(whole | broken, Calibration)


def test_calibration_survives_the_checkpoint_s_json() -> None:
    assert parse_calibration(msgspec.json.decode(msgspec.json.encode(PLAIN))) == PLAIN


def test_calibration_of_evidence_without_cohorts_is_refused_with_the_remedy() -> None:
    fields = msgspec.to_builtins(PLAIN)
    del fields["cohort_weight"]
    with pytest.raises(ConfigError, match="hand-made was measured for evidence without cohorts; run `neardup calib"):
        parse_calibration(fields | {"background_weight": 0.5})


# A hundred times as many references let ten times as many queries find a stranger: they come in bunches.
LEVELLED = msgspec.structs.replace(
    PLAIN,
    levels=(1, 100),
    log_false_matches=(PLAIN.log_false_matches[0], tuple(n + math.log(10) for n in PLAIN.log_false_matches[0])),
    shifts=(0.0, math.log(10)),
    recall=(PLAIN.recall[0], (1.0, 0.4, 0.1)),
    spread=((0.5, 0.5, 0.5), (1.0, 1.0, 1.0)),
)


def test_false_matches_grow_as_measured_between_levels_and_as_references_do_beyond() -> None:
    for references, wanted in ((1, 0.0), (10, math.log(10) / 2), (100, math.log(10)), (1000, 2 * math.log(10))):
        assert LEVELLED.log_false_match_rate(0.5, references) == pytest.approx(-10.0 + wanted)
        assert LEVELLED.shift(references) == pytest.approx(wanted)


def test_allowance_leaves_a_part_of_the_false_matches_to_look_alikes() -> None:
    a_tenth = msgspec.structs.replace(PLAIN, allowance=0.1)
    found, strict = a_tenth.thresholds(0.9, 100), PLAIN.thresholds(0.99, 100)
    assert found.min_duplicate == pytest.approx(strict.min_duplicate)
    assert found.min_unsure == PLAIN.thresholds(0.9, 100).min_unsure
    assert a_tenth.thresholds(0.9, 100, moments=True) == PLAIN.thresholds(0.9, 100)


def test_recall_is_read_between_the_levels_and_stays_beyond_them() -> None:
    for references, wanted in ((1, 0.5), (10, 0.45), (100, 0.4), (1000, 0.4)):
        assert LEVELLED.recall_at(0.5, references) == pytest.approx(wanted)


def test_interval_is_as_wide_as_the_spread_says_and_holds_the_expected_precision() -> None:
    low, high = LEVELLED.precision_interval(0.5, 100)
    expected = float(LEVELLED.precision(0.5, 100))
    odds = [math.log(p / (1 - p)) for p in (float(low), expected, float(high))]
    assert np.diff(odds).tolist() == pytest.approx([SDS, SDS])


def test_interval_of_a_threshold_is_at_most_twice_as_wide_as_what_may_be_wrong() -> None:
    for precision in (0.9, 0.95, 0.99):
        for references in (1, 10, 100):
            least = LEVELLED.min_evidence(precision, references)
            low, high = LEVELLED.precision_interval(least, references)
            assert LEVELLED.precision(least, references) >= precision
            assert low >= 2 * precision - 1 - 1e-9
            assert high - low <= 2 * (1 - precision)


def test_uncertainty_asks_for_more_evidence() -> None:
    sure = msgspec.structs.replace(LEVELLED, spread=())
    assert LEVELLED.min_evidence(0.95, 10) > sure.min_evidence(0.95, 10)


@pytest.mark.parametrize("evidence", [-100.0, -0.5, 0.0, 0.31, 1.0, 100.0])
def test_one_probability_is_that_of_the_array(evidence: float) -> None:
    for references in (0, 1, 500, 10**6):
        one = PLAIN.one_probability(evidence, references)
        assert one == pytest.approx(float(PLAIN.probability(evidence, references)), rel=1e-12)
