"""What training is measured by: edited copies of held-out pictures, searched among originals and distractors.

The edits come from the family that trains, and the references are few: a figure to steer by, not one to publish.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neardup.pipeline.evaluate.ranking import micro_average_precision, recall_at_precision
from neardup.pipeline.train.edits import EDITS, Draw, chain, draw_steps
from neardup.pipeline.train.pictures import Pictures
from neardup.pipeline.train.views import squeeze
from neardup.pipeline.types import Descriptors, Pixels

EDITS_PER_PICTURE = 3
DISTRACTORS = 600
NEAREST_BACKGROUND = 3


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Queries and references as tiles.

    Attributes:
        queries: uint8 (q, s, s, 3). references: (m, s, s, 3). background: (b, s, s, 3), none of them a reference.
        truth: int64 (q,), the row of the reference that the query is a copy of; -1 for a query without one.
        edits: for each query the names of its edits, joined by "+".
    """

    queries: Pixels
    references: Pixels
    background: Pixels
    truth: npt.NDArray[np.int64]
    edits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Quality:
    """Raw similarity, and similarity normalised by the background (SN).

    Attributes:
        micro_ap_raw, micro_ap: micro-average precision. recall_at_p90: at 90 % precision. recall_at_1: share of the
            copies whose nearest reference is the right one. All but the first are normalised; all from 0 to 1.
    """

    micro_ap_raw: float
    micro_ap: float
    recall_at_p90: float
    recall_at_1: float


def build_held_out(pictures: Pictures, train: list[int], held: list[int], background: list[int], size: int) -> HeldOut:
    """Render the held-out set: always the same for the same pictures.

    Three quarters of the held-out pictures are references and have three edited copies each; edited copies of the
    last quarter have no reference. Training pictures outside the background are further references.
    """
    own = held[: len(held) * 3 // 4]
    apart = set(background)
    distractors = [i for i in train if i not in apart][:DISTRACTORS]
    names = sorted(EDITS)
    queries, truth, edits = [], [], []
    for row, index in enumerate(held):
        others = [pictures.pixels[i] for i in held[row - 8 : row]] or [pictures.pixels[held[-1]]]
        for copy in range(EDITS_PER_PICTURE if row < len(own) else 1):
            draw = Draw(np.random.default_rng((row, copy)), others)
            name = names[(row * EDITS_PER_PICTURE + copy) % len(names)]
            steps = draw_steps(draw, 1.0) if copy == 2 else [(name, draw.within(0.2, 1))]
            queries.append(squeeze(chain(pictures.pixels[index], steps, draw), size))
            truth.append(row if row < len(own) else -1)
            edits.append("+".join(name for name, _ in steps))
    return HeldOut(
        queries=np.stack(queries),
        references=np.stack([squeeze(pictures.pixels[i], size) for i in own + distractors]),
        background=np.stack([squeeze(pictures.pixels[i], size) for i in background]),
        truth=np.array(truth),
        edits=tuple(edits),
    )


def normalise(similarities: npt.NDArray[np.float32], to_background: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Subtract from each query's row the mean similarity to its nearest background descriptors.

    Args:
        similarities: (q, m), to the references. to_background: (q, b); b may be 0.
    Source: Pizzi et al. 2022, arXiv:2202.10261, section 4.4; the first three neighbours, as in the authors' release.
    """
    nearest = min(NEAREST_BACKGROUND, to_background.shape[1])
    if not nearest:
        return similarities
    bias: npt.NDArray[np.float32] = np.sort(to_background, axis=1)[:, -nearest:].mean(axis=1, keepdims=True)
    return similarities - bias


def measure(held_out: HeldOut, embed: Callable[[Pixels], Descriptors]) -> Quality:
    """Return the quality of a network, given as the function from tiles to unit rows."""
    queries, references = embed(held_out.queries), embed(held_out.references)
    raw = queries @ references.T
    normalised = normalise(raw, queries @ embed(held_out.background).T)
    correct = held_out.truth[:, None] == np.arange(len(references))
    copies = held_out.truth >= 0
    found = normalised.argmax(axis=1) == held_out.truth
    return Quality(
        micro_ap_raw=micro_average_precision(raw.ravel(), correct.ravel()),
        micro_ap=micro_average_precision(normalised.ravel(), correct.ravel()),
        recall_at_p90=recall_at_precision(normalised.ravel(), correct.ravel())[0],
        recall_at_1=float(found[copies].mean()),
    )
