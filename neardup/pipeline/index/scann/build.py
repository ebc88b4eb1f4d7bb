"""A ScaNN searcher being built by another process, and loaded by a thread, while this one goes on searching."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import numpy as np

from neardup.pipeline.errors import DependencyError, PipelineError
from neardup.pipeline.files import naming
from neardup.pipeline.index.rows import RowNumbers
from neardup.pipeline.index.scann.build_process import BuildJob, Tree, unfinished_name
from neardup.pipeline.index.scann.generation import Generation
from neardup.pipeline.index.vectors import VectorFile

logger = logging.getLogger(__name__)

_LEAST_LEAVES_SEARCHED = 64
"""With 32 of the 316 leaves of 100,000 rows one copy in 350 is decided otherwise than by the exact index
(`benchmarks.scann_agreement`)."""
_SEARCHED_SHARE = 0.03


class Build:
    """One attempt. Start it, ask `is_done` now and then, take `result` once.

    Attributes:
        seconds: how long it took, once done.
    """

    def __init__(self, vectors: VectorFile, rows: RowNumbers, folder: Path, threads: int, name: str, keep: int) -> None:
        """Start the process.

        Args:
            vectors: read by the process where they are a file; those in memory are written for it.
            rows: int64, the rows to take, ascending.
            folder: where the searcher will be; its name is free, its parent exists.
            threads: for the process.
            name: of the index, for the log.
            keep: see `Generation`.
        Raises:
            DependencyError: the process cannot be started or the disk is full.
        """
        if vectors.unwritten_bytes:
            raise DependencyError(f"{vectors.path}: {vectors.unwritten_bytes} bytes are in memory, as the disk is full")
        self._rows, self._folder, self._name, self._vectors, self._keep = rows, folder, name, vectors, keep
        self._tree = tree_for(len(rows))
        self._outcome: Generation | PipelineError | None = None
        self._begin = time.monotonic()
        self.seconds = 0.0
        job, chosen, copy = (folder.with_name(folder.name + end) for end in (".job", ".npy", ".vectors"))
        self._files = [job, chosen, copy]
        with naming(folder, "start a build"):
            if vectors.path is None:
                vectors.copy(copy, rows)
            np.save(chosen, rows if vectors.path else np.arange(len(rows)))
            job.write_bytes(
                msgspec.json.encode(
                    BuildJob(
                        vectors=str(vectors.path or copy),
                        length=len(vectors) if vectors.path else len(rows),
                        dimension=vectors.dimension,
                        space=vectors.space,
                        rows=str(chosen),
                        target=str(folder),
                        tree=self._tree,
                        threads=threads,
                    )
                )
            )
            self.process = subprocess.Popen(
                [sys.executable, "-m", "neardup.pipeline.index.scann.build_process", str(job)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": str(threads)},
            )
        self._thread = threading.Thread(target=self._finish, name="index-build", daemon=True)
        self._thread.start()

    def is_done(self) -> bool:
        """Return whether `result` would answer at once."""
        return not self._thread.is_alive()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until it is done; return whether it is."""
        self._thread.join(timeout_seconds)
        return self.is_done()

    def result(self) -> Generation:
        """Return what was built, once done.

        Raises:
            PipelineError: the build failed, and why.
        """
        assert self._outcome is not None
        if isinstance(self._outcome, PipelineError):
            raise self._outcome
        return self._outcome

    def cancel(self) -> None:
        """End the process and drop what it has built."""
        self.process.kill()
        self.wait()
        if isinstance(self._outcome, Generation):
            self._outcome.discard()

    def _finish(self) -> None:
        # The pipe to the process stays open until it ends: its end tells the process that nobody waits any more.
        assert self.process.stderr is not None
        said = self.process.stderr.read().decode(errors="replace")
        code = self.process.wait()
        self._outcome = self._load(code, said)
        for pipe in (self.process.stdin, self.process.stderr):
            if pipe is not None:
                pipe.close()
        for file in self._files:
            file.unlink(missing_ok=True)
        shutil.rmtree(unfinished_name(self._folder), ignore_errors=True)

    def _load(self, code: int, said: str) -> Generation | PipelineError:
        if code != 0:
            return DependencyError(f"the index builder ended with {code}: {said.strip()[-500:]}")
        try:
            generation = Generation(self._folder, self._rows, self._tree, self._vectors, self._keep)
        except PipelineError as error:
            return error
        self.seconds = time.monotonic() - self._begin
        logger.info("index built name=%s rows=%d seconds=%.1f", self._name, len(self._rows), self.seconds)
        return generation


def tree_for(rows: int) -> Tree:
    """Return the shape of the searcher for so many rows: √n leaves, 3 % of them searched."""
    leaves = max(1, int(rows**0.5))
    return Tree(leaves, min(leaves, max(_LEAST_LEAVES_SEARCHED, round(_SEARCHED_SHARE * leaves))))
