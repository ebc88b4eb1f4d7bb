"""Scores of queries with blocks of rows, and the best of them: NumPy on the CPU, torch on a GPU.

NumPy, because importing torch takes seconds, which is longer than all products of a small scan. On one thread both are
about as fast; several blocks are shared out among threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from neardup.pipeline.devices import has_cuda
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.index.rows import RowNumbers
from neardup.pipeline.settings import usable_cores
from neardup.pipeline.types import Descriptors

Scores: TypeAlias = npt.NDArray[np.float32]
Block: TypeAlias = Any
"""float32 (rows, d), an array of whatever library computes with it."""


class Products(Protocol):
    """What `exact.Exact` needs of a device; places count from the first row of the first block.

    Attributes:
        queries_at_once: so many bound the memory of scores.
        error: how far two scores may be out together.
    """

    queries_at_once: int

    @property
    def error(self) -> float: ...

    def new_block(self, rows: int, dimension: int) -> Block:
        """Return memory for rows, with anything in it."""

    def put(self, block: Block, rows: RowNumbers, vectors: Descriptors) -> None:
        """Write vectors, float32 (n, d), to these rows of a block."""

    def get(self, block: Block, rows: RowNumbers) -> Descriptors:
        """Return these rows of a block, float32 (n, d)."""

    def best(self, queries: Descriptors, blocks: Sequence[Block], count: int) -> tuple[Scores, RowNumbers]:
        """Return the `count` highest scores of queries (n, d) and their places, (n, count), highest first."""

    def reaching(self, query: Descriptors, blocks: Sequence[Block], least: float) -> RowNumbers:
        """Return the places whose score with one query (d,) is `least` or more, (m,)."""


class NumpyProducts:
    """Implements `Products` on the CPU."""

    queries_at_once = 64  # × 16,384 rows: 12 MB of scores and their order for each thread
    error = 1e-5

    def new_block(self, rows: int, dimension: int) -> Block:
        """See `Products`."""
        return np.empty((rows, dimension), np.float32)

    def put(self, block: Block, rows: RowNumbers, vectors: Descriptors) -> None:
        """See `Products`."""
        block[rows] = vectors

    def get(self, block: Block, rows: RowNumbers) -> Descriptors:
        """See `Products`."""
        vectors: Descriptors = block.take(rows, axis=0)
        return vectors

    def best(self, queries: Descriptors, blocks: Sequence[Block], count: int) -> tuple[Scores, RowNumbers]:
        """See `Products`."""

        def best_of(block: Block) -> tuple[Scores, RowNumbers]:
            scores = queries @ block.T
            places = _highest(scores, count)
            return np.take_along_axis(scores, places, 1), places

        threads = min(len(blocks), usable_cores())
        found = list(map(best_of, blocks) if threads < 2 else _threads().map(best_of, blocks))
        starts = np.cumsum([0, *map(len, blocks)])
        scores = np.concatenate([score for score, _ in found], axis=1)
        places = np.concatenate([place + start for (_, place), start in zip(found, starts, strict=False)], axis=1)
        chosen = _highest(scores, count)
        order = np.take_along_axis(chosen, np.argsort(-np.take_along_axis(scores, chosen, 1), axis=1), 1)
        return np.take_along_axis(scores, order, 1), np.take_along_axis(places, order, 1)

    def reaching(self, query: Descriptors, blocks: Sequence[Block], least: float) -> RowNumbers:
        """See `Products`."""
        return np.flatnonzero(np.concatenate([block @ query for block in blocks]) >= least)


def make_products(device: str) -> Products:
    """Return the products of a device that `pick_device` named."""
    if device == "cpu":
        return NumpyProducts()
    from neardup.pipeline.index.products_torch import TorchProducts

    return TorchProducts(device)


def pick_device(device: str) -> str:
    """Return "cpu" or "cuda"; of "auto", the latter where there is a GPU.

    Raises:
        ConfigError: another name, or there is no GPU.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device {device!r}: expected auto, cpu, or cuda where there is a CUDA GPU")
    cuda = device != "cpu" and has_cuda(certain=device == "cuda")
    if device == "cuda" and not cuda:
        raise ConfigError("device 'cuda': torch finds no CUDA GPU; expected auto or cpu")
    return "cuda" if cuda else "cpu"


def _highest(scores: Scores, count: int) -> RowNumbers:
    """Return the columns of the `count` highest scores of each row, (n, count) or all, in any order."""
    width = scores.shape[1]
    if width <= count:
        return np.broadcast_to(np.arange(width), scores.shape)
    return np.argpartition(scores, width - count, axis=1)[:, width - count :]


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(usable_cores(), thread_name_prefix="products")
