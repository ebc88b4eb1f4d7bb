"""Where training starts: a checkpoint of ours, or a trunk that was trained for something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from neardup.pipeline.embed.checkpoint import Architecture, load_checkpoint
from neardup.pipeline.embed.network import Siamese, build_trunk, fold_batch_norms, load_network
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.train.options import TrainSettings
from neardup.pipeline.types import Descriptors


def find_state_dict(settings: TrainSettings) -> Path | None:
    """Return the path of the start weights, where they are no checkpoint of ours."""
    path = Path(settings.init or "default")
    return path if path.suffix in (".pth", ".pt") else None


def start(settings: TrainSettings) -> tuple[Siamese, Architecture, str]:
    """Return the network to start from, its architecture and the licence of its weights."""
    path = find_state_dict(settings)
    if path is None:
        checkpoint = load_checkpoint(settings.init or "default")
        return load_network(checkpoint), checkpoint.architecture, checkpoint.licence
    try:
        weights = torch.load(path, weights_only=True)
    except Exception as error:
        raise ConfigError(f"init {path} is no state dict: {error}") from error
    architecture = settings.architecture
    network = Siamese(architecture)
    network.trunk = fold_batch_norms(build_trunk(architecture.trunk, architecture.padding, weights))
    return network.eval(), architecture, settings.licence


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
