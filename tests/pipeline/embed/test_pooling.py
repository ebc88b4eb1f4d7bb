from __future__ import annotations

import pytest
import torch

from neardup.pipeline.embed.pooling import GeM, GeMByRoots


def test_pooling_with_exponent_one_is_the_average_and_with_a_large_one_the_maximum() -> None:
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    torch.testing.assert_close(GeM(p=1.0)(maps), torch.tensor([[2.5]]))
    torch.testing.assert_close(GeM(p=3.0)(maps), torch.tensor([[25.0 ** (1 / 3)]]))
    torch.testing.assert_close(GeM(p=60.0)(maps), torch.tensor([[4.0]]), atol=0.1, rtol=0)


@pytest.mark.parametrize("p", [1.0, 2.5, 3.0, 3.015625, 3.013671875, 7.9970703125])
def test_gem_by_roots_is_the_same(p: float) -> None:
    maps, pool = 6 * torch.rand(2, 5, 4, 4, generator=torch.Generator().manual_seed(0)), GeM(p)
    maps[0, 0] = 0
    assert GeMByRoots.fits(pool)
    torch.testing.assert_close(GeMByRoots(pool)(maps), pool(maps), atol=0, rtol=1e-5)


@pytest.mark.parametrize("p", [0.5, 9.0, 3.0001])
def test_other_exponents_need_pow(p: float) -> None:
    assert not GeMByRoots.fits(GeM(p))
