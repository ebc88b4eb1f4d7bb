"""Pooling of the last feature map into one vector."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor, nn


class GeM(nn.Module):
    """Generalised-mean pooling with a learned exponent: p = 1 is the average, large p the maximum.

    Source: Radenović et al. 2018, arXiv:1711.02512, eq. 3.
    """

    def __init__(self, p: float = 3.0, floor: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.floor = floor

    def forward(self, maps: Tensor) -> Tensor:
        # (n, c, h, w) -> (n, c)
        return maps.clamp(min=self.floor).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)


class GeMByRoots(GeM):
    """The same without `pow` on the maps, for engines that compute it one number after the other: it took OpenVINO a
    sixth of the time of a network.

    A checkpoint holds the exponent in float16, a sum of few powers of two, and x^(3 + 1/64) is x·x·x times the sixth
    square root of x: those are vectorised everywhere.
    """

    def __init__(self, pool: GeM) -> None:
        super().__init__(pool.p.item(), pool.floor)
        self.exponent: float = pool.p.item()

    @staticmethod
    def fits(pool: GeM) -> bool:
        """Whether the exponent takes no more than some products and ten roots."""
        exponent: float = pool.p.item()
        return 1 <= exponent < 8 and (exponent * 2**10).is_integer()

    def forward(self, maps: Tensor) -> Tensor:
        # (n, c, h, w) -> (n, c)
        root = maps.clamp(min=self.floor)
        factors = [root] * int(self.exponent)
        rest = self.exponent % 1
        while rest:
            root = root.sqrt()
            whole, rest = divmod(2 * rest, 1)
            factors += [root] * int(whole)
        return reduce(torch.mul, factors).mean(dim=(2, 3)).pow(1 / self.exponent)
