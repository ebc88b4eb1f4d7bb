"""The index: what is held of a vector file, and the nearest of a query, whatever engine proposes them.

Everything that a decision rests on is here, once: what comes in is checked before anything changes, what was removed is
never returned, and distances are computed from the stored vectors. An index belongs to one thread at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ShapeError, UsageError
from neardup.pipeline.files import naming
from neardup.pipeline.index import canary
from neardup.pipeline.index.distances import distances_to_rows
from neardup.pipeline.index.proposer import Proposed, Proposer, Status
from neardup.pipeline.index.rows import RowMap, RowNumbers
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.types import Descriptors, Neighbours

LENGTH_TOLERANCE = 1e-3
"""How far a row's length may be from 1: twice what rounding to float16 does to it."""


class Index:
    """Some rows of a vector file, found by their vectors.

    Distances are squared Euclidean, float32, computed by direct differences from the *stored* vectors (float16, brought
    back to unit length). Equal distances are ordered by id, lowest first. Ids are those that the vector file has for
    its rows: in the stream the numbers of the rows, for similar items those of the items.

    Attributes:
        proposer: the engine.
    """

    def __init__(
        self,
        vectors: VectorFile,
        proposer: Proposer,
        policy: canary.CanaryPolicy | None = canary.DEFAULT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make an empty index.

        Args:
            vectors: the file that the engine reads, too.
            policy: how many searches are checked for what the engine missed; None checks none.
        """
        self.proposer = proposer
        self._vectors = vectors
        self._held = RowMap(np.bool_, False)
        self._count = 0
        self._canary = None if policy is None else canary.Canary(policy, clock)

    @property
    def dimension(self) -> int:
        """d, the length of a descriptor."""
        return self._vectors.dimension

    def __len__(self) -> int:
        """Return how many rows can be found."""
        return self._count

    def __contains__(self, row: int) -> bool:
        """Return whether this row can be found."""
        return row >= 0 and bool(self._held[np.array(row)])

    def add(self, rows: RowNumbers) -> None:
        """Have rows of the vector file found from now on; one that was removed may be added again.

        Args:
            rows: int64 (n,), each once, in any order, in the file, none of them held.
        Raises:
            ShapeError: wrong shape or dtype.
            UsageError: a row that is not in the file, there twice, or held already; then nothing was added.
            DependencyError: the engine failed; then nothing was added.
        """
        _check_rows(rows)
        if len(rows) and rows.max() >= len(self._vectors):
            raise UsageError(f"row {rows.max()} is not in the vector file, which has {len(self._vectors)}")
        held = self._held[rows]
        if held.any():
            raise UsageError(f"rows already held: {_some(rows[held])}")
        self.proposer.add(rows)
        self._held[rows] = True
        self._count += len(rows)

    def remove(self, rows: RowNumbers) -> None:
        """Forget rows; no search from now on returns them.

        Args:
            rows: int64 (n,), each once, all held.
        Raises:
            ShapeError: wrong shape or dtype.
            UsageError: a row is there twice or is not held; then nothing was removed.
        """
        _check_rows(rows)
        held = self._held[rows]
        if not held.all():
            raise UsageError(f"rows not held: {_some(rows[~held])}")
        self._held[rows] = False
        self._count -= len(rows)
        self.proposer.remove(rows)

    def search(self, queries: Descriptors, k: int, effort: int = 1, spare: int = 0) -> Neighbours:
        """Return the k references closest to each query, nearest first, padded with id -1 and distance inf.

        An empty index returns padding only: the first search of a stream is no error. Among many rows at equal distance
        an approximate engine may propose some that do not have the lowest ids.

        Args:
            queries: float32 (n, d), rows of unit length; n may be 0.
            k: neighbours per query, 1 or more.
            effort: how many times as much an approximate engine looks at, 1 or more. 1 is enough for near-duplicates;
                the nearest of strangers are spread wider.
            spare: further neighbours that are returned, as far as the engine has named them anyway: up to `SPARE`.
        Raises:
            ShapeError: wrong shape or dtype, a value that is not finite, or a row whose length is not 1.
            UsageError: k is below 1.
        """
        if k < 1:
            raise UsageError(f"k is {k}, the least is 1")
        _check_queries(queries, self.dimension)
        proposed = self.proposer.propose(queries, k, effort)
        if not isinstance(proposed, Proposed):
            proposed = Proposed(proposed)
        rows = np.where(self._held[proposed.rows], proposed.rows, -1)
        found = self._rank(queries, rows, proposed.distances, k + spare)
        if self._canary is not None and not self.proposer.is_exact:
            self._canary.poll(self._vectors, self._held)
            self._canary.note(queries, found, len(self._vectors))
        return found

    def ask(self, queries: Descriptors, k: int, effort: int = 1) -> None:
        """Begin a search that `search` ends for the same queries, where the engine can do that by the way.

        Args, Raises: see `search`.
        """
        _check_queries(queries, self.dimension)
        self.proposer.ask(queries, k, effort)

    def save(self, folder: Path) -> None:
        """Write what the engine saves into a folder, which is made.

        Raises:
            DependencyError: the disk is full or failed.
        """
        with naming(folder, "write a searcher"):
            folder.mkdir()
        self.proposer.save(folder)

    def load(self, folder: Path) -> RowNumbers:
        """Take over, while empty, what `save` wrote over the same file; return the rows that can be found now."""
        rows = self.proposer.load(folder)
        self._held[rows] = True
        self._count = len(rows)
        return rows

    def settle(self, offset: int, leads: bool) -> None:
        """Take it that what is held stands for what is published up to an offset of the log; see `Proposer.settle`."""
        self.proposer.settle(offset, leads)

    def ready(self) -> bool:
        """Return whether a search need not wait for anything, after a moment of work on it."""
        return self.proposer.ready()

    def status(self) -> Status:
        """Return what there is to know."""
        status = self.proposer.status()
        return status if self._canary is None else replace(status, checked=self._canary.checked)

    def drop(self) -> None:
        """Release the engine, and delete what several processes share of it: nobody will search this again."""
        if self._canary is not None:
            self._canary.close()
        self.proposer.drop()

    def close(self) -> None:
        """Release the engine; the vector file stays open."""
        if self._canary is not None:
            self._canary.close()
        self.proposer.close()

    def _rank(
        self, queries: Descriptors, candidates: RowNumbers, known: npt.NDArray[np.float32] | None, k: int
    ) -> Neighbours:
        """Return the k nearest of each query's candidates (n, m), by distance, then id."""
        n, m = candidates.shape
        computed = distances_to_rows(self._read, queries, candidates) if known is None else known
        here = candidates >= 0
        if m > k:  # ids are read of those alone that may be among the k
            nearest = np.where(here, computed, np.float32(np.inf))
            here &= nearest <= np.partition(nearest, k - 1, axis=1)[:, k - 1, None]
        ids = np.full((n, max(m, k)), -1, np.int64)
        distances = np.full((n, max(m, k)), np.inf, np.float32)
        ids[:, :m][here] = self._vectors.ids(candidates[here])
        distances[:, :m][here] = computed[here]
        order = np.lexsort((ids, distances), axis=1)[:, :k]
        return Neighbours(np.take_along_axis(ids, order, 1), np.take_along_axis(distances, order, 1))

    def _read(self, rows: RowNumbers) -> Descriptors:
        stored = self.proposer.read(rows)
        return self._vectors.read(rows) if stored is None else stored


def _check_queries(queries: Descriptors, dimension: int) -> None:
    if not isinstance(queries, np.ndarray) or queries.dtype != np.float32:
        raise ShapeError(f"descriptors are {_kind(queries)}, the index takes float32 arrays")
    if queries.ndim != 2 or queries.shape[1] != dimension:
        raise ShapeError(f"descriptors have shape {queries.shape}, the index takes (n, {dimension})")
    lengths = np.sqrt(np.einsum("nd,nd->n", queries, queries))
    wrong = ~(np.abs(lengths - 1.0) <= LENGTH_TOLERANCE)  # negated, so that NaN is wrong
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ShapeError(f"descriptor {row} has length {lengths[row]}, the index takes unit vectors")


def _check_rows(rows: RowNumbers) -> None:
    if not isinstance(rows, np.ndarray) or rows.dtype != np.int64:
        raise ShapeError(f"rows are {_kind(rows)}, the index takes int64 arrays")
    if rows.ndim != 1:
        raise ShapeError(f"rows have shape {rows.shape}, the index takes (n,)")
    if len(rows) and rows.min() < 0:
        raise UsageError(f"row {rows.min()} is negative")
    in_order = np.sort(rows)
    twice = in_order[1:][in_order[1:] == in_order[:-1]]
    if len(twice):
        raise UsageError(f"rows given twice: {_some(twice)}")


def _some(rows: RowNumbers) -> str:
    """Return the first few rows for a message."""
    return ", ".join(map(str, rows[:5].tolist())) + (f", … ({len(rows)} in all)" if len(rows) > 5 else "")


def _kind(value: object) -> str:
    return f"a {value.dtype} array" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
