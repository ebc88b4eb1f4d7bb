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
from neardup.pipeline.index.scann.serve_process import ANSWER, REQUEST
from neardup.pipeline.types import Descriptors

Points = npt.NDArray[np.uint32]
Distances = npt.NDArray[np.float32]


class Searcher:
    """One searcher; `ask` and `answer` in turn, by one thread at a time.

    Attributes:
        size: how many points it holds.
    """

    def __init__(self, folder: Path) -> None:
        """Start the process and wait until it has loaded what ScaNN wrote into a folder.

        Raises:
            DependencyError: the process cannot be started, or ScaNN cannot load it.
        """
        self._folder = folder
        self._log = folder.with_name(folder.name + ".log")
        with naming(folder, "start a searcher"), self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "neardup.pipeline.index.scann.serve_process", str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
        self._asked = False
        try:
            self.size, _ = ANSWER.unpack(self._read(ANSWER.size))
        except BaseException:
            self.close()
            raise

    def ask(self, queries: Descriptors, count: int, preorder: int, leaves: int) -> None:
        """Have it search, float32 (n, d), while the caller does something else.

        Raises:
            DependencyError: the process is gone; also of `answer`.
        """
        if self._asked:
            self.answer()  # which nobody came for
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(REQUEST.pack(*queries.shape, count, preorder, leaves))
            self.process.stdin.write(np.ascontiguousarray(queries, np.float32).data)
            self.process.stdin.flush()
        except OSError as error:
            raise self._gone() from error
        self._asked = True

    def answer(self) -> tuple[Points, Distances]:
        """Return points and distances of what was asked, (n, m); fewer hits than wanted are padded with NaN."""
        self._asked = False
        n, m = ANSWER.unpack(self._read(ANSWER.size))
        points = np.frombuffer(self._read(4 * n * m), np.uint32).reshape(n, m)
        return points, np.frombuffer(self._read(4 * n * m), np.float32).reshape(n, m)

    def close(self) -> None:
        """End the process and wait for that."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was not sent has nowhere to go
                    pipe.close()
        self._log.unlink(missing_ok=True)

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
