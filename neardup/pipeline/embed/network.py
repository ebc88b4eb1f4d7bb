"""The Siamese network: one trunk with shared weights; both pictures of a pair go through the same module.

    tiles -> normalise -> trunk -> GeM pooling -> linear -> unit length              the descriptor, for copies
                            |---> averages of some blocks -> linear -> unit length   for similar items, if it has such

Batch normalisation is folded into the convolutions: what is trained and what is shipped is the folded network, which
needs no statistics of a batch and gives one picture the same descriptor in any company. In a network of precision int8
the convolutions of the trunk round (`convolutions.py`); pooling and head are of few operations, and stay in float32.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neardup.pipeline.embed.checkpoint import Architecture, Checkpoint, SimilarHead
from neardup.pipeline.embed.preprocess import Prepare
from neardup.pipeline.embed.trunks import find_trunk
from neardup.pipeline.errors import ConfigError

_MOST_SHOWN = 120
"""Characters of a line of what torch says of weights that do not fit: it names each."""


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

    def __init__(self, architecture: Architecture, weights: Mapping[str, Tensor] | None = None) -> None:
        """Build the folded network.

        Args:
            weights: of the trunk, see `Trunk.build`; random weights without them. Those of the head are random.
        Raises:
            ConfigError: no such trunk, or weights that do not fit it.
        """
        super().__init__()
        trunk = find_trunk(architecture.trunk)
        self.prepare = Prepare(architecture)
        self.trunk = trunk.fold(trunk.build(architecture.padding, weights))
        if architecture.precision == "int8":
            trunk.quantise(self.trunk)
        self.pool = trunk.pool()
        self.head = nn.Linear(trunk.channels, architecture.dimension)
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


def read_trunk(path: Path, architecture: Architecture) -> Siamese:
    """Return a network with the trunk of a torchvision state dict, and a head that knows nothing.

    Raises:
        ConfigError: the file is no state dict, or not of this trunk.
    """
    try:
        weights = torch.load(path, weights_only=True)
    except Exception as error:
        raise ConfigError(f"weights {path} are no state dict: {error}") from error
    return Siamese(architecture, weights).eval()


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
        lines = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        shown = "; ".join(line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]} …" for line in lines[:2])
        raise ConfigError(f"model {checkpoint.name} does not fit its architecture: {shown}") from error
    if checkpoint.similar is not None:
        network.similar = Similar(checkpoint.similar)
    return network.eval()
