"""Tiles to what the trunk wants: inside the network, so that an engine's input is plain uint8 pixels.

A batch of tiles is the smallest thing to move to a GPU or to hand to OpenVINO, and a vector cannot come from wrongly
scaled pixels: normalisation belongs to the checkpoint, not to the caller.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neardup.pipeline.embed.checkpoint import Architecture


class Prepare(nn.Module):
    """uint8 tiles (n, s, s, 3), RGB, to normalised (n, 3, s, s): (x / 255 - mean) / std for each channel."""

    scale: Tensor
    shift: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        mean = torch.tensor(architecture.mean).view(1, 3, 1, 1)
        std = torch.tensor(architecture.std).view(1, 3, 1, 1)
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    def forward(self, tiles: Tensor) -> Tensor:
        # (n, s, s, 3) -> (n, 3, s, s), channels-last in memory as it came
        return tiles.permute(0, 3, 1, 2).to(self.scale.dtype) * self.scale + self.shift
