"""A ScaNN searcher over the rows that there were at one moment: immutable, disposable, in a process of its own.

ScaNN only proposes. It numbers its points from 0; `Generation` maps them to rows, drops those that were removed since,
and looks further where too few are left. Its process also compares with newer rows, so that the caller need not; they
are handed over with the next question, and what was asked before does not know them.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.files import naming
from neardup.pipeline.index.proposer import Proposed
from neardup.pipeline.index.rows import RowMap, RowNumbers
from neardup.pipeline.index.scann.build_process import Tree
from neardup.pipeline.index.scann.searcher import NO_ROWS, Searcher
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.types import Descriptors

_SPARE = 8
"""Candidates beyond k: bfloat16 orders copies of one picture only roughly."""
_PREORDER = 100
_WIDEN = 4
_SEARCHER = "scann"
_ROWS = "scann-ids.npy"
_TREE = "scann-tree.json"
_MOST_PARTS = 256
_NO_DISTANCES = np.empty((0, 1), np.float32)
_Answer: TypeAlias = tuple[RowNumbers, npt.NDArray[np.float32], RowNumbers, npt.NDArray[np.float32]]
"""Rows of the searcher and their distances, (n, m), newer rows and theirs, (n, t); -1 and NaN where there is none."""


class Generation:
    """A searcher with the row of each of its points.

    It takes time to load and to let go: make and `discard` one in a thread where others wait.

    Attributes:
        live: how many of its rows are still held.
        bytes: how much memory the searcher takes, by its files.
    """

    def __init__(self, folder: Path, rows: RowNumbers, tree: Tree, vectors: VectorFile | None = None) -> None:
        """Load what a build wrote.

        Args:
            folder: with the searcher's files; deleted by `discard`.
            rows: int64 (points,), -1 for a point whose row is gone.
            vectors: which hold the rows; None where the searcher need not compute distances.
        Raises:
            DependencyError: ScaNN cannot read it, or it holds another number of points.
        """
        self.folder, self.tree = folder, tree
        self._rows = rows
        self._held = RowMap(np.bool_, False)
        held = rows[rows >= 0]
        self._held[held] = True
        self.live = len(held)
        self._vectors = vectors
        self._newer = RowMap(np.bool_, False)
        self._newer_count = 0
        self._handed: list[RowNumbers] = []
        self._come: dict[int, None] = {}  # what the process has not heard of yet
        self._gone: list[int] = []
        self._asked: tuple[Descriptors, int, int] = (np.empty((0, 0), np.float32), 0, 0)
        self._of_ahead = np.empty(0, np.int64)  # of each query asked, its place among those asked ahead, or -1
        self._ahead: _Ahead | None = None
        with naming(folder, "look at a searcher"):
            self.bytes = sum(path.stat().st_size for path in folder.iterdir())
        self._searcher = Searcher(folder, None if vectors is None else (vectors, rows))
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

    # -- newer rows --------------------------------------------------------------------------------------------------

    @property
    def takes_newer(self) -> bool:
        """Whether it compares with newer rows: where its process reads the vector file."""
        return self._searcher.is_exact and self._vectors is not None and not self._vectors.unwritten_bytes

    @property
    def newer_rows(self) -> RowNumbers:
        """The newer rows that it was given and that are still held."""
        rows = np.unique(np.concatenate([NO_ROWS, *self._handed]))
        held: RowNumbers = rows[self._newer[rows]]
        return held

    @property
    def newer_count(self) -> int:
        """How many these are."""
        return self._newer_count

    @property
    def bytes_in_all(self) -> int:
        """How much memory the searcher takes, with the newer rows."""
        return self.bytes + (0 if self._vectors is None else 4 * self._vectors.dimension * self._newer_count)

    def hand_over(self, rows: RowNumbers) -> None:
        """Compare with newer rows, none of them held, too; where it `takes_newer`."""
        if not len(rows):
            return
        self._forget_ahead()
        self._newer[rows] = True
        self._newer_count += len(rows)
        self._handed = [*self._handed, rows] if len(self._handed) < _MOST_PARTS else [self.newer_rows]
        self._come.update(dict.fromkeys(rows.tolist()))

    def is_newer(self, rows: RowNumbers) -> npt.NDArray[np.bool_]:
        """Return whether each row is a newer one that it was given and is still held."""
        return self._newer[rows]

    def remove_newer(self, rows: RowNumbers) -> None:
        """Let go of newer rows, all of them held."""
        self._newer[rows] = False
        self._newer_count -= len(rows)
        for row in rows.tolist():
            if row in self._come:
                del self._come[row]
            else:
                self._gone.append(row)

    # -- searching ---------------------------------------------------------------------------------------------------

    def ask(self, queries: Descriptors, k: int, effort: int = 1) -> None:
        """Begin a search, float32 (n, d), n above 0, that `candidates` ends.

        Args:
            effort: see `Proposer.propose`.
        Raises:
            DependencyError: the searcher is gone; also of `candidates`.
        """
        leaves = min(effort * self.tree.searched, self.tree.leaves)
        self._asked = queries, k, leaves
        ahead = self._ahead
        known = ahead is not None and (ahead.k, ahead.leaves) == (k, leaves)
        self._of_ahead = ahead.places(queries) if ahead is not None and known else np.full(len(queries), -1)
        if (self._of_ahead < 0).any():
            self._collect()
            self._send(queries[self._of_ahead < 0], k + _SPARE, leaves)

    def ask_ahead(self, queries: Descriptors, k: int, effort: int = 1) -> None:
        """Begin a search that later ones of the same queries are answered from; it takes the place of the one before.

        Args, Raises: see `ask`.
        """
        self._collect()
        self._ahead = _Ahead(queries, k, min(effort * self.tree.searched, self.tree.leaves))
        self._send(queries, k + _SPARE, self._ahead.leaves)

    def candidates(self) -> Proposed:
        """Return rows (n, m), held, that nearly always hold the k nearest of what was asked; -1 is padding.

        Newer ones that it was given are among them.
        """
        queries, k, leaves = self._asked
        width = min(k + _SPARE, len(self))
        result = np.full((len(queries), width), -1, np.int64)
        distances = np.full(result.shape, np.nan, np.float32)
        shape = len(queries), k + _SPARE
        newer = np.full(shape, -1, np.int64), np.full(shape, np.nan, np.float32)
        asked, known = np.flatnonzero(self._of_ahead < 0), np.flatnonzero(self._of_ahead >= 0)
        if len(asked):
            result[asked], distances[asked], rows, away = self._receive()
            _put(newer, asked, rows, away)
        if len(known):
            place = self._of_ahead[known]
            older, of_older, rows, away = self._collect()
            result[known], distances[known] = older[place], of_older[place]
            _put(newer, known, rows[place], away[place])
        # of those that were near, more may have gone since than there are spare ones
        few = np.flatnonzero(self._newer[newer[0]].sum(axis=1) < min(k, self._newer_count))
        if len(few):
            self._collect()
            self._send(queries[few], k + _SPARE, leaves)
            _, _, rows, away = self._receive()
            _put(newer, few, rows, away)
        result = np.where(self._held[result], result, -1)
        while width < len(self) or leaves < self.tree.leaves:
            short = np.flatnonzero((result >= 0).sum(axis=1) < min(k, self.live))
            if len(short) == 0:
                break
            width, leaves = min(width * _WIDEN, len(self)), min(leaves * _WIDEN, self.tree.leaves)
            more = (0, 0), (0, width - result.shape[1])
            result, distances = (
                np.pad(result, more, constant_values=-1),
                np.pad(distances, more, constant_values=np.nan),
            )
            self._send(queries[short], width, leaves)
            rows, distances[short], _, _ = self._receive()
            result[short] = np.where(self._held[rows], rows, -1)
        if not self._searcher.is_exact:
            return Proposed(result)
        newer_rows = np.where(self._newer[newer[0]], newer[0], -1)
        return Proposed(np.concatenate([result, newer_rows], axis=1), np.concatenate([distances, newer[1]], axis=1))

    def again(self) -> Generation:
        """Return the same, its process started anew.

        Raises:
            DependencyError: that failed.
        """
        self._searcher.close()
        again = Generation(self.folder, self._marked(), self.tree, self._vectors)
        again.hand_over(self.newer_rows)
        return again

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
        """Ask for so many points, or all of them, and for as many newer rows."""
        gone, come = np.array(self._gone, np.int64), np.fromiter(self._come, np.int64, len(self._come))
        self._gone, self._come = [], {}
        preorder = max(_PREORDER, 2 * min(count, len(self)))
        self._searcher.ask(queries, count, preorder, leaves, gone, come)

    def _receive(self) -> _Answer:
        points, distances, newer, away = self._searcher.answer()
        # Fewer hits than asked for come as point 0 with distance NaN.
        return np.where(np.isnan(distances), -1, self._rows[points]), distances, newer, away

    def _forget_ahead(self) -> None:
        """Drop what was asked ahead, once it is here."""
        self._collect()
        self._ahead = None

    def _collect(self) -> _Answer:
        """Return what was asked ahead, waiting for it where that is still to come."""
        if self._ahead is None:
            return NO_ROWS[:, None], _NO_DISTANCES, NO_ROWS[:, None], _NO_DISTANCES
        if self._ahead.found is None:
            self._ahead.found = self._receive()
        return self._ahead.found


def _put(
    newer: tuple[RowNumbers, npt.NDArray[np.float32]],
    where: RowNumbers,
    rows: RowNumbers,
    distances: npt.NDArray[np.float32],
) -> None:
    """Write newer rows and distances into the rows of a table, the rest of which is padding."""
    newer[0][where], newer[1][where] = -1, np.nan
    newer[0][where, : rows.shape[1]], newer[1][where, : rows.shape[1]] = rows, distances


class _Ahead:
    """Queries that were asked before their turn.

    Attributes:
        k, leaves: what they were asked with. found: the answer, once it is here.
    """

    def __init__(self, queries: Descriptors, k: int, leaves: int) -> None:
        self.k, self.leaves = k, leaves
        self.found: _Answer | None = None
        self._place_of = {query.tobytes(): place for place, query in enumerate(queries)}

    def places(self, queries: Descriptors) -> RowNumbers:
        """Return the place of each of some queries among them, -1 for those that were not asked."""
        return np.array([self._place_of.get(query.tobytes(), -1) for query in queries], np.int64)


def restore(saved: Path, folder: Path, vectors: VectorFile) -> Generation | None:
    """Load the generation that `Generation.copy` wrote into `saved`, from a copy in `folder`; None if there is none.

    Args:
        vectors: which hold the rows.
    """
    if not (saved / _TREE).exists():
        return None
    try:
        tree = msgspec.json.decode((saved / _TREE).read_bytes(), type=Tree)
        rows = np.load(saved / _ROWS, allow_pickle=False)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(f"{saved}: the saved searcher cannot be read: {error}") from error
    if rows.max(initial=-1) >= len(vectors):
        raise ConfigError(f"{saved}: the saved searcher holds row {rows.max()} of {len(vectors)}")
    with naming(folder, "copy a searcher"):
        shutil.copytree(saved / _SEARCHER, folder, copy_function=_link)
    return Generation(folder, rows, tree, vectors)


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
