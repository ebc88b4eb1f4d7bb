from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual

from neardup.pipeline.embed import openvino_engine
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.convolutions import QuantisedConv2d, SameConv2d, fold_batch_norms, to_int8
from neardup.pipeline.embed.network import load_network
from neardup.pipeline.embed.openvino_core import get_converter, get_core
from neardup.pipeline.embed.openvino_engine import load_model
from neardup.pipeline.embed.precision import saturates
from neardup.pipeline.embed.saturation import ExactConv2d, avoid_saturation, pair_up, suiting, suits
from neardup.pipeline.embed.trunks import MOBILENET_V2


def weights(*rows: tuple[int, ...]) -> np.ndarray:
    """Return integer weights (out, in, 1, 1)."""
    return np.array(rows, np.float32)[:, :, None, None]


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ((127, 1), True),
        ((127, 2), False),
        ((64, 64), True),
        ((-127, -1), True),
        ((-127, -2), False),
        ((127, -127), True),
        ((127, 0, 127, 0), True),
        ((0, 127, 127, 0), True),
        ((0, 0, 127, 127), False),
        ((127, 1, 127), True),
    ],
)
def test_neighbours_of_one_sign_come_to_at_most_128(row: tuple[int, ...], wanted: bool) -> None:
    assert suits(weights(row)) is wanted


def test_two_channels_suit_each_other_if_they_do_for_every_output() -> None:
    suit = suiting(weights((127, 127, 0, 1), (0, 0, 127, 127)))
    assert suit.tolist() == [
        [False, False, True, True],
        [False, False, True, True],
        [True, True, False, False],
        [True, True, False, False],
    ]


def test_the_channel_with_the_least_choice_is_paired_first() -> None:
    suit = np.zeros((5, 5), bool)
    for one, other in ((0, 1), (1, 2), (2, 3), (0, 2)):  # 3 has only 2, so 2 is not for 0; nobody is for 4
        suit[one, other] = suit[other, one] = True
    pairs, single = pair_up(suit)
    assert {frozenset(pair) for pair in pairs} == {frozenset({2, 3}), frozenset({0, 1})}
    assert single == [4]


class Trunk(nn.Sequential):
    """All that `avoid_saturation` meets, with weights as large as can be."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        first = SameConv2d(3, 8, 3, 2)
        blocks = [InvertedResidual(8, 8, 1, 1), InvertedResidual(8, 24, 2, 6), InvertedResidual(24, 24, 1, 6)]
        super().__init__(first, *blocks, nn.Conv2d(24, 32, 3, padding=1))
        fold_batch_norms(self)
        to_int8(self)
        for module in self.modules():
            if isinstance(module, QuantisedConv2d):
                module.weight.data.copy_(torch.randn_like(module.weight) / module.weight[0].numel() ** 0.5)
                module.quantise.cover(-3.0 if module.groups == 1 else 0.0, 6.0)
        self.eval().requires_grad_(False)


def largest_difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / one.abs().max())


def test_what_is_rewritten_suits_and_computes_what_it_did() -> None:
    tiles = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 9 - 3
    trunk, rewritten = Trunk(), Trunk()
    before = [module for module in trunk.modules() if isinstance(module, QuantisedConv2d) and module.groups == 1]
    assert not any(suits(_grid(module)) for module in before)
    avoid_saturation(rewritten, [block for block in rewritten if isinstance(block, InvertedResidual)])
    after = [module for module in rewritten.modules() if isinstance(module, ExactConv2d) and module.groups == 1]
    assert len(after) == len(before)
    assert all(suits(module.weight.numpy()) for module in after)
    one = other = tiles
    for block, same in zip(trunk, rewritten, strict=True):
        # Block by block, as a value that lies between two levels may go either way, and the next block would follow it.
        other, one = same(one), block(one)
        assert (one - other).abs().mean() / one.abs().mean() < 1e-3


def _grid(module: QuantisedConv2d) -> np.ndarray:
    step = module.weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 127
    return (module.weight / step).round().numpy()


@pytest.mark.parametrize("channels", [3, 16, 64])
@pytest.mark.parametrize("kernel", [1, 3])
def test_openvino_multiplies_the_largest_numbers_without_a_loss(channels: int, kernel: int) -> None:
    """On every processor, whatever its 8-bit instructions do with them."""
    trunk = nn.Sequential(nn.Conv2d(channels, 16, kernel, padding=kernel // 2)).requires_grad_(False)
    to_int8(trunk)
    trunk[0].weight.data[:8], trunk[0].weight.data[8:], trunk[0].bias.data[:] = 0.5, -0.5, 0  # type: ignore[union-attr]
    tiles = torch.full((1, channels, 8, 8), 6.0)
    right = trunk(tiles)
    avoid_saturation(trunk)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.trace is deprecated, and what the converter uses
        model = get_converter()(trunk, example_input=tiles)
    compiled = get_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = torch.from_numpy(compiled.create_infer_request().infer({0: tiles.numpy()})[0])
    assert largest_difference(right, found) < 1e-5


@pytest.mark.parametrize("name", ["default", "fast", "faces"])
def test_the_shipped_networks_are_rewritten_whole(name: str) -> None:
    network = load_network(load_checkpoint(name)).requires_grad_(False)
    MOBILENET_V2.narrow(network.trunk)
    dense = [module for module in network.trunk.modules() if isinstance(module, ExactConv2d) and module.groups == 1]
    assert len(dense) == 35
    assert all(suits(module.weight.numpy()) for module in dense)
    assert sum(module.twice for module in dense) == 19  # the others are put in order


@pytest.mark.parametrize("does", [True, False])
def test_a_network_is_kept_by_what_it_was_converted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: bool
) -> None:
    """A home may be shared by two processors."""
    asked = list[bool]()

    class Converted(Exception):
        pass

    def convert(_: object, narrow: bool) -> object:
        asked.append(narrow)
        raise Converted

    monkeypatch.setattr(openvino_engine, "saturates", lambda *_: does)
    load_model(get_core(), load_checkpoint("fast"), tmp_path)
    monkeypatch.setattr(openvino_engine, "_convert", convert)
    load_model(get_core(), load_checkpoint("fast"), tmp_path)
    monkeypatch.setattr(openvino_engine, "saturates", lambda *_: not does)
    with pytest.raises(Converted):
        load_model(get_core(), load_checkpoint("fast"), tmp_path)
    assert asked == [not does]


def test_what_the_processor_does_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = saturates(get_core(), tmp_path)
    (kept,) = tmp_path.iterdir()
    assert kept.read_text() == ("saturates" if found else "exact")
    kept.write_text("exact" if found else "saturates")
    assert saturates(get_core(), tmp_path) is not found
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    saturates(get_core(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
