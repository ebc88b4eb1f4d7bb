"""What two pictures show, block by block, once they are laid over each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from neardup.pipeline.prove.finding import Block
from neardup.pipeline.prove.keypoints import SIDE, Grey
from neardup.pipeline.prove.once import once
from neardup.pipeline.prove.overlap import Blocks, Overlap
from neardup.pipeline.prove.repetition import SIDE as REPETITION_SIDE
from neardup.pipeline.prove.repetition import self_likeness

TEXTURE = 4.0
"""Least standard deviation, in grey levels, of a block that shows something."""
AGREES = 0.5
"""Least correlation of blocks that show the same."""
WEAK = 0.75
"""Writing above this correlation is taken for the same writing."""
CERTAIN, _NEARLY_ALL = 0.95, 0.97
"""Where so many blocks have such a correlation, nothing can have moved."""
_REGISTER = 24
_GOOD_PART = 0.4
_PLAIN = 0.35
"""A side has nothing where its texture is below this share of the other's."""
_STROKE = 9
"""Strokes of writing and of codes are narrower, in pixels."""
_INK = 45.0
"""They differ from what is beside them by so many grey levels, and"""
_BOLD = 130.0
"""The same of bold strokes, such as captions have and texture does not."""
_WRITTEN = 0.35
"""they or their halos take this share of a block of writing."""
_LIKE_LIGHT, _LIKE_SPREAD = 20.0, 1.4
"""Blocks are of one kind if they differ less in mean, and in spread by a smaller factor."""
_FILLED = 0.85
_UNLIKE = 0.4


@dataclass(frozen=True, slots=True)
class Differences:
    """Numbers of blocks that do not agree.

    Attributes:
        query_writing, reference_writing: the one has writing, whatever the other has there.
        other_writing: both have writing of one style, and not the same.
        differing: both have texture, and it is certainly not the same.
        of_one_kind: of these, blocks with the same light and contrast: part of a scene that changed, rather than a
            sticker on it.
    """

    query_writing: int = 0
    reference_writing: int = 0
    other_writing: int = 0
    differing: int = 0
    of_one_kind: int = 0


@dataclass(frozen=True, eq=False)
class Agreement:
    """Correlation of the blocks of an overlap.

    Attributes:
        alike: correlation, -1 to 1. query_texture, reference_texture: standard deviations in grey levels; all
            (rows, columns). seen: bool, where either has texture. agrees: bool, where they show the same.
    """

    overlap: Overlap
    alike: Blocks
    query_texture: Blocks
    reference_texture: Blocks
    seen: npt.NDArray[np.bool_]
    agrees: npt.NDArray[np.bool_]

    @once
    def agreed(self) -> int:
        """Blocks that show the same."""
        return int(self.agrees.sum())

    @once
    def share(self) -> float:
        """Of the blocks that show anything, those that show the same."""
        return self.agreed / max(1, int(self.seen.sum()))

    @once
    def share_of_one(self) -> float:
        """The same of the side that has less to itself, if it is a good part of all.

        A caption over the sky adds blocks to its side, and takes none from the other.
        """
        if self.share < _GOOD_PART:
            return self.share
        blocks = self.blocks
        differing, *beside = (
            int(np.count_nonzero(blocks == kind)) for kind in (Block.DIFFERS, Block.QUERY_ONLY, Block.REFERENCE_ONLY)
        )
        return self.agreed / max(1, self.agreed + differing + min(beside))

    @once
    def certain(self) -> bool:
        """Whether nearly every block that shows anything agrees beyond doubt."""
        return bool(self.agreed and (self.alike[self.seen] >= CERTAIN).mean() >= _NEARLY_ALL)

    @once
    def in_register(self) -> bool:
        """Whether so many blocks agree beyond doubt that no other transform would lay them over each other better."""
        return int((self.seen & (self.alike >= CERTAIN)).sum()) >= _REGISTER

    @once
    def blocks(self) -> npt.NDArray[np.uint8]:
        """The `Block` of each block, uint8 (rows, columns). Contrast is made equal: a pale copy lacks nothing."""
        query, reference = self.query_texture * self.contrast, self.reference_texture
        blocks = np.full(query.shape, Block.DIFFERS, np.uint8)
        blocks[reference < _PLAIN * query] = Block.QUERY_ONLY
        blocks[query < _PLAIN * reference] = Block.REFERENCE_ONLY
        blocks[self.agrees] = Block.AGREES
        blocks[~self.seen] = Block.EMPTY
        return blocks

    @once
    def light(self) -> tuple[float, float]:
        """Gain and offset: reference ≈ gain × query + offset, in grey levels, where they agree."""
        if not self.agreed:
            return 1.0, 0.0
        q, r = (mean[self.agrees] for mean in self.overlap.means)
        return self.contrast, float(r.mean() - self.contrast * q.mean())

    @once
    def contrast(self) -> float:
        """Texture of the reference over the query's where they agree; 1 where nothing does."""
        own = float((self.query_texture[self.agrees] ** 2).sum())
        return float(np.sqrt((self.reference_texture[self.agrees] ** 2).sum() / own)) if own > 0 else 1.0


