from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from neardup.pipeline.embed.checkpoint import Architecture, Checkpoint, SimilarHead
from neardup.pipeline.embed.network import (
    TRUNKS,
    GeM,
    GeMByRoots,
    SameConv2d,
    Siamese,
    build_trunk,
    fold_batch_norms,
    load_network,
)
from neardup.pipeline.embed.preprocess import Prepare
from neardup.pipeline.errors import ConfigError


def tiles(n: int, size: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8))


def test_white_black_and_grey_become_one_minus_one_and_zero() -> None:
    prepared = Prepare(Architecture())(torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 2, 1).expand(1, 1, 2, 3))
    assert prepared.shape == (1, 3, 1, 2)
    torch.testing.assert_close(prepared[0, 0, 0], torch.tensor([-1.0, 1.0]))


def test_each_channel_has_its_own_mean_and_deviation() -> None:
    architecture = Architecture(mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    prepared = Prepare(architecture)(torch.full((1, 1, 1, 3), 255, dtype=torch.uint8))
    torch.testing.assert_close(prepared.flatten(), torch.tensor([1.0, 1.0, 0.0]))


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


def test_same_padding_starts_at_the_first_pixel() -> None:
    # TensorFlow pads one pixel right and below at stride 2: the first window covers pixels 0 to 2, the second 2 to 4.
    convolution = SameConv2d(1, 1, 3, stride=2, bias=False)
    nn.init.ones_(convolution.weight)
    row = torch.tensor([1.0, 10, 100, 1000]).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    out = convolution(row)
    assert out.shape == (1, 1, 2, 2)
    assert out[0, 0, 0].tolist() == [333.0, 3300.0]
    assert out[0, 0, 1].tolist() == [222.0, 2200.0]


def test_only_same_padding_changes_the_strided_convolutions() -> None:
    kinds = {
        padding: sum(isinstance(module, SameConv2d) for module in build_trunk("mobilenet_v2", padding).modules())
        for padding in ("same", "torchvision")
    }
    assert kinds == {"same": 5, "torchvision": 0}


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "resnet18"])
def test_folding_batch_norms_keeps_the_function(name: str) -> None:
    torch.manual_seed(0)
    trunk = build_trunk(name, "torchvision")
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn_like(module.weight) * 0.1
            module.running_var = torch.rand_like(module.weight) + 0.5
            nn.init.uniform_(module.bias, -0.1, 0.1)
    pixels = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        before = trunk(pixels)
        after = fold_batch_norms(trunk)(pixels)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in trunk.modules())
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", sorted(TRUNKS))
def test_every_trunk_gives_unit_rows_of_the_wanted_dimension(name: str) -> None:
    network = Siamese(Architecture(trunk=name, dimension=16, size=64, padding="torchvision")).eval()
    with torch.no_grad():
        vectors = network(tiles(2, 64))
    assert vectors.shape == (2, 16)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))


def test_both_towers_are_one_network() -> None:
    network = Siamese(Architecture(dimension=8, size=64)).eval()
    pair = tiles(1, 64).expand(2, -1, -1, -1)
    left, right = network(pair)
    torch.testing.assert_close(left, right)


def test_weights_of_the_whole_torchvision_network_start_a_trunk() -> None:
    torch.manual_seed(0)
    whole = models.mobilenet_v2(weights=None).eval()
    trunk = build_trunk("mobilenet_v2", "torchvision", whole.state_dict())
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(trunk(pixels), whole.features(pixels))


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ConfigError, match="do not fit the trunk mobilenet_v2"):
        build_trunk("mobilenet_v2", "same", models.resnet18(weights=None).state_dict())


def test_an_unknown_trunk_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'vgg99'.*mobilenet_v2"):
        Siamese(Architecture(trunk="vgg99"))


def make_checkpoint(network: Siamese, architecture: Architecture) -> Checkpoint:
    weights = {key: value.numpy() for key, value in network.state_dict().items()}
    return Checkpoint("test", architecture, weights, np.zeros((0, architecture.dimension), np.float32))


def test_a_network_comes_back_from_its_checkpoint() -> None:
    architecture = Architecture(dimension=8, size=64)
    network = Siamese(architecture).eval()
    back = load_network(make_checkpoint(network, architecture))
    with torch.no_grad():
        torch.testing.assert_close(back(tiles(2, 64)), network(tiles(2, 64)))


def test_a_similar_head_stands_right_of_the_descriptor_and_averages_the_blocks_it_taps() -> None:
    architecture = Architecture(dimension=8, size=64)
    network = Siamese(architecture).eval()
    weight, bias = np.zeros((3, 24 + 320), np.float16), np.array([0, 0, 1], np.float16)
    weight[0, 0], weight[1, 24] = 1, 1  # the first channel of either block
    head = SimilarHead((3, 17), weight, bias)
    both = load_network(replace(make_checkpoint(network, architecture), similar=head))
    with torch.no_grad():
        found, copy = both(tiles(2, 64)), network(tiles(2, 64))
        maps = network.prepare(tiles(2, 64))
        wanted = [torch.ones(2)]
        for place, block in enumerate(network.blocks):
            maps = block(maps)
            if place in (17, 3):
                wanted.insert(-1, maps[:, 0].mean(dim=(1, 2)))
    torch.testing.assert_close(found[:, :8], copy)
    torch.testing.assert_close(found[:, 8:], torch.nn.functional.normalize(torch.stack(wanted, dim=1), dim=1))


def test_weights_that_are_missing_are_a_config_error() -> None:
    architecture = Architecture(dimension=8, size=64)
    checkpoint = make_checkpoint(Siamese(architecture), architecture)
    del checkpoint.weights["head.bias"]
    with pytest.raises(ConfigError, match=r"head\.bias"):
        load_network(checkpoint)
