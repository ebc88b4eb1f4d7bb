from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data

from neardup.pipeline.embed.hash import dct_hash
from neardup.pipeline.errors import ShapeError
from neardup.pipeline.types import Hashes, Pixels
from tests.timing import soonest


def tile(picture: Image.Image, size: int = 160) -> Pixels:
    return np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


def bits_apart(one: Hashes, other: Hashes) -> int:
    return int(np.unpackbits(one ^ other).sum())


def test_half_of_the_bits_of_a_photograph_are_set() -> None:
    hashes, _ = dct_hash(tile(Image.fromarray(data.chelsea()))[None])
    assert np.unpackbits(hashes).sum() == 128


def test_a_blank_tile_has_no_bits_and_no_detail() -> None:
    blank = np.stack([np.full((160, 160, 3), value, np.uint8) for value in (0, 77, 255)])
    hashes, detail = dct_hash(blank)
    assert not hashes.any()
    assert detail.tolist() == [0, 0, 0]


def test_a_checkerboard_has_full_detail() -> None:
    cells = (np.indices((32, 32)).sum(axis=0) % 2 * 255).astype(np.uint8)
    board = np.repeat(np.repeat(cells, 5, axis=0), 5, axis=1)[..., None].repeat(3, axis=2)
    _, detail = dct_hash(board[None])
    assert detail.tolist() == [100]


def test_a_ramp_sets_the_bits_of_its_own_frequencies() -> None:
    ramp = np.repeat(np.linspace(255, 0, 160).astype(np.uint8)[None, :, None], 160, axis=0).repeat(3, axis=2)
    hashes, _ = dct_hash(ramp[None])
    assert not hashes.any()  # it varies along one axis only, and frequencies 0 are left out

    hill = np.minimum(ramp, ramp.transpose(1, 0, 2))
    assert np.unpackbits(dct_hash(hill[None])[0]).any()


def test_a_recompressed_copy_is_near_and_another_photograph_is_far() -> None:
    cat, coffee = Image.fromarray(data.chelsea()), Image.fromarray(data.coffee())
    softer = cat.resize((200, 130)).filter(ImageFilter.GaussianBlur(1))
    hashes, _ = dct_hash(np.stack([tile(cat), tile(softer), tile(coffee)]))
    assert bits_apart(hashes[0], hashes[1]) <= 20
    assert bits_apart(hashes[0], hashes[2]) >= 90


def test_a_batch_equals_its_tiles_one_by_one() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (37, 96, 96, 3), dtype=np.uint8)
    hashes, detail = dct_hash(tiles)
    for i in (0, 15, 16, 36):
        alone, alone_detail = dct_hash(tiles[i : i + 1])
        np.testing.assert_array_equal(alone[0], hashes[i])
        assert alone_detail[0] == detail[i]


def test_the_same_picture_at_another_tile_size_is_near() -> None:
    photo = Image.fromarray(data.astronaut())
    small, large = (dct_hash(tile(photo, size)[None])[0] for size in (128, 224))
    assert bits_apart(small, large) <= 12


def test_an_empty_batch_gives_empty_arrays() -> None:
    hashes, detail = dct_hash(np.zeros((0, 160, 160, 3), np.uint8))
    assert hashes.shape == (0, 32)
    assert detail.shape == (0,)


@pytest.mark.parametrize("shape", [(1, 160, 128, 3), (1, 160, 160), (1, 160, 160, 4), (1, 100, 100, 3), (1, 0, 0, 3)])
def test_a_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        dct_hash(np.zeros(shape, np.uint8))


def test_a_wrong_dtype_is_refused() -> None:
    with pytest.raises(ShapeError, match="float32"):
        dct_hash(np.zeros((1, 160, 160, 3), np.float32))


def test_a_tile_costs_far_less_than_the_network() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (64, 160, 160, 3), dtype=np.uint8)
    wanted = 0.0005 * len(tiles)
    assert soonest(lambda: dct_hash(tiles), wanted, clock=time.process_time) < wanted
