"""A ScaNN searcher over the rows that there were at one moment, in a process of its own, and newer rows beside them.

ScaNN only proposes. `Generation` drops the rows that were removed since, and looks further where too few are left.
Newer rows are handed over with the next question, and what was asked before does not know them; the process compares
with the newest one by one and lets the others join ScaNN's tree (`serve_process`). What is on the disk stays as it was
built, so a process that is started again begins from there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ConfigError
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
_ALL = 2**32 - 1
_NO_DISTANCES = np.empty((0, 1), np.float32)
_Answer: TypeAlias = tuple[RowNumbers, npt.NDArray[np.float32]]
"""Rows and their distances, (n, m); -1 and NaN where there is none."""


class Generation:
    """A searcher with the row of each of its points.

    It takes time to load and to let go: make and `discard` one in a thread where others wait.

    Attributes:
        live: how many of the rows that it was built over are still held.
        newer_count: how many newer rows are held.
        has_gone: whether vectors may be in it whose rows were removed.
        bytes: how much memory the searcher takes, by its files.
    """

    def __init__(
        self,
        folder: Path,
        rows: RowNumbers,
        tree: Tree,
        vectors: VectorFile | None = None,
        keep: int = _ALL,
    ) -> None:
        """Load what a build wrote.

        Args:
            folder: with the searcher's files; deleted by `discard`.
            rows: int64 (points,), -1 for a point whose row is gone.
            vectors: which hold the rows; None where the searcher need not compute distances.
            keep: newer rows that are compared one by one; more of them join ScaNN's tree.
        Raises:
            DependencyError: ScaNN cannot read it, or it holds another number of points.
        """
        self.folder, self.tree = folder, tree
        self._rows, self._keep = rows, keep
        built = rows[rows >= 0]
        self._built, self._held, self._newer = (RowMap(np.bool_, False) for _ in range(3))
        self._built[built] = self._held[built] = True
        self.live, self.newer_count, self._ever_newer = len(built), 0, 0
        self.has_gone = self.live < len(rows)
        self._vectors = vectors
        self._handed: list[RowNumbers] = []
        self._come: dict[int, None] = {}  # what the process has not heard of yet
        self._gone: list[int] = []
        self._asked: tuple[Descriptors, int, int] = (np.empty((0, 0), np.float32), 0, 0)
        self._of_ahead = np.empty(0, np.int64)  # of each query asked, its place among those asked ahead, or -1
        self._ahead: _Ahead | None = None
        with naming(folder, "look at a searcher"):
            self.bytes = sum(path.stat().st_size for path in folder.iterdir())
        self._searcher = Searcher(folder, rows, vectors)

    def __len__(self) -> int:
        """Return how many points it was built over."""
        return len(self._rows)

    @property
    def rows(self) -> RowNumbers:
        """All rows that are held, newer ones at the end."""
        built = self._rows[self._held[self._rows]]
        return np.concatenate([built, self.newer_rows])

    @property
    def newer_rows(self) -> RowNumbers:
        """The newer rows that are held."""
        rows = np.unique(np.concatenate([NO_ROWS, *self._handed]))
        held: RowNumbers = rows[self._newer[rows]]
        return held

    @property
    def bytes_in_all(self) -> int:
        """How much memory the searcher takes, with the newer rows."""
        return self.bytes + self.bytes * self.newer_count // max(len(self), 1)

    @property
    def takes_newer(self) -> bool:
        """Whether newer rows can be handed over: where its process reads the vector file."""
        return self._searcher.is_exact and self._vectors is not None and not self._vectors.unwritten_bytes

    @property
    def joins(self) -> bool:
        """Whether newer rows that are handed over join ScaNN's tree."""
        return self.takes_newer and self._keep < _ALL

    def holds(self, rows: RowNumbers) -> npt.NDArray[np.bool_]:
        """Return whether each row is held; rows of any shape, -1 is none."""
        return self._held[rows]

    def hand_over(self, rows: RowNumbers) -> None:
        """Search among newer rows, none of them held, too; where it `takes_newer`.

        Rows that it was built over and that were removed since come back in the same way.

        Raises:
            DependencyError: the searcher is gone.
        """
        if not len(rows):
            return
        self._forget_ahead()
        self._held[rows] = True
        back = self._built[rows]
        newer = rows[~back]
        self.live += int(back.sum())
        self._newer[newer] = True
        self.newer_count += len(newer)
        self._ever_newer += len(newer)
        self._handed = [*self._handed, newer] if len(self._handed) < _MOST_PARTS else [self.newer_rows]
        self._come.update(dict.fromkeys(newer.tolist()))

    def remove(self, rows: RowNumbers) -> None:
        """Let go of those of these rows that it holds."""
        gone = np.unique(rows[self._held[rows]])
        newer = gone[self._newer[gone]]
        self._held[gone] = self._newer[newer] = False
        self.live -= len(gone) - len(newer)
        self.newer_count -= len(newer)
        self.has_gone |= bool(len(gone))
        for row in newer.tolist():
            if row in self._come:
                del self._come[row]
            else:
                self._gone.append(row)

    def join(self) -> None:
        """Have the newer rows join ScaNN's tree now, but for those that may wait; `has_joined` tells when they have.

        Raises:
            DependencyError: the searcher is gone.
        """
        self._collect()
        self._send(np.empty((0, 0), np.float32), 0, 0)

    def has_joined(self, timeout_seconds: float | None = 0.0) -> bool:
        """Return whether `join` has ended or the process is gone, after waiting for that; None waits without end."""
        return self._searcher.has_answered(timeout_seconds)

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
        """Return rows (n, m), held, that nearly always hold the k nearest of what was asked; -1 is padding."""
        queries, k, leaves = self._asked
        width = min(k + _SPARE, self._points)
        rows = np.full((len(queries), k + _SPARE), -1, np.int64)
        distances = np.full(rows.shape, np.nan, np.float32)
        asked, known = np.flatnonzero(self._of_ahead < 0), np.flatnonzero(self._of_ahead >= 0)
        if len(asked):
            _put((rows, distances), asked, self._searcher.answer())
        if len(known):
            place = self._of_ahead[known]
            of_ahead, away = self._collect()
            _put((rows, distances), known, (of_ahead[place], away[place]))
        rows = np.where(self._held[rows], rows, -1)
        while width < self._points or leaves < self.tree.leaves:
            short = np.flatnonzero((rows >= 0).sum(axis=1) < min(k, self.live + self.newer_count))
            if len(short) == 0:
                break
            width, leaves = min(width * _WIDEN, self._points), min(leaves * _WIDEN, self.tree.leaves)
            more = (0, 0), (0, max(width - rows.shape[1], 0))
            rows = np.pad(rows, more, constant_values=-1)
            distances = np.pad(distances, more, constant_values=np.nan)
            self._collect()
            self._send(queries[short], width, leaves)
            _put((rows, distances), short, self._searcher.answer())
            rows = np.where(self._held[rows], rows, -1)
        return Proposed(rows, distances if self._searcher.is_exact else None)

    def again(self) -> Generation:
        """Return the same, its process started anew; newer rows join no more, as the process may have died of that.

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

    @property
    def _points(self) -> int:
        """At least as many as the process searches."""
        return len(self._rows) + self._ever_newer

    def _send(self, queries: Descriptors, count: int, leaves: int) -> None:
        """Ask for so many rows, or all of them."""
        gone, come = np.array(self._gone, np.int64), np.fromiter(self._come, np.int64, len(self._come))
        self._gone, self._come = [], {}
        preorder = max(_PREORDER, 2 * min(count, self._points))
        self._searcher.ask(queries, count, preorder, leaves, gone, come, self._keep)

    def _forget_ahead(self) -> None:
        """Drop what was asked ahead, once it is here."""
        self._collect()
        self._ahead = None

    def _collect(self) -> _Answer:
        """Return what was asked ahead, waiting for it where that is still to come."""
        if self._ahead is None:
            return NO_ROWS[:, None], _NO_DISTANCES
        if self._ahead.found is None:
            self._ahead.found = self._searcher.answer()
        return self._ahead.found


def _put(table: _Answer, where: RowNumbers, found: _Answer) -> None:
    """Write what was found into rows of a table, the rest of which is padding."""
    (rows, distances), width = table, found[0].shape[1]
    rows[where], distances[where] = -1, np.nan
    rows[where, :width], distances[where, :width] = found


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


def restore(saved: Path, folder: Path, vectors: VectorFile, keep: int) -> Generation | None:
    """Load the generation that `Generation.copy` wrote into `saved`, from a copy in `folder`; None if there is none.

    Args:
        vectors, keep: see `Generation`.
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
    return Generation(folder, rows, tree, vectors, keep)


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
