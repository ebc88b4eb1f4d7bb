"""A ScaNN searcher in a process of its own (`serve_process`), asked through pipes."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.files import naming
from neardup.pipeline.index.rows import RowNumbers
from neardup.pipeline.index.scann.serve_process import ANSWER, REQUEST
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.types import Descriptors

Distances = npt.NDArray[np.float32]
NO_ROWS: RowNumbers = np.empty(0, np.int64)


class Searcher:
    """One searcher; `ask` and `answer` in turn, by one thread at a time.

    Attributes:
        is_exact: whether distances are those of the stored vectors; else ScaNN's own.
    """

    def __init__(self, folder: Path, rows: RowNumbers, vectors: VectorFile | None = None) -> None:
        """Start the process and wait until it has loaded what ScaNN wrote into a folder.

        Args:
            rows: the row of each point, int64, -1 for one that is gone.
            vectors: from which it computes distances, where they are in a file.
        Raises:
            DependencyError: the process cannot be started, ScaNN cannot load it, or it holds another number of points.
        """
        self._folder = folder
        self._log = folder.with_name(folder.name + ".log")
        self.is_exact = vectors is not None and vectors.path is not None
        of_file: list[str] = []
        if self.is_exact and vectors is not None:
            of_file = [str(vectors.path), str(vectors.dimension), vectors.space, str(int(rows.max(initial=-1)) + 1)]
        with naming(folder, "start a searcher"), self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "neardup.pipeline.index.scann.serve_process", str(folder), *of_file],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
        self._asked = False
        try:
            size, _ = ANSWER.unpack(self._read(ANSWER.size))
            if size != len(rows):
                raise DependencyError(f"{folder}: holds {size} points, expected {len(rows)}")
            self._write(np.ascontiguousarray(rows, np.int64).data)
        except BaseException:
            self.close()
            raise

    def ask(
        self,
        queries: Descriptors,
        count: int,
        preorder: int,
        leaves: int,
        dropped: RowNumbers = NO_ROWS,
        added: RowNumbers = NO_ROWS,
        keep: int = 0,
    ) -> None:
        """Have it search, float32 (n, d), while the caller does something else.

        Args:
            count, preorder, leaves: rows wanted per query, candidates before reordering, leaves that are searched.
            dropped, added: newer rows that it searches no more, and from now on; where it `is_exact`.
            keep: newer rows that may stay out of ScaNN's tree; without queries, the answer comes when no more do.
        Raises:
            DependencyError: the process is gone; also of `answer`.
        """
        if self._asked:
            self.answer()  # which nobody came for
        self._write(
            REQUEST.pack(*queries.shape, count, preorder, leaves, len(dropped), len(added), keep),
            np.ascontiguousarray(queries, np.float32).data,
            np.concatenate([dropped, added]).tobytes(),
        )
        self._asked = True

    def has_answered(self, timeout_seconds: float | None) -> bool:
        """Return whether `answer` would not wait, after waiting for that; None waits without end."""
        assert self.process.stdout is not None
        return bool(select.select([self.process.stdout], [], [], timeout_seconds)[0])

    def answer(self) -> tuple[RowNumbers, Distances]:
        """Return the rows that were found for each query and their distances, (n, m), padded with -1 and NaN."""
        self._asked = False
        n, m = ANSWER.unpack(self._read(ANSWER.size))
        rows = np.frombuffer(self._read(8 * n * m), np.int64).reshape(n, m)
        return rows, np.frombuffer(self._read(4 * n * m), np.float32).reshape(n, m)

    def close(self) -> None:
        """End the process and wait for that."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was not sent has nowhere to go
                    pipe.close()
        self._log.unlink(missing_ok=True)

    def _write(self, *parts: bytes | memoryview) -> None:
        assert self.process.stdin is not None
        try:
            for part in parts:
                self.process.stdin.write(part)
            self.process.stdin.flush()
        except OSError as error:
            raise self._gone() from error

    def _read(self, count: int) -> bytes:
        assert self.process.stdout is not None
        data = self.process.stdout.read(count)
        if len(data) < count:
            raise self._gone()
        return data

    def _gone(self) -> DependencyError:
        self.process.kill()
        said = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return DependencyError(f"{self._folder}: the searcher ended with {self.process.wait()}: {' '.join(said[-1:])}")
