"""Curves fitted to copies and strangers whose distributions are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from neardup.pipeline.errors import UsageError
from neardup.pipeline.learn.calibrate.calibrate import BACKGROUND_WEIGHT, Material, _hamming
from neardup.pipeline.learn.calibrate.calibrate import calibrate as calibrate_material
from neardup.pipeline.learn.calibrate.strangers import Labelled
from neardup.pipeline.match.decide.calibration import Calibration
from neardup.pipeline.match.decide.evidence import differing_bits
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


def strangers_above(evidence: float) -> float:
    """Return the share of pairs of random directions in D dimensions whose cosine is at least this."""
    x = np.linspace(-1, 1, 200_001)
    density = (1 - x**2) ** ((D - 3) / 2)
    return float(density[x >= evidence].sum() / density.sum())


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


def test_false_match_curve_follows_the_strangers(world: World) -> None:
    found = calibrate(*world, NO_BACKGROUND, "a test")
    for evidence in np.linspace(found.evidence[0], 0.8, 6):
        assert found.log_false_match_rate(evidence) == pytest.approx(np.log(strangers_above(evidence)), abs=0.4)


def test_false_match_curve_begins_where_one_pair_in_a_thousand_reaches(world: World) -> None:
    found = calibrate(*world, NO_BACKGROUND, "a test")
    assert strangers_above(found.evidence[0]) == pytest.approx(1e-3, rel=0.15)
    assert np.exp(found.log_false_matches[0][0]) == pytest.approx(strangers_above(found.evidence[0]), rel=0.1)


def test_recall_curve_follows_the_copies(world: World) -> None:
    found = calibrate(*world, NO_BACKGROUND, "a test")
    for evidence in (0.75, 0.85, 0.95):
        wanted = (1 - evidence) / (1 - LEAST_COSINE)
        assert np.interp(evidence, found.evidence, found.recall) == pytest.approx(wanted, abs=0.05)
    assert found.recall[-1] == 0.0


def test_more_references_ask_for_more_evidence(world: World) -> None:
    found = calibrate(*world, NO_BACKGROUND, "a test")
    limits = [found.thresholds(0.9, m) for m in (10, 100, 1000)]
    assert limits[0].min_duplicate < limits[1].min_duplicate < limits[2].min_duplicate
    assert limits[0].min_unsure < limits[1].min_unsure < limits[2].min_unsure


def test_wanted_precision_is_met_on_fresh_pictures(world: World) -> None:
    found = calibrate(*world, NO_BACKGROUND, "a test", prior=0.5)
    random = np.random.default_rng(8)
    references = unit(random.normal(size=(200, D)))
    queries = np.concatenate([copies_of(random, references), unit(random.normal(size=(200, D)))])
    best = (queries @ references.T).max(axis=1)
    nearest = (queries @ references.T).argmax(axis=1)
    right = nearest == np.concatenate([np.arange(200), np.full(200, -1)])
    called = best >= found.min_evidence(0.95, 200)
    assert called.sum() > 30
    assert right[called].mean() >= 0.93


def test_probability_is_even_where_copies_and_strangers_are_equally_many(world: World) -> None:
    prior = 0.1
    found = calibrate(*world, NO_BACKGROUND, "a test", prior=prior)
    x = np.linspace(-1, 1, 200_001)
    strangers = (1 - x**2) ** ((D - 3) / 2)
    strangers /= strangers.sum() * (x[1] - x[0])
    copies = np.where(x >= LEAST_COSINE, prior / (1 - LEAST_COSINE), 0.0)
    for references in (10, 100):
        even = x[(x > LEAST_COSINE) & (references * strangers <= copies)][0]
        assert found.probability(even, references) == pytest.approx(0.5, abs=0.2)


def test_pairs_known_to_look_alike_are_no_strangers(world: World) -> None:
    queries, truth, references, _ = world
    vectors = references.vectors.copy()
    vectors[1::2] = vectors[::2]  # every other picture looks like the one before it
    both = embedded(vectors, references.hashes)
    alike = np.arange(N) // 2
    copied = embedded(copies_of(np.random.default_rng(9), vectors), queries.hashes)
    told = calibrate(copied, truth, both, alike, NO_BACKGROUND, "a test")
    untold = calibrate(copied, truth, both, np.arange(N), NO_BACKGROUND, "a test")
    assert told.log_false_match_rate(0.8) == pytest.approx(np.log(strangers_above(0.8)), abs=0.7)
    assert untold.log_false_match_rate(0.8) > told.log_false_match_rate(0.8) + 1
    assert told.min_evidence(0.9, 100) < untold.min_evidence(0.9, 100)


def test_false_match_curve_holds_where_some_pictures_have_many_strangers_that_resemble_them() -> None:
    # The first quarter stands close together; blocks of queries then differ in how many strangers are near.
    random = np.random.default_rng(3)
    directions = random.normal(size=(1024, D))
    directions[:256, 0] += 6.0
    references = unit(directions)
    found = calibrate(
        embedded(copies_of(random, references), random_hashes(random, 1024)),
        np.arange(1024),
        embedded(references, random_hashes(random, 1024)),
        np.arange(1024),
        NO_BACKGROUND,
        "a test",
    )
    fresh = unit(np.concatenate([random.normal(size=(512, D)) + np.eye(D)[0] * 6.0, random.normal(size=(1536, D))]))
    many = (copies_of(random, fresh) @ fresh.T)[~np.eye(2048, dtype=np.bool_)]
    for evidence in found.evidence[:12:3]:
        assert found.log_false_match_rate(evidence) == pytest.approx(np.log((many >= evidence).mean()), abs=0.3)


def test_interval_holds_for_a_collection_of_one_kind() -> None:
    # Measured: sixteen pictures of each of fifty kinds, close to each other. Then searched: 600 of one kind.
    random = np.random.default_rng(11)
    middles, kinds = 2.2 * unit(random.normal(size=(50, D))), np.repeat(np.arange(50), 16)
    mixed = unit(random.normal(size=(N, D)) * 0.6 + middles[kinds])
    known, copies = (embedded(one, random_hashes(random, N)) for one in (mixed, copies_of(random, mixed)))
    told, untold = (
        calibrate(copies, np.arange(N), known, np.arange(N), NO_BACKGROUND, "a test", 0.5, labels)
        for labels in (kinds, None)
    )
    catalogue = unit(random.normal(size=(600, D)) * 0.6 + middles[0])
    similarity = copies_of(random, catalogue) @ catalogue.T
    own = similarity.diagonal().copy()
    np.fill_diagonal(similarity, -1.0)

    def precision(least: float) -> float:
        true, false = (own >= least).mean(), (similarity.max(axis=1) >= least).mean()
        return float(true / (true + false))

    least = told.min_evidence(0.8, 600)
    low, high = told.precision_interval(least, 600)
    assert low <= precision(least) <= high
    assert precision(untold.min_evidence(0.8, 600)) < 0.8 <= precision(least)
    # What is expected of a mixed collection stays as it was.
    assert told.precision(least, 600) == pytest.approx(untold.precision(least, 600))


def test_hash_gets_a_weight_where_it_tells_copies_from_strangers(world: World) -> None:
    queries, truth, references, alike = world
    agreeing = embedded(queries.vectors, references.hashes)
    assert calibrate(agreeing, truth, references, alike, NO_BACKGROUND, "a test").hash_weight > 0
    assert calibrate(queries, truth, references, alike, NO_BACKGROUND, "a test").hash_weight == 0


def test_evidence_is_measured_above_the_background(world: World) -> None:
    plain = calibrate(*world, NO_BACKGROUND, "a test")
    background = unit(np.random.default_rng(4).normal(size=(500, D)))
    above = calibrate(*world, background, "a test")
    # Three nearest of 500 directions lie at a cosine of about 0.6; half of that is taken off.
    assert above.evidence[-1] < plain.evidence[-1] - 0.2
    assert above.background_weight == BACKGROUND_WEIGHT


def test_calibration_is_the_same_for_the_same_pictures_and_names_its_source(world: World) -> None:
    one, two = (calibrate(*world, NO_BACKGROUND, "eight hundred directions") for _ in range(2))
    assert one == two
    assert (one.source, one.queries, one.references) == ("eight hundred directions", N, N - 1)
    assert calibrate(*world, NO_BACKGROUND, "", prior=0.2).version != one.version


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
            NO_BACKGROUND,
            "a test",
        )


def test_hamming_by_matrix_product_is_hamming_by_bits() -> None:
    random = np.random.default_rng(1)
    a, b = random_hashes(random, 20), random_hashes(random, 30)
    b[0] = a[0]
    assert _hamming(a, b).tolist() == differing_bits(a[:, None], b[None]).tolist()
