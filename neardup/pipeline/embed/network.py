"""The Siamese network: one trunk with shared weights; both pictures of a pair go through the same module.

    tiles -> normalise -> trunk -> GeM pooling -> linear -> unit length              the descriptor, for copies
                            |---> averages of some blocks -> linear -> unit length   for similar items, if it has such

Batch normalisation is folded into the convolutions: what is trained and what is shipped is the folded network, which
needs no statistics of a batch and gives one picture the same descriptor in any company. In a network of precision int8
the convolutions of the trunk round (`convolutions.py`); pooling and head are of few operations, and stay in float32.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import reduce
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision import models

from neardup.pipeline.embed.checkpoint import Architecture, Checkpoint, SimilarHead
from neardup.pipeline.embed.convolutions import SameConv2d, to_int8
from neardup.pipeline.embed.preprocess import Prepare
from neardup.pipeline.errors import ConfigError

TRUNKS: dict[str, int] = {
    "mobilenet_v2": 1280,
    "mobilenet_v3_small": 576,
    "mobilenet_v3_large": 960,
    "efficientnet_b0": 1280,
    "resnet18": 512,
    "resnet50": 2048,
}
"""Name in torchvision, and the channels of its last feature map."""


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


class Similar(nn.Module):
    """The head for similar items, in float32 whatever the trunk computes in."""

    def __init__(self, head: SimilarHead) -> None:
        super().__init__()
        self.taps = frozenset(head.taps)
        self.weight = nn.Parameter(torch.from_numpy(head.weight.astype("float32")))
        self.bias = nn.Parameter(torch.from_numpy(head.bias.astype("float32")))

    def forward(self, averages: Tensor) -> Tensor:
        # (n, c) -> (n, s)
        with torch.autocast(averages.device.type, enabled=False):
            return F.normalize(F.linear(averages.float(), self.weight, self.bias), dim=1)


class Siamese(nn.Module):
    """The whole network: uint8 tiles (n, s, s, 3) in, float32 unit rows (n, d) out.

    With a similar head its unit rows (n, s) stand right of these: (n, d + s).
    """

    def __init__(self, architecture: Architecture) -> None:
        """Build the folded network with random weights.

        Raises:
            ConfigError: no such trunk.
        """
        super().__init__()
        self.prepare = Prepare(architecture)
        self.trunk = fold_batch_norms(build_trunk(architecture.trunk, architecture.padding))
        if architecture.precision == "int8":
            to_int8(self.trunk)
        self.pool = GeM()
        self.head = nn.Linear(TRUNKS[architecture.trunk], architecture.dimension)
        self.similar: Similar | None = None

    def features(self, tiles: Tensor) -> Tensor:
        """Return the pooled features (n, c) that the head projects."""
        pooled: Tensor = self.pool(self.trunk(self.prepare(tiles)))
        return pooled

    def forward(self, tiles: Tensor) -> Tensor:
        if self.similar is None:
            return F.normalize(self.head(self.features(tiles)).float(), dim=1)
        maps, averages = self.tapped(tiles, self.similar.taps)
        copy = F.normalize(self.head(self.pool(maps)).float(), dim=1)
        return torch.cat((copy, self.similar(torch.cat(averages, dim=1))), dim=1)

    @property
    def blocks(self) -> list[nn.Module]:
        """The children of the trunk, which are applied one after the other."""
        return list(self.trunk.children())

    def tapped(self, tiles: Tensor, taps: Collection[int]) -> tuple[Tensor, list[Tensor]]:
        """Return the trunk's last maps (n, c, h, w), and the averages (n, …) of the maps of each of its `taps`."""
        maps, averages = self.prepare(tiles), []
        for place, block in enumerate(self.blocks):
            maps = block(maps)
            if place in taps:
                averages.append(maps.mean(dim=(2, 3)))
        return maps, averages


def build_trunk(name: str, padding: str, weights: dict[str, Tensor] | None = None) -> nn.Module:
    """Return a torchvision network without its classifier: (n, 3, s, s) -> (n, c, s / 32, s / 32).

    Args:
        name: one of TRUNKS.
        padding: "torchvision", or "same" for weights that come from TensorFlow.
        weights: state dict of the whole torchvision network; random weights without it.
    Raises:
        ConfigError: unknown name, or weights that do not fit.
    """
    if name not in TRUNKS:
        raise ConfigError(f"trunk is {name!r}, expected one of {', '.join(TRUNKS)}")
    network: nn.Module = models.get_model(name, weights=None)
    if weights is not None:
        _load_trunk(name, network, weights)
    if padding == "same":
        for module in network.modules():
            if isinstance(module, nn.Conv2d) and module.stride == (2, 2) and module.kernel_size[0] > 1:
                module.__class__ = SameConv2d
    trunk = network.features if hasattr(network, "features") else nn.Sequential(*list(network.children())[:-2])
    assert isinstance(trunk, nn.Module)
    return trunk.eval()


def _load_trunk(name: str, network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load a torchvision state dict, of any float type; the classifier may be missing."""
    floats = {key: value.float() for key, value in weights.items() if value.is_floating_point()}
    try:
        missing = network.load_state_dict(floats, strict=False).missing_keys
    except RuntimeError as error:
        raise ConfigError(f"weights do not fit the trunk {name}: {error}") from error
    wanted = [key for key in missing if not key.startswith(("classifier.", "fc.")) and "num_batches" not in key]
    if wanted:
        raise ConfigError(f"weights do not fit the trunk {name}: {len(wanted)} are missing, {wanted[0]} for one")


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


def load_network(checkpoint: Checkpoint) -> Siamese:
    """Return the network of a checkpoint, in float32 and evaluation mode.

    Raises:
        ConfigError: the weights do not fit the architecture.
    """
    with torch.device("meta"):
        network = Siamese(checkpoint.architecture)
    weights = {key: torch.from_numpy(value.astype("float32")) for key, value in checkpoint.weights.items()}
    network.prepare = Prepare(checkpoint.architecture)
    try:
        network.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ConfigError(f"model {checkpoint.name} does not fit its architecture: {error}") from error
    if checkpoint.similar is not None:
        network.similar = Similar(checkpoint.similar)
    return network.eval()
