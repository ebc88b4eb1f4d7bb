from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.match.query.verify import KEY, Verifier, pair_scores, read_verifier, verify
from tests.pipeline.scan.build import a_checkpoint

VERIFIER = Verifier(
    threshold=0.5, false_accept=0.01, false_reject=0.1, equal_error=0.05, slope=4.0, intercept=-2.0, classes=6,
    genuine=90, impostors=500,
)  # fmt: skip
NONE = np.zeros((0, 2), np.float32)


def at(*degrees: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    turns = np.radians(degrees)
    return np.stack((np.cos(turns), np.sin(turns)), axis=1).astype(np.float32)


def test_answer_is_yes_from_the_threshold_on() -> None:
    assert VERIFIER.accepts(0.5)
    assert not VERIFIER.accepts(0.499)
    assert VERIFIER.probability(0.5) == 0.5
    yes, no = (verify(VERIFIER, at(0), at(turn), NONE) for turn in (59, 61))
    assert (yes.same, no.same) == (True, False)
    assert yes.score == pytest.approx(np.cos(np.radians(59)), abs=1e-6)


def test_score_is_the_same_both_ways_and_less_near_the_background() -> None:
    background = at(0, 10, 20)
    a, b = at(10), at(80)
    assert pair_scores(a, b, background)[0, 0] == pytest.approx(pair_scores(b, a, background)[0, 0], abs=1e-6)
    near, far = pair_scores(at(10), at(20), background), pair_scores(at(190), at(200), background)
    assert near[0, 0] < far[0, 0]


def test_of_videos_the_most_similar_frames_count() -> None:
    assert verify(VERIFIER, at(0, 90), at(180, 85), NONE).score == pytest.approx(np.cos(np.radians(5)), abs=1e-6)


def test_checkpoint_carries_it_or_not() -> None:
    plain = a_checkpoint()
    assert read_verifier(plain) is None
    assert read_verifier(replace(plain, training={KEY: msgspec.to_builtins(VERIFIER)})) == VERIFIER
    with pytest.raises(ConfigError, match="verifier cannot be read"):
        read_verifier(replace(plain, training={KEY: {"threshold": "high"}}))
