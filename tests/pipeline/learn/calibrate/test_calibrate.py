"""Curves fitted to copies and strangers whose distributions are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from neardup.pipeline.errors import UsageError
from neardup.pipeline.learn.calibrate.calibrate import COHORT_WEIGHT, Material
from neardup.pipeline.learn.calibrate.calibrate import calibrate as calibrate_material
from neardup.pipeline.learn.calibrate.strangers import Labelled
from neardup.pipeline.match.decide.calibration import Calibration
from neardup.pipeline.types import Descriptors, Embedded, Hashes

D = 16
N = 800
NO_BACKGROUND = np.zeros((0, D), dtype=np.float32)
LEAST_COSINE = 0.4


def unit(vectors: npt.NDArray[np.float64]) -> Descriptors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def random_hashes(random: np.random.Generator, count: int) -> Hashes:
    return random.integers(0, 256, size=(count, 32), dtype=np.uint8)


def embedded(vectors: Descriptors, hashes: Hashes) -> Embedded:
    return Embedded(vectors, hashes, np.full(len(vectors), 50, dtype=np.uint8))


def copies_of(random: np.random.Generator, references: Descriptors) -> Descriptors:
    """Return a copy of each, at a cosine that is spread evenly between LEAST_COSINE and 1."""
    noise = random.normal(size=references.shape)
    noise -= np.einsum("nd,nd->n", noise, references)[:, None] * references
    cosine = random.uniform(LEAST_COSINE, 1.0, size=(len(references), 1))
    return unit(cosine * references + np.sqrt(1 - cosine**2) * unit(noise))


BACKGROUND = unit(np.random.default_rng(6).normal(size=(4000, D)))
"""As many directions as make the cohort of nearly every query."""


def cohort(queries: Descriptors, references: Descriptors, left_out: npt.NDArray[np.int64]) -> Descriptors:
    """Return the mean cosine of each query's two nearest, of the references without one of them and the background."""
    similarity = queries @ references.T
    similarity[np.arange(len(queries)), left_out] = -1.0
    nearest = -np.sort(-np.concatenate([similarity, queries @ BACKGROUND.T], axis=1), axis=1)[:, :2]
    return np.asarray(nearest.mean(axis=1))


def strongest(queries: Descriptors, references: Descriptors, own: npt.NDArray[np.int64] | None = None) -> Descriptors:
    """Return each query's evidence for its nearest reference, that of this place left out."""
    if own is not None:
        found = [strongest(queries[i : i + 1], np.delete(references, own[i], axis=0)).item() for i in range(len(own))]
        return np.array(found)
    similarity = queries @ references.T
    return np.asarray(similarity.max(axis=1) - cohort(queries, references, similarity.argmax(axis=1)))


def of_copies(copies: Descriptors, references: Descriptors) -> Descriptors:
    """Return the evidence of copies for what they copy, one by one."""
    own = np.arange(len(copies))
    return np.asarray(np.einsum("nd,nd->n", copies, references) - cohort(copies, references, own))


def calibrate(
    queries: Embedded,
    truth: npt.NDArray[np.int64],
    references: Embedded,
    groups: npt.NDArray[np.int64],
    background: Descriptors,
    source: str,
    prior: float = 0.1,
    kinds: npt.NDArray[np.int64] | None = None,
) -> Calibration:
    one_source = np.zeros(len(groups), dtype=np.int64)
    kinds = one_source if kinds is None else kinds
    pictures = Labelled(references, groups, one_source, kinds)
    nothing = pictures.where(slice(0, 0))
    asked = Labelled(queries, groups[truth], one_source[truth], kinds[truth])
    return calibrate_material(Material(asked, pictures, nothing, truth), background, source, prior)


@pytest.fixture(scope="module")
def world() -> tuple[Embedded, npt.NDArray[np.int64], Embedded, npt.NDArray[np.int64]]:
    random = np.random.default_rng(7)
    references = unit(random.normal(size=(N, D)))
    truth = np.arange(N)
    queries = copies_of(random, references)
    return (
        embedded(queries, random_hashes(random, N)),
        truth,
        embedded(references, random_hashes(random, N)),
        np.arange(N),
    )


World = tuple[Embedded, npt.NDArray[np.int64], Embedded, npt.NDArray[np.int64]]


@pytest.fixture(scope="module")
def found(world: World) -> Calibration:
    return calibrate(*world, BACKGROUND, "a test")


@pytest.fixture(scope="module")
def evenly_found(world: World) -> Calibration:
    """Return the same where half of the queries copy something."""
    return calibrate(*world, BACKGROUND, "a test", prior=0.5)


def test_false_match_curve_follows_the_strangers(world: World, found: Calibration) -> None:
    queries, truth, references, _ = world
    evidence = strongest(queries.vectors, references.vectors, truth)
    for least in np.quantile(evidence, [0.5, 0.8, 0.95]):
        wanted = np.log((evidence >= least).mean())
        assert found.log_false_match_rate(least, N) == pytest.approx(wanted, abs=0.3)


def test_curves_begin_where_half_of_the_queries_find_a_stranger_among_few(found: Calibration) -> None:
    assert np.exp(found.log_false_matches[0][0]) == pytest.approx(0.5, abs=0.05)


def test_recall_curve_follows_the_copies(world: World, found: Calibration) -> None:
    queries, truth, references, _ = world
    evidence = of_copies(queries.vectors, references.vectors[truth])
    for least in (0.0, 0.1, 0.25):
        assert found.recall_at(least, N) == pytest.approx((evidence >= least).mean(), abs=0.05)
    assert {curve[-1] for curve in found.recall} == {0.0}


