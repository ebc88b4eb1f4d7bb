from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from neardup.pipeline.embed.checkpoint import Architecture, Checkpoint, SimilarHead
from neardup.pipeline.embed.network import Siamese, load_network
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


def test_both_towers_are_one_network() -> None:
    network = Siamese(Architecture(dimension=8, size=64)).eval()
    pair = tiles(1, 64).expand(2, -1, -1, -1)
    left, right = network(pair)
    torch.testing.assert_close(left, right)


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


def test_weights_of_another_network_are_told_in_a_line_or_two() -> None:
    checkpoint = Checkpoint("c", Architecture(), {"w": np.zeros(1, np.float16)}, np.zeros((0, 256), np.float32))
    with pytest.raises(
        ConfigError, match=r"model c does not fit .*Missing key.*trunk\.0.* …; Unexpected key"
    ) as caught:
        load_network(checkpoint)
    assert len(str(caught.value)) < 400
