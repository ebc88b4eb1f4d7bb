"""A ScaNN searcher over the rows that there were at one moment: immutable, disposable, in a process of its own.

ScaNN only proposes. It numbers its points from 0; `Generation` maps them to rows, drops those that were removed since,
and looks further where too few are left.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.files import naming
from neardup.pipeline.index.scann.build_process import Tree
from neardup.pipeline.index.scann.searcher import Searcher
from neardup.pipeline.index.store import RowNumbers, Store
from neardup.pipeline.types import Descriptors, Ids

_SPARE = 8
"""Candidates beyond k: bfloat16 orders copies of one picture only roughly."""
_PREORDER = 100
_WIDEN = 4
_SEARCHER = "scann"
_IDS = "scann-ids.npy"
_TREE = "scann-tree.json"


class Generation:
    """A searcher with the row of each of its points.

    It takes time to load and to let go: make and `discard` one in a thread where others wait.

    Attributes:
        end: the first row that is newer than all of its own.
        live: how many of its rows can still be found; kept up to date by `forget`.
        bytes: how much memory the searcher takes, by its files.
    """

    def __init__(self, folder: Path, rows: RowNumbers, end: int, tree: Tree) -> None:
        """Load what a build wrote.

        Args:
            folder: with the searcher's files; deleted by `discard`.
            rows: int64 (points,), -1 for a point whose row is gone.
        Raises:
            DependencyError: ScaNN cannot read it, or it holds another number of points.
        """
        self.folder, self.end, self.tree, self.live = folder, end, tree, len(rows)
        self._rows = rows
        self._asked: tuple[Descriptors, int, int] = (np.empty((0, 0), np.float32), 0, 0)
        with naming(folder, "look at a searcher"):
            self.bytes = sum(path.stat().st_size for path in folder.iterdir())
        self._searcher = Searcher(folder)
        if self._searcher.size != len(rows):
            self._searcher.close()
            raise DependencyError(f"{folder}: holds {self._searcher.size} points, expected {len(rows)}")

    def __len__(self) -> int:
        return len(self._rows)

    def count_live(self, store: Store) -> None:
        """Set `live`, once, from what was removed while the searcher was being built."""
        self.live = int(self._is_alive(self._rows, store).sum())

    def forget(self, rows: RowNumbers) -> None:
        """Take note that rows, some of them older than `end`, were removed."""
        self.live -= int((rows < self.end).sum())

    def ask(self, queries: Descriptors, k: int, effort: int = 1) -> None:
        """Begin a search, float32 (n, d), n above 0, that `candidates` ends.

        Args:
            effort: see `Index.search`.
        Raises:
            DependencyError: the searcher is gone; also of `candidates`.
        """
        leaves = min(effort * self.tree.searched, self.tree.leaves)
        self._asked = queries, k, leaves
        self._send(queries, min(k + _SPARE, len(self)), leaves)

    def candidates(self, store: Store) -> RowNumbers:
        """Return rows (n, m), alive, that nearly always hold the k nearest of what was asked; -1 is padding."""
        queries, k, leaves = self._asked
        width = min(k + _SPARE, len(self))
        result = self._receive(store)
        while width < len(self) or leaves < self.tree.leaves:
            short = np.flatnonzero((result >= 0).sum(axis=1) < min(k, self.live))
            if len(short) == 0:
                break
            width, leaves = min(width * _WIDEN, len(self)), min(leaves * _WIDEN, self.tree.leaves)
            result = np.pad(result, ((0, 0), (0, width - result.shape[1])), constant_values=-1)
            self._send(queries[short], width, leaves)
            result[short] = self._receive(store)
        return result

    def again(self, store: Store) -> Generation:
        """Return the same, its process started anew.

        Raises:
            DependencyError: that failed.
        """
        self._searcher.close()
        generation = Generation(self.folder, self._rows, self.end, self.tree)
        generation.count_live(store)
        return generation

    def copy(self, folder: Path, store: Store) -> None:
        """Write this generation with the id of each point, -1 where it was removed."""
        ids = np.where(self._is_alive(self._rows, store), store.vectors.ids(self._rows), -1)
        shutil.copytree(self.folder, folder / _SEARCHER, copy_function=_link)
        np.save(folder / _IDS, ids)
        (folder / _TREE).write_bytes(msgspec.json.encode(self.tree))

    def discard(self) -> None:
        """End the process and delete the files."""
        self._searcher.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _send(self, queries: Descriptors, count: int, leaves: int) -> None:
        self._searcher.ask(queries, count, max(_PREORDER, 2 * count), leaves)

    def _receive(self, store: Store) -> RowNumbers:
        points, distances = self._searcher.answer()
        rows = self._rows[points]
        # Fewer hits than asked for come as point 0 with distance NaN.
        return np.where(self._is_alive(rows, store) & ~np.isnan(distances), rows, -1)

    @staticmethod
    def _is_alive(rows: RowNumbers, store: Store) -> npt.NDArray[np.bool_]:
        return (rows >= 0) & store.is_alive(rows)


def restore(saved: Path, folder: Path, take_in: Callable[[Ids], RowNumbers]) -> Generation | None:
    """Load the generation that `Generation.copy` wrote into `saved`, from a copy in `folder`; None if there is none.

    Args:
        take_in: stores ids, before all others, and returns their rows.
    """
    if not (saved / _TREE).exists():
        return None
    try:
        tree = msgspec.json.decode((saved / _TREE).read_bytes(), type=Tree)
        points = np.load(saved / _IDS, allow_pickle=False)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(f"{saved}: the saved searcher cannot be read: {error}") from error
    held = points >= 0
    points[held] = rows = take_in(points[held])
    with naming(folder, "copy a searcher"):
        shutil.copytree(saved / _SEARCHER, folder, copy_function=_link)
    return Generation(folder, points, len(rows), tree)


def import_scann() -> Any:
    """Return ScaNN's module of searchers.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        from scann.scann_ops.py import scann_ops_pybind
    except ImportError as error:
        raise ConfigError(
            f'index kind "scann" needs the package scann, which exists for Linux only ({error}); use kind "exact"'
        ) from error
    return scann_ops_pybind


def _link(source: str, target: str) -> None:
    """Copy a file that never changes: as a second name where the file system can, else byte by byte."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
