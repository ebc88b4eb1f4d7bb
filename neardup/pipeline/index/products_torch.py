"""Scores and the best of them in torch, for a GPU; see `exact`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from neardup.pipeline.index.exact import Block, Scores
from neardup.pipeline.index.rows import RowNumbers
from neardup.pipeline.types import Descriptors


class TorchProducts:
    """Implements `Products` on a device of torch."""

    queries_at_once = 256  # × 16,384 rows: 16 MB of scores

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)

    @property
    def error(self) -> float:
        """See `Products`: it depends on the precision that torch multiplies in."""
        return 1e-5 if torch.get_float32_matmul_precision() == "highest" else 1e-2

    def new_block(self, rows: int, dimension: int) -> Block:
        """See `Products`."""
        return torch.empty(rows, dimension, device=self._device)

    def put(self, block: Block, rows: RowNumbers, vectors: Descriptors) -> None:
        """See `Products`."""
        block[self._there(rows)] = self._there(vectors)

    def get(self, block: Block, rows: RowNumbers) -> Descriptors:
        """See `Products`."""
        vectors: Descriptors = block[self._there(rows)].cpu().numpy()
        return vectors

    def best(self, queries: Descriptors, blocks: Sequence[Block], count: int) -> tuple[Scores, RowNumbers]:
        """See `Products`."""
        there = self._there(queries)
        scores = there.new_empty((len(there), 0))
        places = torch.empty((len(there), 0), dtype=torch.int64, device=self._device)
        start = 0
        for block in blocks:
            score, place = torch.topk(there @ block.T, min(count, len(block)), dim=1)
            scores, places = torch.cat([scores, score], dim=1), torch.cat([places, place + start], dim=1)
            if scores.shape[1] > count:
                scores, best = torch.topk(scores, count, dim=1)
                places = places.gather(1, best)
            start += len(block)
        scores, order = torch.sort(scores, dim=1, descending=True)
        return scores.cpu().numpy(), places.gather(1, order).cpu().numpy()

    def reaching(self, query: Descriptors, blocks: Sequence[Block], least: float) -> RowNumbers:
        """See `Products`."""
        there = self._there(query)
        found: RowNumbers = torch.nonzero(torch.cat([block @ there for block in blocks]) >= least)[:, 0].cpu().numpy()
        return found

    def _there(self, values: Descriptors | RowNumbers) -> Tensor:
        return torch.from_numpy(np.require(values, requirements=["C", "W"])).to(self._device)
