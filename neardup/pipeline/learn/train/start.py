"""Where training starts: a checkpoint of ours, or a trunk that was trained for something else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from neardup.pipeline.embed.checkpoint import Architecture, load_checkpoint
from neardup.pipeline.embed.network import Siamese, load_network, read_trunk
from neardup.pipeline.embed.trunks import find_trunk
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.learn.train.options import TrainSettings
from neardup.pipeline.types import Descriptors


def find_state_dict(init: str | Path | None) -> Path | None:
    """Return the path of the start weights, where they are no checkpoint of ours."""
    path = Path(init or "default")
    return path if path.suffix in (".pth", ".pt") else None


@dataclass(frozen=True, slots=True)
class Start:
    """What training begins with.

    Attributes:
        licence: of the weights. measure: whether the network's ranges are still to be measured.
    """

    network: Siamese
    architecture: Architecture
    licence: str
    measure: bool


def start(settings: TrainSettings) -> Start:
    """Return the network to start from, of the precision and size that are asked for.

    Raises:
        ConfigError: unusable start weights, a size that the trunk does not take, or a precision that cannot be had.
    """
    network, before, licence = _read(settings)
    size, precision = settings.size or before.size, settings.precision or before.precision
    trunk = find_trunk(before.trunk)
    if not trunk.takes(size):
        raise ConfigError(f"size is {size}, expected a multiple of {trunk.stride}")
    if precision == "float" and before.precision == "int8":
        raise ConfigError("precision is 'float', and the start weights are of int8; start from those they came from")
    measure = precision != before.precision
    if measure:
        trunk.quantise(network.trunk)
    return Start(network, replace(before, size=size, precision=precision), licence, measure)


def _read(settings: TrainSettings) -> tuple[Siamese, Architecture, str]:
    path = find_state_dict(settings.init)
    if path is None:
        checkpoint = load_checkpoint(settings.init or "default")
        # A similar head was made for the trunk as it was: it is not taken along.
        network = load_network(replace(checkpoint, similar=None))
        return network, checkpoint.architecture, checkpoint.licence
    return read_trunk(path, settings.architecture), settings.architecture, settings.licence


def freeze(network: Siamese, blocks: int) -> list[torch.nn.Parameter]:
    """Stop training the first blocks of the trunk; return the parameters that are trained."""
    for block in list(network.trunk.children())[:blocks]:
        block.requires_grad_(False)
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def whitening(features: Descriptors, dimension: int) -> tuple[Descriptors, Descriptors]:
    """Return weight (d, c) and bias (d,) of a linear layer that whitens float32 features (n, c).

    Damped by a hundredth of the mean variance, so that directions in which few pictures differ are not blown up; where
    c < d the further rows are random.
    """
    mean = features.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov(features - mean, rowvar=False))
    values, axes = values[::-1][:dimension], axes[:, ::-1][:, :dimension]
    weight = (axes / np.sqrt(values.clip(min=0) + 0.01 * values.mean() + 1e-12)).T
    if len(weight) < dimension:
        random = np.random.default_rng(0).standard_normal((dimension - len(weight), features.shape[1]))
        weight = np.concatenate((weight, random * np.abs(weight).mean()))
    return weight.astype(np.float32), (-weight @ mean).astype(np.float32)
