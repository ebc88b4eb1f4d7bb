"""The ranges of activations of an int8 network, measured on training pictures.

From the least to the greatest value seen: cutting off to make the grid finer, by the least mean squared error of each
layer, gained nothing (`DECISIONS.md`, 2026-11-25).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from neardup.pipeline.embed.convolutions import Quantise
from neardup.pipeline.types import Pixels


def measure_ranges(network: torch.nn.Module, batches: Iterable[Pixels], device: torch.device) -> None:
    """Set the ranges of all `Quantise` of a network from what batches of tiles, uint8 (n, s, s, 3), send through it."""
    seen: dict[torch.nn.Module, list[Tensor]] = {}

    def keep(layer: torch.nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> Tensor:
        seen.setdefault(layer, []).append(torch.stack(torch.aminmax(inputs[0])))
        return inputs[0]  # instead of the output: while measuring, no activation is rounded

    layers = [module for module in network.modules() if isinstance(module, Quantise)]
    handles = [layer.register_forward_hook(keep) for layer in layers]
    try:
        with torch.inference_mode():
            for tiles in batches:
                network(torch.from_numpy(tiles).to(device))
    finally:
        for handle in handles:
            handle.remove()
    for layer in layers:
        ends = torch.stack(seen[layer])
        layer.cover(float(ends[:, 0].min()), float(ends[:, 1].max()))
