from __future__ import annotations

import numpy as np
import pytest

from neardup.pipeline.prove.compare import correlate, is_covered
from neardup.pipeline.prove.finding import Block
from neardup.pipeline.prove.keypoints import Grey, find_keypoints
from neardup.pipeline.prove.overlap import Overlap, lay_over

NOISE = np.random.default_rng(0).integers(0, 256, (320, 320), dtype=np.uint8)
OTHER = np.random.default_rng(1).integers(0, 256, (320, 320), dtype=np.uint8)


def laid(query: Grey, reference: Grey) -> Overlap:
    found = lay_over(find_keypoints(query), find_keypoints(reference), np.eye(3))
    assert found is not None
    return found


def test_each_block_says_what_it_holds() -> None:
    query, reference = NOISE.copy(), NOISE.copy()
    query[:160, 160:], reference[:160, 160:] = NOISE[:160, 160:], 128  # the query has something, the reference nothing
    query[160:, :160] = 128
    query[160:, 160:] = OTHER[160:, 160:]
    blocks = correlate(laid(query, reference)).blocks
    assert blocks.shape == (10, 10)
    quarters = {
        Block.AGREES: blocks[:4, :4], Block.QUERY_ONLY: blocks[:4, 6:],
        Block.REFERENCE_ONLY: blocks[6:, :4], Block.DIFFERS: blocks[6:, 6:],
    }  # fmt: skip
    for wanted, found in quarters.items():
        assert (found == wanted).all()


def test_flat_blocks_are_empty_and_a_slope_is_no_texture() -> None:
    slope = np.repeat(np.linspace(0, 255, 320)[None], 320, axis=0).astype(np.uint8)
    found = correlate(laid(slope, slope))
    assert found.agreed == 0
    assert (found.blocks == Block.EMPTY).all()


def test_a_pale_copy_lacks_nothing_and_its_light_is_measured() -> None:
    pale = (NOISE * 0.25 + 90).astype(np.uint8)
    found = correlate(laid(pale, NOISE))
    assert (found.blocks == Block.AGREES).all()
    gain, offset = found.light
    assert gain == pytest.approx(4, rel=0.05)
    assert offset == pytest.approx(-360, abs=20)


def blocks_with(*cells: tuple[int, int]) -> np.ndarray:
    found = np.full((6, 6), Block.AGREES, np.uint8)
    for row, column in cells:
        found[row, column] = Block.DIFFERS
    return found


def test_one_rectangle_covers_a_picture_and_scattered_blocks_do_not() -> None:
    rectangle = [(row, column) for row in (1, 2, 3) for column in (2, 3, 4)]
    assert is_covered(blocks_with(*rectangle))
    assert not is_covered(blocks_with(*rectangle, (5, 0), (0, 0)))
    assert not is_covered(blocks_with((0, 0), (1, 1), (2, 2), (3, 3)))
    assert not is_covered(blocks_with())
