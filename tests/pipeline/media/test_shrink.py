"""Against `tile.squeeze` and `tile.fit`, which work on one picture of whole pixels; blocks against their averages."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neardup.pipeline.media.shrink import Axis, Picture, Stack, make_filters
from neardup.pipeline.media.tile import fit, squeeze
from neardup.pipeline.types import Pixels

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
SHAPES = [(400, 500), (241, 1333), (77, 80), (80, 31), (19, 24)]


def rough(shape: tuple[int, int]) -> Pixels:
    rows, columns = shape
    coarse = np.random.default_rng(rows).integers(0, 256, (-(-rows // 4), -(-columns // 4), 3), dtype=np.uint8)
    return coarse.repeat(4, axis=0).repeat(4, axis=1)[:rows, :columns]


def picture(rgb: Pixels, device: str, factor: int = 1) -> Picture:
    return Picture(torch.from_numpy(np.array(rgb.transpose(2, 0, 1))).to(device), factor)


def apart(one: Pixels, other: Pixels) -> int:
    return int(np.abs(one.astype(int) - other).max())


@pytest.mark.parametrize("device", DEVICES)
def test_pictures_of_all_shapes_together_become_the_tiles_of_each(device: str) -> None:
    pictures = [rough(shape) for shape in SHAPES]
    tiles = Stack([picture(rgb, device) for rgb in pictures]).squeezed(32).cpu().numpy()
    assert tiles.shape == (len(SHAPES), 32, 32, 3)
    for tile, rgb in zip(tiles, pictures, strict=True):
        assert apart(tile, squeeze(rgb, 32)) <= 1


@pytest.mark.parametrize("device", DEVICES)
def test_small_pictures_keep_their_aspect_ratio_and_are_never_enlarged(device: str) -> None:
    pictures = [rough(shape) for shape in SHAPES]
    small, shapes = Stack([picture(rgb, device) for rgb in pictures]).fitted(48)
    for one, (rows, columns), rgb in zip(small.cpu().numpy(), shapes, pictures, strict=True):
        expected = fit(rgb, 48)
        assert expected.shape == (rows, columns, 3)
        assert apart(one[:rows, :columns], expected) <= 1


@pytest.mark.parametrize("device", DEVICES)
def test_blocks_are_averaged_first_and_one_that_is_cut_off_counts_by_its_pixels(device: str) -> None:
    rgb = rough((98, 131))
    averages = np.array(
        [[rgb[y : y + 4, x : x + 4].mean(axis=(0, 1)) for x in range(0, 131, 4)] for y in range(0, 98, 4)]
    )
    coarse = averages.round().astype(np.uint8)
    stack = Stack([picture(rgb, device, 4)])
    assert apart(stack.squeezed(16)[0].cpu().numpy(), squeeze(coarse, 16, (98 / 4, 131 / 4))) <= 1
    assert apart(stack.squeezed(16, whole_blocks=True)[0].cpu().numpy(), squeeze(coarse, 16)) <= 1


def test_a_part_begins_and_ends_between_blocks() -> None:
    rgb = rough((98, 131))
    part = picture(rgb, "cpu", 4).cut((0.5, 0.0, 1.0, 0.5))
    assert part is not None
    np.testing.assert_array_equal(part.rgb.permute(1, 2, 0).numpy(), rgb[:48, 64:])
    assert part.blocks == (12, 17)
    assert picture(rgb, "cpu", 4).cut((0.61, 0.0, 0.62, 1.0)) is None


def test_white_stays_white() -> None:
    white = np.full((333, 251, 3), 255, np.uint8)
    assert Stack([picture(white, "cpu", 2), picture(rough((20, 600)), "cpu")]).squeezed(32)[0].min() == 255


def test_each_pixel_of_a_result_is_a_mean() -> None:
    filters = make_filters([Axis(500, 1, 500, 32), Axis(77, 4, 77 / 4, 16)], 32, 504, torch.device("cpu")).numpy()
    np.testing.assert_allclose(filters[0].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(filters[1, :16].sum(axis=1), 1, atol=1e-5)
    assert not filters[0, :, 500:].any()
    assert not filters[1, :, 77:].any()
