"""The process that builds a ScaNN searcher; started by `build.Build`, never by hand.

    python -m neardup.pipeline.index.scann.build_process JOB.json

It reads rows of a vector file and writes the searcher into a folder that appears under its name only when whole. It
ends when its standard input closes, so that it does not outlive the process that wanted the result.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.types import Descriptors

_COPY_ROWS = 65536
_TRAINING_ROWS_PER_LEAF = 100
_REORDER = 100
_PROBES = 256
_NEAR = 1e-3


class Tree(msgspec.Struct, frozen=True):
    """Shape of the searcher.

    Attributes:
        leaves: partitions of the rows. searched: of them, those that a query looks into.
    """

    leaves: int
    searched: int


class BuildJob(msgspec.Struct, frozen=True):
    """What to build.

    Attributes:
        vectors, length, dimension, space: the vector file, and how many of its rows are written.
        rows: path of an int64 .npy of the row numbers to take.
        target: folder that holds the searcher when the process ends with 0.
        threads: for training.
    """

    vectors: str
    length: int
    dimension: int
    space: str
    rows: str
    target: str
    tree: Tree
    threads: int


def build(job: BuildJob) -> None:
    """Build, check and write one searcher. ScaNN numbers its points from 0, in the order of the rows."""
    vectors = _read(job)
    searcher = _train(vectors, job)
    _check(searcher, vectors)
    target = Path(job.target)
    unfinished = unfinished_name(target)
    unfinished.mkdir()
    searcher.serialize(str(unfinished), relative_path=True)  # absolute paths would break with the rename
    unfinished.rename(target)


def unfinished_name(target: Path) -> Path:
    """Return the name of the folder while it is being written."""
    return target.with_name(target.name + ".unfinished")


def _read(job: BuildJob) -> Descriptors:
    rows = np.load(job.rows, allow_pickle=False)
    file = VectorFile(Path(job.vectors), job.dimension, job.space, visible=job.length)
    vectors = np.empty((len(rows), job.dimension), np.float32)
    for start in range(0, len(rows), _COPY_ROWS):
        vectors[start : start + _COPY_ROWS] = file.read(rows[start : start + _COPY_ROWS])
    file.close()
    if not np.isfinite(vectors).all():  # would crash ScaNN
        raise ValueError(f"{job.vectors}: holds values that are not finite")
    return vectors


def _train(vectors: Descriptors, job: BuildJob) -> Any:
    from scann import ReorderType
    from scann.scann_ops.py import scann_ops_pybind

    # On unit vectors squared_l2 orders as the dot product does, whose default tree loses recall.
    builder = scann_ops_pybind.builder(vectors, 10, "squared_l2")
    builder = builder.set_n_training_threads(job.threads).tree(
        num_leaves=job.tree.leaves,
        num_leaves_to_search=job.tree.searched,
        training_sample_size=min(len(vectors), _TRAINING_ROWS_PER_LEAF * job.tree.leaves),
    )
    return builder.score_ah(2).reorder(_REORDER, ReorderType.BFLOAT16).build()


def _check(searcher: Any, vectors: Descriptors) -> None:
    """Raise unless known rows find themselves (or a copy), so that a broken searcher is never swapped in."""
    probes = vectors[:: max(1, len(vectors) // _PROBES)]
    points, _ = searcher.search_batched(probes)
    found = vectors[np.asarray(points)[:, 0].astype(np.int64)]
    share = float(np.mean(((found - probes) ** 2).sum(axis=1) < _NEAR))
    if share < 0.9:
        raise RuntimeError(f"only {share:.0%} of known rows find themselves")


def _end_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock a thread must not hold when Python ends
        pass
    os._exit(3)


def main() -> None:
    """Read the job that the only argument names, and do it at low priority."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it
    os.nice(19)
    build(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=BuildJob))


if __name__ == "__main__":
    main()