def correlate(overlap: Overlap) -> Agreement:
    """Correlate the bands of both pictures in every block."""
    query, reference = overlap.bands
    mean_q, mean_r = overlap.mean(query), overlap.mean(reference)
    variance_q = np.maximum(overlap.mean(query * query) - mean_q**2, 0)
    variance_r = np.maximum(overlap.mean(reference * reference) - mean_r**2, 0)
    both = overlap.mean(query * reference) - mean_q * mean_r
    alike = both / np.sqrt(np.maximum(variance_q * variance_r, 1e-3))
    seen = (overlap.covered > 0.5) & (np.maximum(variance_q, variance_r) >= TEXTURE**2)
    return Agreement(overlap, alike, np.sqrt(variance_q), np.sqrt(variance_r), seen, seen & (alike > AGREES))


def count_differences(agreement: Agreement) -> Differences:
    """Return how many blocks differ, and how. Light and contrast are made equal first."""
    weak = agreement.seen & (agreement.alike < WEAK)
    if not weak.any():
        return Differences()
    overlap = agreement.overlap
    in_query, in_reference = (
        weak & (overlap.mean(find_ink(side)) > _WRITTEN) for side in (overlap.query, overlap.reference)
    )
    gain, offset = agreement.light
    (light, spread), (other_light, other_spread) = (
        _spread(overlap, side) for side in (overlap.query * np.float32(gain) + np.float32(offset), overlap.reference)
    )
    like = np.abs(light - other_light) < _LIKE_LIGHT
    like &= np.maximum(spread, other_spread) < _LIKE_SPREAD * np.minimum(spread, other_spread)
    differs = (agreement.blocks == Block.DIFFERS) & (agreement.alike < _UNLIKE)
    return Differences(
        query_writing=int(in_query.sum()),
        reference_writing=int(in_reference.sum()),
        other_writing=int((in_query & in_reference & like).sum()),
        differing=int(differs.sum()),
        of_one_kind=int((differs & like).sum()),
    )


def count_ink(overlap: Overlap, where: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Return how many pixels of the query and of the reference are bold strokes where something changed.

    As many as they would be at SIDE.

    Args:
        where: uint8 (h, w) of the overlap, 1 where pieces lie that changed.
    """
    scale = (SIDE / max(SIDE, overlap.side)) ** 2
    query, reference = (
        scale * np.count_nonzero((_strokes(side) > _BOLD) & (where > 0)) for side in (overlap.query, overlap.reference)
    )
    return float(query), float(reference)


def is_covered(blocks: npt.NDArray[np.uint8]) -> bool:
    """Return whether what does not agree is one rectangle, as where something was put over a picture.

    Args:
        blocks: uint8 (rows, columns) of `Block`.
    """
    differs = (blocks != Block.AGREES) & (blocks != Block.EMPTY)
    count, labels = cv2.connectedComponents(differs.astype(np.uint8), connectivity=8)
    if count < 2:
        return False
    sizes = np.bincount(labels.ravel())[1:]
    rows, columns = np.nonzero(labels == 1 + int(sizes.argmax()))
    around = blocks[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] != Block.EMPTY
    return bool(sizes.max() >= _FILLED * sizes.sum() and sizes.max() >= _FILLED * around.sum())


def measure_repetition(overlap: Overlap) -> float:
    """Return how alike what is seen is to itself when shifted, 0 to 1: stripes and lattices come near 1."""
    seen = overlap.bands[1]
    share = min(1.0, REPETITION_SIDE / max(seen.shape))
    shape = tuple(max(1, round(size * share)) for size in seen.shape)
    small = cv2.resize(seen, shape[::-1], interpolation=cv2.INTER_AREA).reshape(shape)
    if float(small.std()) < TEXTURE / 4:  # too fine to be seen so small: look at a piece at its own size
        top, left = ((size - min(size, REPETITION_SIDE)) // 2 for size in seen.shape)
        small = np.ascontiguousarray(seen[top : top + REPETITION_SIDE, left : left + REPETITION_SIDE])
    return self_likeness(small)


def _spread(overlap: Overlap, grey: npt.NDArray[Any]) -> tuple[Blocks, Blocks]:
    """Return mean and standard deviation of grey levels in each block."""
    levels = np.asarray(grey, np.float32)
    mean = overlap.mean(levels)
    return mean, np.sqrt(np.maximum(overlap.mean(levels * levels) - mean**2, 0))


def find_ink(levels: Grey) -> Grey:
    """Return 1 where there are narrow strokes in strong contrast, else 0."""
    return (_strokes(levels) > _INK).view(np.uint8)


def _strokes(levels: Grey) -> Grey:
    """Return by how many levels each pixel stands out from what is beside it, if it is of a narrow stroke."""
    around = np.ones((_STROKE, _STROKE), np.uint8)
    dark = cv2.morphologyEx(levels, cv2.MORPH_BLACKHAT, around)
    light = cv2.morphologyEx(levels, cv2.MORPH_TOPHAT, around)
    return np.asarray(cv2.max(dark, light))
