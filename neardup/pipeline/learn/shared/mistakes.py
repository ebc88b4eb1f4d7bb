"""The worst mistakes of a ranking: strangers that score highest, and copies that are furthest from being found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neardup.pipeline.learn.shared.ranking import Scores, Truth


@dataclass(frozen=True, slots=True)
class Stranger:
    """A query and a reference that is no original of it."""

    query: int
    reference: int
    score: float


@dataclass(frozen=True, slots=True)
class Missed:
    """A query, its original, and the reference that was ranked first instead."""

    query: int
    original: int
    instead: int
    score: float
    score_instead: float


def worst_strangers(scores: Scores, correct: Truth, counted: Truth, count: int) -> list[Stranger]:
    """Return the wrong pairs with the highest scores, each query and each reference at most once.

    Args:
        scores, correct, counted: (q, m); pairs that are not counted are left out.
    """
    wrong = np.where(counted & ~correct, scores, -np.inf)
    most = min(wrong.size, 50 * count)
    flat = np.argpartition(-wrong.ravel(), most - 1)[:most]
    found: list[Stranger] = []
    queries, references = set[int](), set[int]()
    for place in flat[np.argsort(-wrong.ravel()[flat], kind="stable")]:
        query, reference = (int(value) for value in np.unravel_index(place, wrong.shape))
        if query in queries or reference in references or not np.isfinite(wrong[query, reference]):
            continue
        queries.add(query)
        references.add(reference)
        found.append(Stranger(query, reference, float(wrong[query, reference])))
        if len(found) == count:
            break
    return found


def worst_missed(scores: Scores, correct: Truth, counted: Truth, count: int) -> list[Missed]:
    """Return the copies whose original is furthest behind the first reference, each original at most once."""
    own = np.where(correct, scores, -np.inf)
    other = np.where(counted & ~correct, scores, -np.inf)
    behind = np.full(len(scores), -np.inf)
    copies = correct.any(axis=1)
    behind[copies] = other[copies].max(axis=1) - own[copies].max(axis=1)
    found: list[Missed] = []
    originals = set[int]()
    for query in np.argsort(-behind, kind="stable").tolist():
        original, instead = int(own[query].argmax()), int(other[query].argmax())
        if len(found) == count or not behind[query] > 0:
            break
        if original not in originals:
            originals.add(original)
            found.append(Missed(query, original, instead, float(own[query, original]), float(other[query, instead])))
    return found
