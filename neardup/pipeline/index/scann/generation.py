"""A ScaNN searcher over the rows that there were at one moment: immutable, disposable, in a process of its own.

ScaNN only proposes. It numbers its points from 0; `Generation` maps them to rows, drops those that were removed since,
and looks further where too few are left.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.files import naming
from neardup.pipeline.index.rows import RowMap, RowNumbers
from neardup.pipeline.index.scann.build_process import Tree
from neardup.pipeline.index.scann.searcher import Searcher
from neardup.pipeline.types import Descriptors

_SPARE = 8
"""Candidates beyond k: bfloat16 orders copies of one picture only roughly."""
_PREORDER = 100
_WIDEN = 4
_SEARCHER = "scann"
_ROWS = "scann-ids.npy"
_TREE = "scann-tree.json"


class Generation:
    """A searcher with the row of each of its points.

    It takes time to load and to let go: make and `discard` one in a thread where others wait.

    Attributes:
        live: how many of its rows are still held.
        bytes: how much memory the searcher takes, by its files.
    """

    def __init__(self, folder: Path, rows: RowNumbers, tree: Tree) -> None:
        """Load what a build wrote.

        Args:
            folder: with the searcher's files; deleted by `discard`.
            rows: int64 (points,), -1 for a point whose row is gone.
        Raises:
            DependencyError: ScaNN cannot read it, or it holds another number of points.
        """
        self.folder, self.tree = folder, tree
        self._rows = rows
        self._held = RowMap(np.bool_, False)
        held = rows[rows >= 0]
        self._held[held] = True
        self.live = len(held)
        self._asked: tuple[Descriptors, int, int] = (np.empty((0, 0), np.float32), 0, 0)
        with naming(folder, "look at a searcher"):
            self.bytes = sum(path.stat().st_size for path in folder.iterdir())
        self._searcher = Searcher(folder)
        if self._searcher.size != len(rows):
            self._searcher.close()
            raise DependencyError(f"{folder}: holds {self._searcher.size} points, expected {len(rows)}")

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> RowNumbers:
        """The rows that are still held."""
        held: RowNumbers = self._rows[self._held[self._rows]]
        return held

    def holds(self, rows: RowNumbers) -> npt.NDArray[np.bool_]:
        """Return whether each row is one of its own and still held; rows of any shape, -1 is none."""
        return self._held[rows]

    def remove(self, rows: RowNumbers) -> None:
        """Let go of those of these rows that it holds."""
        gone = np.unique(rows[self._held[rows]])
        self._held[gone] = False
        self.live -= len(gone)

    def ask(self, queries: Descriptors, k: int, effort: int = 1) -> None:
        """Begin a search, float32 (n, d), n above 0, that `candidates` ends.

        Args:
            effort: see `Proposer.propose`.
        Raises:
            DependencyError: the searcher is gone; also of `candidates`.
        """
        leaves = min(effort * self.tree.searched, self.tree.leaves)
        self._asked = queries, k, leaves
        self._send(queries, min(k + _SPARE, len(self)), leaves)

    def candidates(self) -> RowNumbers:
        """Return rows (n, m), held, that nearly always hold the k nearest of what was asked; -1 is padding."""
        queries, k, leaves = self._asked
        width = min(k + _SPARE, len(self))
        result = self._receive()
        while width < len(self) or leaves < self.tree.leaves:
            short = np.flatnonzero((result >= 0).sum(axis=1) < min(k, self.live))
            if len(short) == 0:
                break
            width, leaves = min(width * _WIDEN, len(self)), min(leaves * _WIDEN, self.tree.leaves)
            result = np.pad(result, ((0, 0), (0, width - result.shape[1])), constant_values=-1)
            self._send(queries[short], width, leaves)
            result[short] = self._receive()
        return result

    def again(self) -> Generation:
        """Return the same, its process started anew.

        Raises:
            DependencyError: that failed.
        """
        self._searcher.close()
        return Generation(self.folder, self._marked(), self.tree)

    def copy(self, folder: Path) -> None:
        """Write this generation with the row of each point, -1 where it was removed."""
        shutil.copytree(self.folder, folder / _SEARCHER, copy_function=_link)
        np.save(folder / _ROWS, self._marked())
        (folder / _TREE).write_bytes(msgspec.json.encode(self.tree))

    def discard(self) -> None:
        """End the process and delete the files."""
        self._searcher.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _marked(self) -> RowNumbers:
        return np.where(self._held[self._rows], self._rows, -1)

    def _send(self, queries: Descriptors, count: int, leaves: int) -> None:
        self._searcher.ask(queries, count, max(_PREORDER, 2 * count), leaves)

    def _receive(self) -> RowNumbers:
        points, distances = self._searcher.answer()
        rows = self._rows[points]
        # Fewer hits than asked for come as point 0 with distance NaN.
        return np.where(self._held[rows] & ~np.isnan(distances), rows, -1)


def restore(saved: Path, folder: Path, length: int) -> Generation | None:
    """Load the generation that `Generation.copy` wrote into `saved`, from a copy in `folder`; None if there is none.

    Args:
        length: of the vector file.
    """
    if not (saved / _TREE).exists():
        return None
    try:
        tree = msgspec.json.decode((saved / _TREE).read_bytes(), type=Tree)
        rows = np.load(saved / _ROWS, allow_pickle=False)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(f"{saved}: the saved searcher cannot be read: {error}") from error
    if rows.max(initial=-1) >= length:
        raise ConfigError(f"{saved}: the saved searcher holds row {rows.max()} of {length}")
    with naming(folder, "copy a searcher"):
        shutil.copytree(saved / _SEARCHER, folder, copy_function=_link)
    return Generation(folder, rows, tree)


def import_scann() -> Any:
    """Return ScaNN's module of searchers.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        from scann.scann_ops.py import scann_ops_pybind
    except ImportError as error:
        raise ConfigError(
            f"index is 'scann': the package scann is missing, which exists for Linux only ({error}); use 'exact'"
        ) from error
    return scann_ops_pybind


def _link(source: str, target: str) -> None:
    """Copy a file that never changes: as a second name where the file system can, else byte by byte."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
