from __future__ import annotations

import pytest
import torch
from torch import nn

from neardup.pipeline.embed.convolutions import (
    Quantise,
    QuantisedConv2d,
    QuantisedSameConv2d,
    SameConv2d,
    make_grid,
    round_weight,
    settle,
    to_int8,
)


@pytest.mark.parametrize(
    ("low", "high", "step", "bottom", "top"),
    [
        (0.0, 6.0, 6 / 255, 0, 255),
        (-1.0, 1.0, 1 / 127, -128, 127),
        (-6.0, 0.0, 6 / 255, -255, 0),
        (-0.375, 6.0, 0.025, -15, 240),
        (0.0, 0.0, 1e-6, 0, 255),
    ],
)
def test_a_grid_covers_its_range_with_a_level_at_zero(
    low: float, high: float, step: float, bottom: int, top: int
) -> None:
    assert make_grid(low, high) == (pytest.approx(step), bottom, top)


def test_activations_go_to_the_nearest_level_and_not_beyond_the_ends() -> None:
    quantise = Quantise()
    quantise.cover(0.0, 255.0)
    torch.testing.assert_close(
        quantise(torch.tensor([-3.0, 0.4, 0.6, 254.7, 300.0])), torch.tensor([0.0, 0.0, 1.0, 255.0, 255.0])
    )


def test_gradients_pass_within_the_range_and_stop_outside() -> None:
    quantise = Quantise()
    quantise.cover(-1.0, 1.0)
    x = torch.tensor([-2.0, -0.3, 0.3, 2.0], requires_grad=True)
    quantise(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 0]


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace")  # deprecated, and what OpenVINO's converter uses
def test_the_kernel_that_openvino_and_a_gpu_get_rounds_as_training_does() -> None:
    quantise = Quantise()
    quantise.cover(-0.9, 2.3)
    x = torch.linspace(-1.5, 3, 1001)
    fused = torch.fake_quantize_per_tensor_affine(x, quantise.step, -quantise.low, 0, 255)
    torch.testing.assert_close(quantise(x), fused)
    traced = torch.jit.trace(quantise, x)  # type: ignore[no-untyped-call]
    assert "fake_quantize" in str(traced.graph)


def test_each_output_channel_of_a_weight_has_a_grid_of_its_own() -> None:
    weight = torch.tensor([[127.0, 0.6], [1.27, 0.006]]).view(2, 2, 1, 1).requires_grad_()
    rounded = round_weight(weight)
    torch.testing.assert_close(rounded.flatten(1), torch.tensor([[127.0, 1.0], [1.27, 0.01]]))
    rounded.sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, torch.ones_like(weight))
    torch.testing.assert_close(round_weight(rounded), rounded)


def test_a_channel_of_zeros_stays_zero() -> None:
    assert not round_weight(torch.zeros(2, 1, 3, 3)).any()


def made_trunk() -> nn.Sequential:
    torch.manual_seed(0)
    same = nn.Conv2d(3, 4, 3, 2)
    same.__class__ = SameConv2d
    trunk = nn.Sequential(same, nn.ReLU6(), nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 2, 1))
    to_int8(trunk)
    return trunk


def test_the_convolutions_of_a_trunk_round_and_keep_their_names() -> None:
    trunk = made_trunk()
    assert [type(trunk[i]) for i in (0, 2, 3)] == [QuantisedSameConv2d, QuantisedConv2d, QuantisedConv2d]
    assert {"0.weight", "0.bias", "0.quantise.range"} <= trunk.state_dict().keys()


def test_settled_weights_change_no_output() -> None:
    trunk = made_trunk()
    x = torch.rand(2, 3, 8, 8)
    before = trunk(x)
    settle(trunk)
    torch.testing.assert_close(trunk(x), before)
    assert all(module.settled for module in trunk.modules() if isinstance(module, QuantisedConv2d))


def test_a_range_that_is_loaded_is_used_and_is_what_a_checkpoint_can_keep() -> None:
    one, other = Quantise(), Quantise()
    one.cover(-0.1, 3.3333)
    assert one.range.half().float().equal(one.range)
    other.load_state_dict(one.state_dict())
    assert (other.step, other.low, other.high) == (one.step, one.low, one.high) != make_grid(0.0, 6.0)


def test_same_padding_starts_at_the_first_pixel() -> None:
    # TensorFlow pads one pixel right and below at stride 2: the first window covers pixels 0 to 2, the second 2 to 4.
    convolution = SameConv2d(1, 1, 3, stride=2, bias=False)
    nn.init.ones_(convolution.weight)
    row = torch.tensor([1.0, 10, 100, 1000]).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    out = convolution(row)
    assert out.shape == (1, 1, 2, 2)
    assert out[0, 0, 0].tolist() == [333.0, 3300.0]
    assert out[0, 0, 1].tolist() == [222.0, 2200.0]