def test_more_references_ask_for_more_evidence(found: Calibration) -> None:
    least = [found.min_evidence(0.9, m) for m in (10, 100, 1000)]
    assert least[0] < least[1] < least[2]
    unsure = [found.thresholds(0.9, m).min_unsure for m in (10, 100, 1000)]
    assert unsure[0] < unsure[1] < unsure[2]


def test_wanted_precision_is_met_on_fresh_pictures(evenly_found: Calibration) -> None:
    found = evenly_found
    random = np.random.default_rng(8)
    references = unit(random.normal(size=(200, D)))
    queries = np.concatenate([copies_of(random, references), unit(random.normal(size=(200, D)))])
    nearest = (queries @ references.T).argmax(axis=1)
    right = nearest == np.concatenate([np.arange(200), np.full(200, -1)])
    called = strongest(queries, references) >= found.min_evidence(0.95, 200)
    assert called.sum() > 30
    assert right[called].mean() >= 0.93


def test_probability_is_even_where_copies_and_strangers_are_equally_many(evenly_found: Calibration) -> None:
    found = evenly_found
    even = (found.shift(N) - found.intercept) / found.slope
    assert found.probability(even, N) == pytest.approx(0.5)
    random = np.random.default_rng(12)
    references = unit(random.normal(size=(N, D)))
    copies = of_copies(copies_of(random, references), references)
    strangers = strongest(unit(random.normal(size=(N, D))), references)
    near = [((one >= even - 0.03) & (one < even + 0.03)).mean() for one in (copies, strangers)]
    assert near[0] / (near[0] + near[1]) == pytest.approx(0.5, abs=0.2)


def test_pairs_known_to_look_alike_are_no_strangers(world: World) -> None:
    queries, truth, references, _ = world
    vectors = references.vectors.copy()
    vectors[1::20] = vectors[::20]  # every twentieth picture looks like the one before it
    both = embedded(vectors, references.hashes)
    alike = np.arange(N)
    alike[1::20] = alike[::20]
    copied = embedded(copies_of(np.random.default_rng(9), vectors), queries.hashes)
    told = calibrate(copied, truth, both, alike, BACKGROUND, "a test")
    untold = calibrate(copied, truth, both, np.arange(N), BACKGROUND, "a test")
    assert untold.log_false_match_rate(0.1, N) > told.log_false_match_rate(0.1, N) + 1
    assert told.min_evidence(0.9, 100) < untold.min_evidence(0.9, 100)


def test_interval_holds_for_a_collection_of_one_kind() -> None:
    # Measured: sixteen pictures of each of fifty kinds, close to each other. Then searched: 600 of one kind.
    random = np.random.default_rng(11)
    middles, kinds = 2.2 * unit(random.normal(size=(50, D))), np.repeat(np.arange(50), 16)
    mixed = unit(random.normal(size=(N, D)) * 0.6 + middles[kinds])
    known, copies = (embedded(one, random_hashes(random, N)) for one in (mixed, copies_of(random, mixed)))
    told, untold = (
        calibrate(copies, np.arange(N), known, np.arange(N), BACKGROUND, "a test", 0.5, labels)
        for labels in (kinds, None)
    )
    catalogue = unit(random.normal(size=(600, D)) * 0.6 + middles[0])
    copied = copies_of(random, catalogue)
    own = of_copies(copied, catalogue)
    others = strongest(copied, catalogue, np.arange(600))

    def precision(least: float) -> float:
        true, false = (own >= least).mean(), (others >= least).mean()
        return float(true / (true + false))

    # Its pictures are each other's cohort: what was measured of a mixed collection holds.
    for calibration in (told, untold):
        least = calibration.min_evidence(0.8, 600)
        low, _ = calibration.precision_interval(least, 600)
        assert precision(least) >= max(0.8, low - 0.002)
    # What is expected of a mixed collection stays as it was.
    assert told.precision(0.2, 600) == pytest.approx(untold.precision(0.2, 600))
    assert told.precision_interval(0.1, 600)[0] <= untold.precision_interval(0.1, 600)[0]


def test_hash_gets_a_weight_where_it_tells_copies_from_strangers(world: World, found: Calibration) -> None:
    queries, truth, references, alike = world
    agreeing = embedded(queries.vectors, references.hashes)
    assert calibrate(agreeing, truth, references, alike, BACKGROUND, "a test").hash_weight > 0
    assert found.hash_weight == 0


def test_evidence_is_measured_above_the_background(world: World, found: Calibration) -> None:
    plain = calibrate(*world, NO_BACKGROUND, "a test")
    assert found.recall_at(0.2, 1) < plain.recall_at(0.2, 1) - 0.05  # without, nothing is taken off
    assert found.cohort_weight == COHORT_WEIGHT


def test_calibration_is_the_same_for_the_same_pictures_and_names_its_source(
    world: World, found: Calibration, evenly_found: Calibration
) -> None:
    assert calibrate(*world, BACKGROUND, "a test") == found
    assert (found.source, found.queries, found.references) == ("a test", N, N)
    assert evenly_found.version != found.version


@pytest.mark.parametrize(("queries", "references"), [(99, 500), (500, 99), (100, 100)])
def test_too_few_pictures_for_a_curve_are_refused(world: World, queries: int, references: int) -> None:
    asked, truth, held, alike = world

    def first(one: Embedded, count: int) -> Embedded:
        return Embedded(one.vectors[:count], one.hashes[:count], one.detail[:count])

    with pytest.raises(UsageError, match="too few"):
        calibrate(
            first(asked, queries),
            truth[:queries] % references,
            first(held, references),
            alike[:references],
            BACKGROUND,
            "a test",
        )
