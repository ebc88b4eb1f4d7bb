"""What training is measured by: held-out pictures, searched for among originals and distractors.

Without classes the queries are edited copies; the edits come from the family that trains, and the references are few: a
figure to steer by, not one to publish. With classes the queries are some pictures of each held-out class and the
references the others: the network has seen none of these classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neardup.pipeline.learn.edits import EDITS, Draw, chain, draw_steps
from neardup.pipeline.learn.shared.pairs import Mask, Relations
from neardup.pipeline.learn.shared.pictures import Pictures, squeeze
from neardup.pipeline.learn.shared.ranking import micro_average_precision, recall_at_precision
from neardup.pipeline.types import Descriptors, Pixels

EDITS_PER_PICTURE = 3
DISTRACTORS = 600
ASIDE = 64
"""Training pictures that edits paste in; neither references nor background, as a query copies them, too."""
NEAREST_BACKGROUND = 3
Shape = tuple[int, int]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Queries and references as tiles.

    Attributes:
        queries: uint8 (q, s, s, 3). references: (m, s, s, 3). background: (b, s, s, 3), none of them a reference.
        correct: bool (q, m), whether the reference shows the same as the query.
        counted: bool (q, m), False for pairs that count neither way.
        edits: for each query the names of its edits, joined by "+"; "" where it was not edited.
        query_shapes, reference_shapes: (height, width) before they were squeezed, to show them by.
    """

    queries: Pixels
    references: Pixels
    background: Pixels
    correct: Mask
    counted: Mask
    edits: tuple[str, ...]
    query_shapes: tuple[Shape, ...]
    reference_shapes: tuple[Shape, ...]


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


def build_held_out(
    pictures: Pictures, relations: Relations, train: list[int], held: list[int], background: list[int], size: int
) -> HeldOut:
    """Render the held-out set: always the same for the same pictures.

    With classes: of each held-out class every second genuine picture is a query; the rest, forged ones too, are
    references. Without: three quarters of the held-out pictures are references and have three edited copies each;
    edited copies of the last quarter have no reference. Training pictures outside the background are further
    references, but for a few that edits paste in.
    """
    if relations.classes:
        queries, references = _halve_classes(relations, held)
        edited, edits = [pictures.pixels[i] for i in queries], [""] * len(queries)
    else:
        apart = set(background)
        rest = [i for i in train if i not in apart]
        aside = min(ASIDE, len(rest) // 2)
        own = held[: len(held) * 3 // 4]
        references = own + rest[aside : aside + DISTRACTORS]
        queries, edited, edits = _edit_copies(pictures, held, len(own), [pictures.pixels[i] for i in rest[:aside]])
    same, different = relations.masks(np.array(queries), np.array(references))
    return HeldOut(
        queries=np.stack([squeeze(pixels, size) for pixels in edited]),
        references=np.stack([squeeze(pictures.pixels[i], size) for i in references]),
        background=np.stack([squeeze(pictures.pixels[i], size) for i in background]),
        correct=same,
        counted=same | different,
        edits=tuple(edits),
        query_shapes=tuple(pixels.shape[:2] for pixels in edited),
        reference_shapes=tuple(pictures.pixels[i].shape[:2] for i in references),
    )


def _edit_copies(
    pictures: Pictures, held: list[int], own: int, aside: list[Pixels]
) -> tuple[list[int], list[Pixels], list[str]]:
    """Return for each query the picture it was made of, its pixels and its edits."""
    names = sorted(EDITS)
    queries, edited, edits = [], [], []
    for row, index in enumerate(held):
        others = [aside[(8 * row + step) % len(aside)] for step in range(8)] if aside else []
        for copy in range(EDITS_PER_PICTURE if row < own else 1):
            draw = Draw(np.random.default_rng((row, copy)), others)
            name = names[(row * EDITS_PER_PICTURE + copy) % len(names)]
            steps = draw_steps(draw, 1.0) if copy == 2 else [(name, draw.within(0.2, 1))]
            queries.append(index)
            edited.append(chain(pictures.pixels[index], steps, draw))
            edits.append("+".join(name for name, _ in steps))
    return queries, edited, edits


def _halve_classes(relations: Relations, held: Sequence[int]) -> tuple[list[int], list[int]]:
    genuine: dict[int, list[int]] = defaultdict(list)
    for index in held:
        if not relations.forged[index]:
            genuine[int(relations.labels[index])].append(index)
    queries = [index for members in genuine.values() if len(members) > 1 for index in members[::2]]
    chosen = set(queries)
    return queries, [index for index in held if index not in chosen]


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
    raw, normalised = score(held_out, embed)
    counted, correct = held_out.counted, held_out.correct
    copies = correct.any(axis=1)
    best = np.where(counted, normalised, -np.inf).argmax(axis=1)
    found = correct[np.arange(len(correct)), best]
    return Quality(
        micro_ap_raw=micro_average_precision(raw[counted], correct[counted]),
        micro_ap=micro_average_precision(normalised[counted], correct[counted]),
        recall_at_p90=recall_at_precision(normalised[counted], correct[counted])[0],
        recall_at_1=float(found[copies].mean()),
    )


def score(
    held_out: HeldOut, embed: Callable[[Pixels], Descriptors]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the raw and the normalised similarity of each query to each reference, (q, m)."""
    queries = embed(held_out.queries)
    raw = queries @ embed(held_out.references).T
    return raw, normalise(raw, queries @ embed(held_out.background).T)
