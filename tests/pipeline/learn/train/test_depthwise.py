from __future__ import annotations

import pytest
import torch
from torch import nn

from neardup.pipeline.embed.checkpoint import Architecture
from neardup.pipeline.embed.convolutions import SameConv2d
from neardup.pipeline.embed.network import Siamese
from neardup.pipeline.learn.train.depthwise import use_own_depthwise


def convolution(kernel: int, stride: int, same: bool) -> nn.Conv2d:
    torch.manual_seed(0)
    made = nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6)
    if same:
        made.__class__ = SameConv2d
    return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize(("kernel", "stride", "same"), [(3, 1, False), (3, 2, False), (5, 2, False), (3, 2, True)])
def test_gradients_are_those_of_torch(kernel: int, stride: int, same: bool, side: int) -> None:
    theirs, own = convolution(kernel, stride, same), convolution(kernel, stride, same)
    use_own_depthwise(own)
    assert type(own) is not type(theirs)
    found = []
    for module in (theirs, own):
        torch.manual_seed(1)
        x = torch.randn(2, 6, side, side + 2).contiguous(memory_format=torch.channels_last).requires_grad_()
        y = module(x)
        y.square().sum().backward()
        assert module.bias is not None
        found.append((y, x.grad, module.weight.grad, module.bias.grad))
    for expected, got in zip(*found, strict=True):
        assert expected is not None
        assert got is not None
        torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)


def test_a_network_gives_the_same_in_float32_and_nearly_the_same_in_bfloat16() -> None:
    torch.manual_seed(0)
    network = Siamese(Architecture(trunk="mobilenet_v2", dimension=8, size=32)).eval()
    tiles = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    before = network(tiles)
    use_own_depthwise(network)
    torch.testing.assert_close(network(tiles), before, atol=1e-5, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        low = network(tiles)
    assert (low * before).sum(dim=1).min() > 0.99


def test_other_convolutions_stay_as_they_are() -> None:
    plain = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 8, 3, dilation=2, groups=8))
    use_own_depthwise(plain)
    assert [type(module) for module in plain] == [nn.Conv2d] * 3
