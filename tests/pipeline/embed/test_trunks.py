from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import nn
from torchvision import models

from neardup.pipeline.embed import precision
from neardup.pipeline.embed.checkpoint import Architecture, Checkpoint, SimilarHead, load_checkpoint
from neardup.pipeline.embed.convolutions import SameConv2d
from neardup.pipeline.embed.network import Siamese, read_trunk
from neardup.pipeline.embed.openvino_engine import OpenVinoEmbedder
from neardup.pipeline.embed.preprocess import Prepare
from neardup.pipeline.embed.saturation import ExactConv2d, suits
from neardup.pipeline.embed.torch_engine import TorchEmbedder
from neardup.pipeline.embed.trunks import TRUNKS, find_trunk
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.types import Pixels

SIZE = 64
PROVED = ["regnet_y_400mf"]
"""What is not shaped like MobileNetV2 or ResNet: see docs/new-trunk.md."""


def windows(size: int) -> Pixels:
    """Return sixteen windows of a photograph, (16, size, size, 3)."""
    picture = data.astronaut()
    return np.stack([picture[y : y + size, x : x + size] for y in range(0, 400, 100) for x in range(0, 400, 100)])


def random_blocks(name: str) -> nn.Module:
    """Return blocks, not yet folded, whose batch normalisations fit the windows: no picture fades on its way."""
    torch.manual_seed(0)
    blocks = find_trunk(name).build("torchvision").train()
    for module in blocks.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.bias, -0.1, 0.1)
    with torch.no_grad():
        blocks(Prepare(Architecture.of(name))(torch.from_numpy(windows(SIZE))))
    return blocks.eval()


@pytest.mark.parametrize("name", sorted(TRUNKS))
def test_a_trunk_has_the_channels_and_the_taps_of_its_entry(name: str) -> None:
    trunk = find_trunk(name)
    network = Siamese(replace(Architecture.of(name), dimension=16)).eval()
    with torch.no_grad():
        vectors = network(torch.from_numpy(windows(SIZE)[:2]))
        maps, averages = network.tapped(torch.from_numpy(windows(SIZE)[:2]), trunk.taps)
    assert vectors.shape == (2, 16)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    assert maps.shape == (2, trunk.channels, SIZE // trunk.stride, SIZE // trunk.stride)
    assert len(averages) == len(trunk.taps) == 5
    assert trunk.takes(trunk.size)


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "resnet18", *PROVED])
def test_folding_batch_norms_keeps_the_function(name: str) -> None:
    blocks, pixels = random_blocks(name), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        before = blocks(pixels)
        after = find_trunk(name).fold(blocks)(pixels)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in blocks.modules())
    torch.testing.assert_close(after, before, rtol=0, atol=1e-3 * float(before.abs().max()))


@pytest.mark.parametrize("name", PROVED)
def test_both_engines_describe_alike_with_another_trunk(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where bfloat16 is always faster, a network with random weights, which does not bear it, stays in float32."""
    monkeypatch.setattr(precision, "WORTH", float("inf"))
    trunk, architecture = find_trunk(name), replace(Architecture.of(name), dimension=16, size=SIZE)
    network, tiles = Siamese(architecture).eval(), torch.from_numpy(windows(SIZE))
    network.trunk = trunk.fold(random_blocks(name))
    with torch.no_grad():  # heads that subtract the mean, without which random descriptors are all alike
        features, averages = network.features(tiles), torch.cat(network.tapped(tiles, trunk.taps)[1], dim=1)
        network.head.bias.copy_(-network.head.weight @ features.mean(dim=0))
    weight = np.random.default_rng(0).standard_normal((8, averages.shape[1])).astype(np.float16)
    head = SimilarHead(trunk.taps, weight, -weight @ averages.mean(dim=0).numpy())
    weights = {key: value.half().numpy() for key, value in network.state_dict().items()}
    checkpoint = Checkpoint("c", architecture, weights, np.zeros((0, 16), np.float32), similar=head)
    right = TorchEmbedder(checkpoint, "cpu", 1).embed(windows(SIZE))
    openvino = OpenVinoEmbedder(checkpoint, 1, tmp_path)
    assert openvino.engine == "openvino f32 on cpu"
    found = openvino.embed(windows(SIZE))
    assert right.similar is not None
    assert found.similar is not None
    for one, other in ((right.vectors, found.vectors), (right.similar, found.similar)):
        assert (one * other).sum(axis=1).min() >= 0.99
        assert ((one @ other.T).argmax(axis=1) == np.arange(16)).all()


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", *PROVED])
def test_int8_blocks_are_rewritten_for_narrow_products(name: str) -> None:
    blocks = Siamese(Architecture(name, precision="int8")).trunk.requires_grad_(False)
    find_trunk(name).narrow(blocks)
    dense = [module for module in blocks.modules() if isinstance(module, ExactConv2d) and module.groups == 1]
    assert all(suits(module.weight.numpy()) for module in dense)
    assert all(module.twice for module in dense) == (name != "mobilenet_v2")  # which is put in order
    assert not any(type(module) is nn.Conv2d for module in blocks.modules())


def test_the_shipped_checkpoints_keep_their_trunk_and_their_spaces() -> None:
    shipped = {name: load_checkpoint(name) for name in ("default", "faces", "fast")}
    assert {one.architecture.trunk for one in shipped.values()} == {"mobilenet_v2"}
    assert {name: (one.space, one.similar_space) for name, one in shipped.items()} == {
        "default": ("2bbf8dfbb5e3", "594d844ab183"),
        "faces": ("b0966f506509", ""),
        "fast": ("720fe73db300", "8983ef5cd104"),
    }


def test_a_similar_head_taps_the_blocks_of_the_entry() -> None:
    assert {load_checkpoint(name).similar.taps for name in ("default", "fast")} == {TRUNKS["mobilenet_v2"].taps}  # type: ignore[union-attr]


def test_an_architecture_takes_what_the_start_weights_of_its_trunk_expect() -> None:
    assert Architecture.of("mobilenet_v2") == Architecture()
    other = Architecture.of("resnet18")
    assert (other.trunk, other.mean, other.padding) == ("resnet18", (0.485, 0.456, 0.406), "torchvision")


def test_only_same_padding_changes_the_strided_convolutions() -> None:
    kinds = {
        padding: sum(isinstance(module, SameConv2d) for module in find_trunk("mobilenet_v2").build(padding).modules())
        for padding in ("same", "torchvision")
    }
    assert kinds == {"same": 5, "torchvision": 0}


def test_a_state_dict_of_the_whole_torchvision_network_starts_a_trunk(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = models.regnet_y_400mf(weights=None).eval()
    torch.save(whole.state_dict(), tmp_path / "r.pth")
    network = read_trunk(tmp_path / "r.pth", Architecture.of("regnet_y_400mf"))
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = whole.trunk_output(whole.stem(pixels))
        torch.testing.assert_close(network.trunk(pixels), expected, rtol=1e-3, atol=1e-4)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ConfigError, match="do not fit the trunk mobilenet_v2"):
        find_trunk("mobilenet_v2").build("same", models.resnet18(weights=None).state_dict())
    with pytest.raises(ConfigError, match="are missing"):
        find_trunk("mobilenet_v2").build("same", {})


def test_an_unknown_trunk_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'vgg99'.*mobilenet_v2"):
        Siamese(Architecture(trunk="vgg99"))


def test_the_registry_is_read_without_torch() -> None:
    code = "import sys, neardup.pipeline.embed.trunks; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
