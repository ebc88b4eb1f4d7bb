"""Trunks: the torchvision networks that a checkpoint can stand on, one entry each.

An entry says how a trunk is built and what differs between trunks; everything else asks here. A checkpoint names its
trunk, and keeps mean, std and padding of its own: an entry's are those of its start weights. Torch is imported by the
methods only, so that a checkpoint is read without it. How to add a trunk: `docs/new-trunk.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neardup.pipeline.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

Channels = tuple[float, float, float]
PADDINGS = ("same", "torchvision")
"""TensorFlow's, and torchvision's."""
STRIDE = 32
_CLASSIFIERS = ("classifier.", "fc.")


def _features(network: Any) -> nn.Module:
    blocks: nn.Module = network.features
    return blocks


def _all_but_two(network: Any) -> nn.Module:
    """Return a ResNet without its average pooling and its classifier."""
    from torch import nn

    return nn.Sequential(*list(network.children())[:-2])


def _blocks_of_stages(network: Any) -> nn.Module:
    """Return a RegNet's stem and the blocks of its stages, one after the other."""
    from torch import nn

    return nn.Sequential(network.stem, *(block for stage in network.trunk_output for block in stage))


def _inverted_residuals(blocks: nn.Module) -> list[nn.Module]:
    from torchvision.models.mobilenetv2 import InvertedResidual

    return [module for module in blocks.modules() if isinstance(module, InvertedResidual)]


def _none(_: nn.Module) -> list[nn.Module]:
    return []


@dataclass(frozen=True, slots=True)
class Trunk:
    """A network without its classifier, as blocks that are applied one after the other.

    A trunk that batch normalisation, 8-bit rounding or pooling do not suit as they are overrides that method.

    Attributes:
        name: in torchvision, and in checkpoints.
        channels: of the last feature map.
        taps: blocks whose averages the head for similar items reads, rising.
        mean, std: of the channels R, G, B in 0..1, as the start weights expect them. padding: likewise, one of
            PADDINGS.
        size: of the tiles, a multiple of `stride`. stride: pixels between two columns of the last feature map.
        precise: leading blocks that stay in float32 where the network runs in bfloat16.
        meta: whether torchvision can build it on torch's meta device, without memory for weights that are loaded later.
        cut: takes the blocks out of the whole network.
        ordered: blocks of exactly three convolutions, widen, depthwise and narrow, with nothing between them that
            depends on the order of the channels; see `saturation.py`.
    """

    name: str
    channels: int
    taps: tuple[int, ...]
    mean: Channels = (0.485, 0.456, 0.406)
    std: Channels = (0.229, 0.224, 0.225)
    padding: str = "torchvision"
    size: int = 160
    stride: int = STRIDE
    precise: int = 2
    meta: bool = True
    cut: Callable[[Any], nn.Module] = _features
    ordered: Callable[[nn.Module], list[nn.Module]] = _none

    def takes(self, size: int) -> bool:
        """Return whether tiles may have this height and width."""
        return size >= self.stride and size % self.stride == 0

    def build(self, padding: str, weights: Mapping[str, Tensor] | None = None) -> nn.Module:
        """Return the blocks, (n, 3, s, s) -> (n, c, s / stride, s / stride), in evaluation mode.

        Args:
            padding: one of PADDINGS.
            weights: state dict of the whole torchvision network, of any float type; the classifier may be missing.
                Random weights without it.
        Raises:
            ConfigError: the weights do not fit.
        """
        import torch
        from torchvision import models

        from neardup.pipeline.embed.convolutions import pad_as_tensorflow

        with nullcontext() if self.meta else torch.device("cpu"):
            network: nn.Module = models.get_model(self.name, weights=None)
        if weights is not None:
            self._load(network, weights)
        if padding == "same":
            pad_as_tensorflow(network)
        return self.cut(network).eval()

    def _load(self, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
        floats = {key: value.float() for key, value in weights.items() if value.is_floating_point()}
        try:
            missing = network.load_state_dict(floats, strict=False).missing_keys
        except RuntimeError as error:
            raise ConfigError(f"weights do not fit the trunk {self.name}: {error}") from error
        wanted = [key for key in missing if not key.startswith(_CLASSIFIERS) and "num_batches" not in key]
        if wanted:
            raise ConfigError(
                f"weights do not fit the trunk {self.name}: {len(wanted)} are missing, {wanted[0]} for one"
            )

    def fold(self, blocks: nn.Module) -> nn.Module:
        """Fold batch normalisation into the convolutions, in place, and return the blocks."""
        from neardup.pipeline.embed.convolutions import fold_batch_norms

        return fold_batch_norms(blocks)

    def quantise(self, blocks: nn.Module) -> None:
        """Make folded blocks round to 8-bit integers, in place."""
        from neardup.pipeline.embed.convolutions import to_int8

        to_int8(blocks)

    def narrow(self, blocks: nn.Module) -> None:
        """Rewrite quantised blocks, in place, for processors whose 8-bit products saturate."""
        from neardup.pipeline.embed.saturation import avoid_saturation

        avoid_saturation(blocks, self.ordered(blocks))

    def pool(self) -> nn.Module:
        """Return what pools the last feature map: (n, c, h, w) -> (n, c)."""
        from neardup.pipeline.embed.pooling import GeM

        return GeM()


MOBILENET_V2 = Trunk(
    "mobilenet_v2", 1280, taps=(13, 14, 15, 16, 17), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), padding="same",
    ordered=_inverted_residuals,
)  # fmt: skip
"""As TensorFlow trained it, which is where the shipped checkpoints come from."""

TRUNKS = {
    trunk.name: trunk
    for trunk in (
        MOBILENET_V2,
        Trunk("mobilenet_v3_small", 576, taps=(7, 8, 9, 10, 11)),
        Trunk("mobilenet_v3_large", 960, taps=(11, 12, 13, 14, 15)),
        Trunk("efficientnet_b0", 1280, taps=(3, 4, 5, 6, 7)),
        Trunk("resnet18", 512, taps=(3, 4, 5, 6, 7), cut=_all_but_two),
        Trunk("resnet50", 2048, taps=(3, 4, 5, 6, 7), cut=_all_but_two),
        Trunk("regnet_y_400mf", 440, taps=(12, 13, 14, 15, 16), meta=False, cut=_blocks_of_stages),
    )
}


def find_trunk(name: str) -> Trunk:
    """Return the trunk of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in TRUNKS:
        raise ConfigError(f"trunk is {name!r}, expected one of {', '.join(TRUNKS)}")
    return TRUNKS[name]
