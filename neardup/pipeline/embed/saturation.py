"""The same integers on processors whose 8-bit products saturate.

Without VNNI an x86 processor multiplies activations of 0 to 255 by weights of -127 to 127 in pairs of neighbouring
input channels, and cuts each sum of two products off at 16 bits (the instruction is VPMADDUBSW). No sum is too large
where the positive weights of a pair come to at most 128, and the negative ones to at least -128: 128 · 255 < 2^15.

So a network is rewritten that every pair is like that, and no result changes: sums of 32 bits are exact in any order.
- What is between the first and the last convolution of an inverted residual block may stand in any order. One is chosen
  in which neighbours suit each other, for every output channel at once.
- Every other convolution gets its input twice, and half of each weight with either.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from neardup.pipeline.embed.convolutions import QuantisedConv2d, QuantisedSameConv2d, SameConv2d, weight_step

MOST = 128
"""Of the weights of one sign that are added up in 16 bits."""
_TOP = 127
Integers = npt.NDArray[np.float32]


class ExactConv2d(QuantisedConv2d):
    """A convolution with its weights on a grid that stays, whatever weights are left to an output channel.

    Attributes:
        weight: integers, (out, in, h, w). step: float (out,), by which they are multiplied.
        twice: whether the input is put beside itself, so that `weight` has twice as many input channels.
    """

    step: Tensor
    twice: bool

    def forward(self, input: Tensor) -> Tensor:
        rounded = self.quantise(input)
        if self.twice:
            rounded = torch.cat((rounded, rounded), 1)
        scaled = self.weight * self.step.view(-1, 1, 1, 1)
        zero = torch.zeros(len(scaled), dtype=torch.int32)
        weight = torch.fake_quantize_per_channel_affine(scaled, self.step, zero, 0, -_TOP, _TOP)
        output: Tensor = self._conv_forward(rounded, weight, self.bias)
        return output


class ExactSameConv2d(ExactConv2d, SameConv2d):
    """See `ExactConv2d`."""


def avoid_saturation(trunk: nn.Module, ordered: Iterable[nn.Module] = ()) -> None:
    """Rewrite the convolutions of an int8 trunk, in place, so that no sum of two products needs more than 16 bits.

    What comes out of every block stays as it was. `ordered`: the blocks that `Trunk.ordered` describes.
    """
    convolutions = [module for module in trunk.modules() if isinstance(module, QuantisedConv2d)]
    for convolution in convolutions:
        _fix(convolution)
    for block in ordered:
        inner = [module for module in block.modules() if isinstance(module, ExactConv2d)]
        if len(inner) == 3:  # widen, depthwise, narrow
            _reorder(*inner)
    for convolution in convolutions:
        if convolution.groups == 1 and not suits(_integers(convolution)):
            _double(cast(ExactConv2d, convolution))


def suits(weight: Integers) -> bool:
    """Return whether no pair of neighbouring input channels of integer weights (out, in, h, w) can saturate."""
    odd = weight.shape[1] % 2
    even = np.pad(weight, ((0, 0), (0, odd), (0, 0), (0, 0)))
    pairs = np.stack((even[:, 0::2], even[:, 1::2]))
    return bool((np.maximum(pairs, 0).sum(0) <= MOST).all() and (np.minimum(pairs, 0).sum(0) >= -MOST).all())


def _fix(convolution: QuantisedConv2d) -> None:
    """Make an `ExactConv2d` of it that computes what it did."""
    weight = convolution.weight.detach()
    step = weight_step(weight)
    convolution.weight = nn.Parameter((weight / step).round(), requires_grad=False)
    convolution.register_buffer("step", step.flatten())
    convolution.twice = False  # type: ignore[assignment]
    convolution.__class__ = ExactSameConv2d if isinstance(convolution, QuantisedSameConv2d) else ExactConv2d


def _integers(convolution: QuantisedConv2d) -> Integers:
    return convolution.weight.detach().numpy()


def _double(convolution: ExactConv2d) -> None:
    half = torch.trunc(convolution.weight.detach() / 2)
    convolution.weight = nn.Parameter(torch.cat((convolution.weight - half, half), 1), requires_grad=False)
    convolution.twice = True


def _reorder(widen: ExactConv2d, depthwise: ExactConv2d, narrow: ExactConv2d) -> None:
    """Put the channels between three convolutions in an order that suits the last one.

    A channel without a partner is there twice, with half of its weights.
    """
    weight = _integers(narrow)
    pairs, single = pair_up(suiting(weight))
    order = np.array([channel for pair in pairs for channel in pair] + [channel for channel in single for _ in "ab"])
    columns = weight[:, order]
    halves = columns[:, 2 * len(pairs) :]
    first = halves[:, 0::2].copy()
    halves[:, 1::2] = np.trunc(first / 2)
    halves[:, 0::2] = first - halves[:, 1::2]
    narrow.weight = nn.Parameter(torch.from_numpy(columns), requires_grad=False)
    narrow.in_channels = depthwise.in_channels = depthwise.groups = len(order)
    for convolution in (widen, depthwise):
        assert convolution.bias is not None
        convolution.weight = nn.Parameter(convolution.weight[order], requires_grad=False)
        convolution.bias = nn.Parameter(convolution.bias[order], requires_grad=False)
        convolution.step = convolution.step[order]
        convolution.out_channels = len(order)


def suiting(weight: Integers) -> npt.NDArray[np.bool_]:
    """Return which two input channels (in, in) of integer weights (out, in, h, w) may be neighbours."""
    rows = weight.transpose(0, 2, 3, 1).reshape(-1, weight.shape[1])
    suit = ~np.eye(weight.shape[1], dtype=bool)
    for row in rows:
        up, down = np.maximum(row, 0), np.minimum(row, 0)
        suit &= (np.add.outer(up, up) <= MOST) & (np.add.outer(down, down) >= -MOST)
    return suit


def pair_up(suit: npt.NDArray[np.bool_]) -> tuple[list[tuple[int, int]], list[int]]:
    """Return pairs of channels that suit each other, and those that are left: whoever has the least choice is first."""
    choices = suit.sum(axis=1)
    free = np.ones(len(suit), bool)
    pairs, single = list[tuple[int, int]](), list[int]()
    never = len(suit) + 1
    while free.any():
        one = int(np.where(free, choices, never).argmin())
        free[one] = False
        choices -= suit[one]
        partners = suit[one] & free
        if not partners.any():
            single.append(one)
            continue
        other = int(np.where(partners, choices, never).argmin())
        free[other] = False
        choices -= suit[other]
        pairs.append((one, other))
    return pairs, single
