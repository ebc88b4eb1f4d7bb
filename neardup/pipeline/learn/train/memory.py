"""A cross-batch memory: descriptors of earlier batches, which serve as positives and negatives without a gradient.

Source: Wang et al. 2020, arXiv:1912.06798 (XBM). Descriptors drift fast at first, and stale ones then push everything
one way: fill the memory from the start, and use it once the network has settled.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Memory(nn.Module):
    """The last `size` rows, oldest replaced first; its state dict goes on where it was."""

    rows: Tensor
    keys: Tensor
    written: Tensor

    def __init__(self, size: int, dimension: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(size, dimension))
        self.register_buffer("keys", torch.full((size,), -1, dtype=torch.int64))
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))

    def add(self, rows: Tensor, keys: Tensor) -> None:
        """Store rows (n, d) and what they show, int64 (n,); of more than fit, the last."""
        size = len(self.rows)
        if size == 0:
            return
        rows, keys = rows.detach()[-size:], keys[-size:]
        places = (int(self.written) + torch.arange(len(rows), device=self.rows.device)) % size
        self.rows[places] = rows.to(self.rows.dtype)
        self.keys[places] = keys.to(self.keys.device)
        self.written += len(rows)

    def held(self) -> tuple[Tensor, Tensor]:
        """Return the rows (m, d) and keys (m,) that are stored."""
        count = min(int(self.written), len(self.rows))
        return self.rows[:count], self.keys[:count]
