"""Yes or no: do two pictures show the same person, the same writer's hand, the same class of whatever was trained on?

A checkpoint that was trained on classes (`neardup train --classes`) carries a `Verifier`, measured on classes that were
held out. The score of a pair is the similarity of the descriptors less the mean of both pictures' similarities to their
nearest background, so that it does not depend on which of the two comes first.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.match.decide.evidence import Evidence, Floats
from neardup.pipeline.types import Descriptors

KEY = "verification"
"""Where the training record of a checkpoint holds it."""


class Verifier(msgspec.Struct, frozen=True, kw_only=True):
    """What a score means, measured on held-out classes.

    Attributes:
        threshold: least score of a yes.
        false_accept, false_reject: shares of impostor pairs that reach it and of genuine ones below it, 0 to 1.
        equal_error: the rate at the threshold where the two are equal.
        slope, intercept: log-odds of "the same" at score s = intercept + slope · s, where half of all pairs are.
        classes, genuine, impostors: how many classes and pairs it was measured on.
    """

    threshold: float
    false_accept: float
    false_reject: float
    equal_error: float
    slope: float
    intercept: float
    classes: int
    genuine: int
    impostors: int

    def accepts(self, score: float) -> bool:
        """Return whether the answer is yes."""
        return score >= self.threshold

    def probability(self, score: float) -> float:
        """Return the probability, 0 to 1, of "the same", if both answers were equally likely before."""
        return 1.0 / (1.0 + math.exp(-min(max(self.intercept + self.slope * score, -50.0), 50.0)))


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Whether two items show the same, the probability of that if half of all pairs did, and the score."""

    same: bool
    probability: float
    score: float


def read_verifier(checkpoint: Checkpoint) -> Verifier | None:
    """Return the verifier that a checkpoint carries, None for one that was not trained on classes.

    Raises:
        ConfigError: it cannot be read.
    """
    if KEY not in checkpoint.training:
        return None
    try:
        return msgspec.convert(checkpoint.training[KEY], Verifier)
    except msgspec.ValidationError as error:
        raise ConfigError(f"model {checkpoint.name}: its verifier cannot be read: {error}") from error


def verify(verifier: Verifier, a: Descriptors, b: Descriptors, background: Descriptors) -> Answer:
    """Return the answer for two items: of videos, for the two most similar frames.

    Args:
        a, b: float32 (n, d) and (m, d), the descriptors of each. background: float32 (b, d).
    """
    score = float(pair_scores(a, b, background).max())
    return Answer(same=verifier.accepts(score), probability=verifier.probability(score), score=score)


def pair_scores(a: Descriptors, b: Descriptors, background: Descriptors) -> Floats:
    """Return the scores (n, m) of all pairs of pictures, float32 (n, d) and (m, d)."""
    rule = Evidence(background, 0.0)
    shift = (rule.background(a)[:, None] + rule.background(b)[None]) / 2
    return np.asarray(a @ b.T - shift, dtype=np.float32)
