"""Many pictures of different sizes made small on a GPU, by products of matrices.

Resizing is linear, and one axis after the other: a picture (h, w) becomes Y · picture · Xᵀ, where a row of Y holds the
share of each of the h rows of pixels in one row of the result. So a picture costs one launch, that puts it beside the
others, and the rest is done for all of them at once. The filter is that of `tile.squeeze` over what `image.open_image`
squeezes: whole blocks of pixels are averaged first, as libjpeg does when it decodes at a reduced scale, then comes a
triangle wide enough not to alias.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neardup.pipeline.types import Box

_ALIGNED = 8
"""Sides of matrices are multiples of so many numbers, as tensor cores want it."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels, and how coarsely they are looked at.

    Attributes:
        rgb: uint8 (3, h, w), upright, on any device.
        factor: side of the blocks that are averaged first.
    """

    rgb: Tensor
    factor: int

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns of blocks; the last ones may be cut off."""
        height, width = self.rgb.shape[1:]
        return math.ceil(height / self.factor), math.ceil(width / self.factor)

    def cut(self, box: Box) -> Picture | None:
        """Return the part in a box, given in shares of this one, on the borders of blocks; None if nothing is there."""
        height, width = self.blocks
        left, top, right, bottom = (round(share * side) for share, side in zip(box, (width, height) * 2, strict=True))
        if right <= left or bottom <= top:
            return None
        left, top, right, bottom = (at * self.factor for at in (left, top, right, bottom))
        return Picture(self.rgb[:, top:bottom, left:right], self.factor)


@dataclass(frozen=True, slots=True)
class Axis:
    """One side of a picture that is made small.

    Attributes:
        pixels: its length. block: pixels that are averaged first.
        extent: blocks that the result shows; less than a whole one of the last is left out, or is not.
        size: pixels of the result.
    """

    pixels: int
    block: int
    extent: float
    size: int


class Stack:
    """Pictures beside each other in memory, each in the upper left corner of its place, with nothing around it."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        """Begin to copy; nothing is waited for.

        Args:
            pictures: at least one, all on one device.
        """
        self._pictures = pictures
        device = pictures[0].rgb.device
        # 11 bits hold a pixel and leave a quarter of a level to what comes between; on a CPU, 16 bits are slow.
        self._kind = torch.float16 if device.type == "cuda" else torch.float32
        height, width = (
            _ALIGNED * math.ceil(max(picture.rgb.shape[axis] for picture in pictures) / _ALIGNED) for axis in (1, 2)
        )
        self._pixels = torch.zeros(len(pictures), 3, height, width, dtype=self._kind, device=device)
        for place, picture in zip(self._pixels, pictures, strict=True):
            rows, columns = picture.rgb.shape[1:]
            place[:, :rows, :columns].copy_(picture.rgb)

    def __len__(self) -> int:
        return len(self._pictures)

    def squeezed(self, size: int, whole_blocks: bool = False) -> Tensor:
        """Return tiles as `tile.squeeze` makes them.

        Args:
            whole_blocks: whether a block that is cut off counts as a whole one.
        Returns:
            uint8 (n, size, size, 3).
        """
        axes = [
            Axis(pixels, picture.factor, blocks if whole_blocks else pixels / picture.factor, size)
            for picture in self._pictures
            for pixels, blocks in zip(picture.rgb.shape[1:], picture.blocks, strict=True)
        ]
        return self._shrunk(axes, size)

    def fitted(self, side: int) -> tuple[Tensor, list[tuple[int, int]]]:
        """Return small pictures as `tile.fit` makes them.

        Returns:
            uint8 (n, side, side, 3), and how many rows and columns of it each of them fills.
        """
        shapes = [_fit(picture.blocks, side) for picture in self._pictures]
        axes = [
            Axis(pixels, picture.factor, blocks, size)
            for picture, shape in zip(self._pictures, shapes, strict=True)
            for pixels, blocks, size in zip(picture.rgb.shape[1:], picture.blocks, shape, strict=True)
        ]
        return self._shrunk(axes, side), shapes

    def _shrunk(self, axes: Sequence[Axis], side: int) -> Tensor:
        filters = make_filters(axes, side, max(self._pixels.shape[2:]), self._pixels.device).to(self._kind)
        height, width = self._pixels.shape[2:]
        columns = self._pixels @ filters[1::2, None, :, :width].mT
        small = filters[::2, None, :, :height] @ columns
        return small.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def make_filters(axes: Sequence[Axis], side: int, longest: int, device: torch.device) -> Tensor:
    """Return what share each pixel of an axis has in each pixel of its result.

    Args:
        side: which no result exceeds. longest: which no axis exceeds.
    Returns:
        float32 (m, side, longest), each row sums to 1, but for those beyond the result.
    """
    rows = [(axis.pixels, axis.block, axis.extent, axis.size) for axis in axes]
    pixels, block, extent, size = torch.tensor(rows, dtype=torch.float32, device=device).T[..., None, None]
    place = torch.arange(longest, dtype=torch.float32, device=device)
    number = torch.div(place, block, rounding_mode="floor")  # of the block that a pixel is in
    share = (place < pixels) / torch.minimum(block, pixels - number * block).clamp(min=1)
    step = extent / size
    centre = torch.arange(0.5, side, device=device)[:, None] * step
    weight = (1 - (number + 0.5 - centre).abs() / step.clamp(min=1)).clamp_(min=0).mul_(share)
    filters: Tensor = weight / weight.sum(dim=2, keepdim=True).clamp(min=1e-6)
    return filters


def _fit(shape: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(shape))
    height, width = (max(1, round(length * scale)) for length in shape)
    return height, width
