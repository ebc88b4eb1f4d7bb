"""The engine that compares with everything: exact, needs no training, and the yardstick of all others.

The scores of a product (1 − d²/2) are only good to about 1e-6, which is not enough to order copies of one picture. So
it proposes every row that could belong to the k nearest, given that error, and `Index` decides.

Products are computed by NumPy on the CPU and by torch on a GPU. NumPy, because importing torch takes seconds, which is
longer than all products of a small scan. On one thread both are about as fast; several blocks are shared out among
threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from neardup.pipeline.devices import has_cuda
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.index.proposer import Private, Status
from neardup.pipeline.index.rows import RowMap, RowNumbers
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.settings import usable_cores
from neardup.pipeline.types import Descriptors

Scores: TypeAlias = npt.NDArray[np.float32]
Block: TypeAlias = Any
"""float32 (rows, d), an array of whatever library computes with it."""
_BLOCK_ROWS = 16384
_SPARE = 8
"""Candidates beyond k, nearly always enough to see that no further row can tie with the k-th."""
_MOST_TIES = 4096
"""Of more rows than these within the error of the k-th score, the lowest are proposed."""


class Exact(Private):
    """Implements `Proposer` by brute force in memory: 4 d + 12 bytes per descriptor.

    Rows stand in blocks of `_BLOCK_ROWS`, always dense: a removed row's place is taken by the last one.
    """

    is_exact = True

    def __init__(self, vectors: VectorFile, products: Products) -> None:
        """Make an empty one that computes with `products`."""
        self._vectors = vectors
        self._products = products
        self._blocks: list[Block] = []
        self._rows = np.zeros(0, np.int64)  # by place
        self._places = RowMap(np.int32, -1)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def rows(self) -> RowNumbers:
        """The rows that are held, in any order."""
        return self._rows[: self._length]

    def add(self, rows: RowNumbers) -> None:
        """See `Proposer.add`."""
        end = self._length + len(rows)
        while len(self._blocks) * _BLOCK_ROWS < end:
            self._blocks.append(self._products.new_block(_BLOCK_ROWS, self._vectors.dimension))
        if end > len(self._rows):
            spare = max(end, 2 * self._length, 1024) - self._length
            self._rows = np.concatenate([self.rows, np.zeros(spare, np.int64)])
        for start in range(0, len(rows), _BLOCK_ROWS):
            some = rows[start : start + _BLOCK_ROWS]
            self._put(np.arange(self._length + start, self._length + start + len(some)), some, self._vectors.read(some))
        self._length = end

    def remove(self, rows: RowNumbers) -> None:
        """See `Proposer.remove`."""
        gone = self._places[rows].astype(np.int64)
        self._places[rows] = -1
        self._length -= len(gone)
        moved = np.setdiff1d(np.arange(self._length, self._length + len(gone)), gone, assume_unique=True)
        self._put(gone[gone < self._length], self._rows[moved], self._get(moved))
        del self._blocks[-(-self._length // _BLOCK_ROWS) :]

    def ask(self, queries: Descriptors, k: int, effort: int = 1) -> None:
        """See `Proposer.ask`: nothing."""

    def propose(self, queries: Descriptors, k: int, effort: int = 1) -> RowNumbers:  # noqa: ARG002
        """See `Proposer.propose`: the k nearest are always among the rows, however ties are resolved."""
        return self.propose_with_scores(queries, k)[0]

    def propose_with_scores(self, queries: Descriptors, k: int) -> tuple[RowNumbers, Scores]:
        """Return what `propose` does, and the most that the inner product of each can be; inf if not known."""
        queries = np.ascontiguousarray(queries)
        at_once = self._products.queries_at_once
        parts = [self._propose(queries[start : start + at_once], k) for start in range(0, len(queries), at_once)]
        shape = len(queries), max((rows.shape[1] for rows, _ in parts), default=0)
        result, known = np.full(shape, -1, np.int64), np.full(shape, np.inf, np.float32)
        for start, (rows, scores) in zip(range(0, len(queries), at_once), parts, strict=True):
            result[start : start + len(rows), : rows.shape[1]] = rows
            known[start : start + len(rows), : scores.shape[1]] = scores + np.float32(self._products.error)
        return result, known

    def read(self, rows: RowNumbers) -> Descriptors:
        """See `Proposer.read`."""
        return self._get(self._places[rows].astype(np.int64))

    def save(self, folder: Path) -> None:
        """See `Proposer.save`: nothing."""

    def load(self, folder: Path) -> RowNumbers:  # noqa: ARG002
        """See `Proposer.load`: nothing."""
        return np.empty(0, np.int64)

    def status(self) -> Status:
        """See `Proposer.status`."""
        return Status(tail=self._length, bytes=len(self._blocks) * _BLOCK_ROWS * self._vectors.dimension * 4)

    def close(self) -> None:
        """See `Proposer.close`."""
        self._blocks, self._length = [], 0

    def _propose(self, queries: Descriptors, k: int) -> tuple[RowNumbers, Scores]:
        """Return rows, and scores of the first of them."""
        if self._length == 0:
            return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
        blocks = self._filled()
        scores, places = self._products.best(queries, blocks, min(k + _SPARE, self._length))
        rows: RowNumbers = self._rows[places]
        if rows.shape[1] == self._length:
            return rows, scores
        least = scores[:, k - 1] - self._products.error
        more = {}
        for query in np.flatnonzero(scores[:, -1] >= least).tolist():
            reached = self._products.reaching(queries[query], blocks, float(least[query]))
            tied = np.sort(self._rows[reached])[:_MOST_TIES]
            more[query] = np.setdiff1d(tied, rows[query], assume_unique=True)
        width = max(map(len, more.values()), default=0)
        result = np.concatenate([rows, np.full((len(rows), width), -1, np.int64)], axis=1)
        for query, tied in more.items():
            result[query, rows.shape[1] : rows.shape[1] + len(tied)] = tied
        return result, scores

    def _filled(self) -> list[Block]:
        """Return the blocks without the unused end of the last one."""
        return [block[: self._length - number * _BLOCK_ROWS] for number, block in enumerate(self._blocks)]

    def _put(self, places: RowNumbers, rows: RowNumbers, vectors: Descriptors) -> None:
        self._rows[places] = rows
        self._places[rows] = places
        for number in np.unique(places // _BLOCK_ROWS).tolist():
            here = np.flatnonzero(places // _BLOCK_ROWS == number)
            self._products.put(self._blocks[number], places[here] - number * _BLOCK_ROWS, vectors[here])

    def _get(self, places: RowNumbers) -> Descriptors:
        if len(self._blocks) == 1:
            return self._products.get(self._blocks[0], places)
        vectors = np.empty((len(places), self._vectors.dimension), np.float32)
        for number in np.unique(places // _BLOCK_ROWS).tolist():
            here = np.flatnonzero(places // _BLOCK_ROWS == number)
            vectors[here] = self._products.get(self._blocks[number], places[here] - number * _BLOCK_ROWS)
        return vectors


class Products(Protocol):
    """What `Exact` needs of a device; places count from the first row of the first block.

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
