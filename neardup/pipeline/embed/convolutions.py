"""Convolutions of the trunk: padded as TensorFlow pads, with batch normalisation folded in, and of 8-bit integers.

The integers are simulated in floating point ("fake quantisation"): what enters a convolution and the weights of each
output channel are rounded to a grid of 256 or 255 levels. So the torch module says what every engine computes, and a
gradient can pass. Source: Jacob et al. 2018, arXiv:1712.05877, sections 2 and 3.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

LEVELS = 255
"""Steps of an 8-bit grid. Weights use 254 of them, as many below zero as above."""
_TOP = 127
_is_tracing: Any = torch.jit.is_tracing  # type: ignore[attr-defined]


class SameConv2d(nn.Conv2d):
    """A stride-2 convolution padded as TensorFlow's SAME does for even inputs: the odd pixel goes right and below."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(self.pad(input), weight, bias, self.stride, 0, self.dilation, self.groups)

    def pad(self, input: Tensor) -> Tensor:
        """Return the input (n, c, h, w) with its padding around it."""
        over = self.kernel_size[0] - 2
        before, after = over // 2, over - over // 2
        return F.pad(input, (before, after, before, after))


class _Round(torch.autograd.Function):
    """Rounds to multiples of a step; the gradient passes straight through, but for what is beyond the grid.

    Source of the gradient: Bengio et al. 2013, arXiv:1308.3432, section 3.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: float, low: int, high: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.range = low * step, high * step
        return x.mul(1 / step).round_().clamp_(low, high).mul_(step)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradients[0], x, *ctx.range), None, None, None


class Quantise(nn.Module):
    """Activations of any shape, rounded to the 256 levels of a range that is measured once and then kept.

    Attributes:
        range: float (2,), what is to be covered; 0 is in it, and is a level. In the checkpoint.
        step, low, high: the levels are low · step to high · step; high - low = LEVELS.
    """

    range: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("range", torch.tensor([0.0, 6.0]))
        self.step, self.low, self.high = make_grid(0.0, 6.0)

    def cover(self, low: float, high: float) -> None:
        """Set the range, widened to hold 0; rounded as a checkpoint rounds it."""
        kept = torch.tensor([min(low, 0.0), max(high, 0.0)]).half().to(self.range)
        self.range.copy_(kept)
        self.step, self.low, self.high = make_grid(*kept.tolist())

    def forward(self, x: Tensor) -> Tensor:
        if _is_tracing() or (x.is_cuda and not torch.is_grad_enabled()):
            # One kernel on a GPU, and what OpenVINO knows; on a CPU ten times as slow as the four steps of _Round.
            return torch.fake_quantize_per_tensor_affine(x, self.step, -self.low, 0, LEVELS)
        rounded: Tensor = _Round.apply(x, self.step, self.low, self.high)
        return rounded

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        if not self.range.is_meta:
            self.step, self.low, self.high = make_grid(*self.range.tolist())


def make_grid(low: float, high: float) -> tuple[float, int, int]:
    """Return step, lowest and highest level of the finest grid with a level at 0 that covers low ≤ 0 to high ≥ 0."""
    bottom = -round(LEVELS * -low / max(high - low, 1e-6))
    top = LEVELS + bottom
    step = max(high / top if top else 0.0, low / bottom if bottom else 0.0, 1e-6)
    return step, bottom, top


class QuantisedConv2d(nn.Conv2d):
    """A convolution of 8-bit integers; `to_int8` makes them.

    Attributes:
        quantise: of the input. settled: whether the weights are rounded already.
    """

    quantise: Quantise
    settled: bool

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight if self.settled else round_weight(self.weight)
        output: Tensor = self._conv_forward(self.quantise(input), weight, self.bias)
        return output


class QuantisedSameConv2d(QuantisedConv2d, SameConv2d):
    """See `SameConv2d`."""


def weight_step(weight: Tensor) -> Tensor:
    """Return the steps (out, 1, 1, 1) of the grids of a weight (out, in, h, w)."""
    return (weight.detach().abs().amax(dim=(1, 2, 3), keepdim=True) / _TOP).clamp(min=1e-9)


def round_weight(weight: Tensor) -> Tensor:
    """Return a weight (out, in, h, w) on a grid of its own for each output channel; gradients pass."""
    step = weight_step(weight)
    if _is_tracing():
        zero = torch.zeros(len(weight), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, step.flatten(), zero, 0, -_TOP, _TOP)
    rounded: Tensor = _Round.apply(weight / step, 1.0, -_TOP - 1, _TOP + 1)  # nothing is beyond: all gradients pass
    return rounded * step


def to_int8(trunk: nn.Module) -> None:
    """Make the convolutions of a trunk round, in place; weights and their names stay, ranges come to them."""
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d) and not isinstance(module, QuantisedConv2d):
            same = isinstance(module, SameConv2d)
            module.__class__ = QuantisedSameConv2d if same else QuantisedConv2d
            module.register_module("quantise", Quantise())
            module.settled = False  # type: ignore[assignment]


def settle(trunk: nn.Module) -> None:
    """Round the weights once and for all: for a network that is not trained any more."""
    for module in trunk.modules():
        if isinstance(module, QuantisedConv2d) and not module.settled:
            module.weight = nn.Parameter(round_weight(module.weight.detach()), requires_grad=False)
            module.settled = True


def pad_as_tensorflow(network: nn.Module) -> None:
    """Give every convolution of stride 2 the padding of `SameConv2d`, in place."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2) and module.kernel_size[0] > 1:
            module.__class__ = SameConv2d


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """Fold every batch normalisation into the convolution before it, in place, and return the module.

    Relies on a convolution and its normalisation being neighbours among the children, as in all of torchvision.
    """
    children = list(module.named_children())
    for (_, first), (name, second) in pairwise(children):
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            assert second.running_mean is not None
            assert second.running_var is not None
            first.weight, first.bias = fuse_conv_bn_weights(
                first.weight, first.bias, second.running_mean, second.running_var,
                second.eps, second.weight, second.bias,
            )  # fmt: skip
            setattr(module, name, nn.Identity())
    for _, child in children:
        fold_batch_norms(child)
    return module
