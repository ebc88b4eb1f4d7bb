"""A ScaNN searcher in a process of its own (`serve_process`), asked through pipes."""

from __future__ import annotations

import os
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

Points = npt.NDArray[np.uint32]
Distances = npt.NDArray[np.float32]
NO_ROWS: RowNumbers = np.empty(0, np.int64)


class Searcher:
    """One searcher; `ask` and `answer` in turn, by one thread at a time.

    Attributes:
        size: how many points it holds.
        is_exact: whether distances are those of the stored vectors; else ScaNN's own.
    """

    def __init__(self, folder: Path, stored: tuple[VectorFile, RowNumbers] | None = None) -> None:
        """Start the process and wait until it has loaded what ScaNN wrote into a folder.

        Args:
            stored: the vectors, in a file, and the row of each point, int64, -1 for one that is gone.
        Raises:
            DependencyError: the process cannot be started, or ScaNN cannot load it.
        """
        self._folder = folder
        self._log = folder.with_name(folder.name + ".log")
        self.is_exact = stored is not None and stored[0].path is not None
        of_file: list[str] = []
        if self.is_exact and stored is not None:
            vectors, rows = stored
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
            self.size, _, _ = ANSWER.unpack(self._read(ANSWER.size))
            if self.is_exact and stored is not None and len(stored[1]) == self.size:
                self._write(np.ascontiguousarray(stored[1], np.int64).data)
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
    ) -> None:
        """Have it search, float32 (n, d), while the caller does something else.

        Args:
            dropped, added: newer rows that it compares with no more, and from now on; where it `is_exact`.
        Raises:
            DependencyError: the process is gone; also of `answer`.
        """
        if self._asked:
            self.answer()  # which nobody came for
        self._write(
            REQUEST.pack(*queries.shape, count, preorder, leaves, len(dropped), len(added)),
            np.ascontiguousarray(queries, np.float32).data,
            np.concatenate([dropped, added]).tobytes(),
        )
        self._asked = True

    def answer(self) -> tuple[Points, Distances, RowNumbers, Distances]:
        """Return points and distances of what was asked, (n, m), and newer rows and their distances, (n, t).

        Fewer hits than wanted are padded: points with distances of NaN, newer rows with -1.
        """
        self._asked = False
        n, m, t = ANSWER.unpack(self._read(ANSWER.size))
        points = np.frombuffer(self._read(4 * n * m), np.uint32).reshape(n, m)
        distances = np.frombuffer(self._read(4 * n * m), np.float32).reshape(n, m)
        newer = np.frombuffer(self._read(8 * n * t), np.int64).reshape(n, t)
        return points, distances, newer, np.frombuffer(self._read(4 * n * t), np.float32).reshape(n, t)

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
