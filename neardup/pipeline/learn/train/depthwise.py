"""Depthwise convolutions that train fast in bfloat16 on a CPU.

What a CPU's library (oneDNN) does slowly is one thing: the gradient for the input of a depthwise convolution in
bfloat16. That gradient is itself a depthwise convolution, of the output's gradient with zeros put between its pixels
where the stride was more than 1, and with the kernel turned round; and forward convolutions are fast.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neardup.pipeline.embed.convolutions import QuantisedConv2d, QuantisedSameConv2d, SameConv2d


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether the device computes in bfloat16 itself, and so faster than in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class _Depthwise(torch.autograd.Function):
    """y = conv2d(x, w), one kernel a channel, with the same stride both ways and no dilation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        stride, padding = (ctx.stride,) * 2, (ctx.padding,) * 2
        of_input = _of_input(gradient, weight, x.shape, ctx.stride, ctx.padding) if ctx.needs_input_grad[0] else None
        of_weight = None
        if ctx.needs_input_grad[1]:
            of_weight = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, stride, padding, (1, 1), False, (0, 0), len(weight), (False, True, False)
            )[1]
        return of_input, of_weight, None, None


def _of_input(gradient: Tensor, weight: Tensor, shape: torch.Size, stride: int, padding: int) -> Tensor:
    """Return the gradient for an input of this shape (n, c, h, w)."""
    spread = gradient
    if stride > 1:
        n, c, h, w = gradient.shape
        spread = torch.empty(
            (n, c, (h - 1) * stride + 1, (w - 1) * stride + 1), dtype=gradient.dtype, device=gradient.device,
            memory_format=torch.channels_last,
        ).zero_()  # fmt: skip
        spread[:, :, ::stride, ::stride] = gradient
    pads = []
    for axis in (3, 2):
        before = weight.shape[axis] - 1 - padding
        # What the stride left over at the end of the input took part in nothing, or in the last windows only.
        pads += [before, shape[axis] + weight.shape[axis] - 1 - spread.shape[axis] - before]
    return F.conv2d(F.pad(spread, pads), weight.flip(2, 3), None, 1, 0, 1, len(weight))


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution with a backward of its own."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolve(input, weight, bias, self.stride[0], int(self.padding[0]))


class SameDepthwiseConv2d(SameConv2d):
    """See `SameConv2d`."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolve(self.pad(input), weight, bias, self.stride[0], 0)


class QuantisedDepthwiseConv2d(QuantisedConv2d, DepthwiseConv2d):
    """See `QuantisedConv2d`."""


class QuantisedSameDepthwiseConv2d(QuantisedConv2d, SameDepthwiseConv2d):
    """See `QuantisedConv2d`."""


_OWN: dict[type[nn.Conv2d], type[nn.Conv2d]] = {
    nn.Conv2d: DepthwiseConv2d,
    SameConv2d: SameDepthwiseConv2d,
    QuantisedConv2d: QuantisedDepthwiseConv2d,
    QuantisedSameConv2d: QuantisedSameDepthwiseConv2d,
}


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    if torch.is_autocast_enabled(x.device.type):
        kind = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(kind), weight.to(kind)
    y: Tensor = _Depthwise.apply(x, weight, stride, padding)
    return y if bias is None else y + bias.to(y.dtype).view(1, -1, 1, 1)


def use_own_depthwise(network: nn.Module) -> None:
    """Give every depthwise convolution of the network, in place, the backward from here; weights and names stay."""
    for module in network.modules():
        if (
            isinstance(module, nn.Conv2d)
            and module.groups == module.in_channels == module.out_channels > 1
            and module.stride[0] == module.stride[1]
            and module.dilation == (1, 1)
        ):
            module.__class__ = _OWN.get(type(module), type(module))
