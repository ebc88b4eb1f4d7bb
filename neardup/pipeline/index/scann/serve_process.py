"""The process that holds a ScaNN searcher and answers; started by `searcher.Searcher`, never by hand.

    python -m neardup.pipeline.index.scann.serve_process FOLDER [VECTORS DIMENSION SPACE ROWS]

Requests come on standard input and answers go to standard output. It ends when its standard input closes. Given the
vector file, with the number of its rows, it computes distances from the stored vectors, as `Index` does. Loading a
searcher of a million rows takes half a second with Python's lock held, which a worker's batches cannot wait for; and
where ScaNN crashes, it is this process that dies. With the vector file it also compares with the newer rows that it is
given, all of them.
"""

from __future__ import annotations

import signal
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from neardup.pipeline.index.distances import distances_to_rows
from neardup.pipeline.index.exact import Exact, NumpyProducts
from neardup.pipeline.index.rows import RowNumbers
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.types import Descriptors

REQUEST = struct.Struct("<7I")
"""Queries n, their dimension, wanted per query, candidates before reordering, leaves; newer rows that are dropped, and
that are added. Then the queries, float32 (n, d), and these rows, int64. Wanted are so many points and so many newer
rows, or all that there are."""
ANSWER = struct.Struct("<3I")
"""Queries n, points per query m, newer rows per query t; then the points, uint32 (n, m), and their distances, float32
(n, m), the newer rows, int64 (n, t), -1 for none, and their distances, float32 (n, t).

The first answer, unasked, says that the searcher is loaded: its number of points, and zeros. Given a vector file, the
row of each point comes before the first request, int64, -1 for one that is gone.
"""


def serve(searcher: Any, vectors: VectorFile | None, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until there are no more requests."""
    answers.write(ANSWER.pack(searcher.size(), 0, 0))
    answers.flush()
    rows = np.frombuffer(requests.read(8 * searcher.size()), np.int64) if vectors is not None else None
    newer = None if vectors is None else Exact(vectors, NumpyProducts())
    while head := requests.read(REQUEST.size):
        n, dimension, count, preorder, leaves, dropped, added = REQUEST.unpack(head)
        queries = np.frombuffer(requests.read(4 * n * dimension), np.float32).reshape(n, dimension)
        gone, come = (np.frombuffer(requests.read(8 * some), np.int64) for some in (dropped, added))
        points, distances = searcher.search_batched(
            queries,
            final_num_neighbors=min(count, searcher.size()),
            pre_reorder_num_neighbors=preorder,
            leaves_to_search=leaves,
        )
        if vectors is not None and rows is not None:
            known = np.where(np.isnan(distances), -1, rows[np.asarray(points, np.int64)])
            distances = distances_to_rows(vectors.read, queries, known)
        near, away = np.empty((n, 0), np.int64), np.empty((n, 0), np.float32)
        if vectors is not None and newer is not None:
            newer.remove(gone)
            vectors.reveal(int(come.max(initial=-1)) + 1)
            newer.add(come)
            near, away = _nearest(newer, queries, count)
        answers.write(ANSWER.pack(*np.shape(points), near.shape[1]))
        for array, dtype in ((points, np.uint32), (distances, np.float32), (near, np.int64), (away, np.float32)):
            answers.write(np.ascontiguousarray(array, dtype).tobytes())
        answers.flush()


def _nearest(newer: Exact, queries: Descriptors, count: int) -> tuple[RowNumbers, npt.NDArray[np.float32]]:
    """Return the nearest of the newer rows and their distances, (n, count) or all of them, padded with -1 and NaN."""
    rows = newer.propose(queries, count)
    distances = distances_to_rows(newer.read, queries, rows)
    order = np.lexsort((rows, distances), axis=1)[:, :count]  # NaN is last
    return np.take_along_axis(rows, order, 1), np.take_along_axis(distances, order, 1)


def main() -> None:
    """Load the searcher of the folder that the first argument names, and serve it."""
    from neardup.pipeline.index.scann.generation import import_scann

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker, which needs the searcher until its end
    folder, *stored = sys.argv[1:]
    vectors = None
    if stored:
        path, dimension, space, count = stored
        vectors = VectorFile(Path(path), int(dimension), space, visible=int(count))
    serve(import_scann().load_searcher(folder), vectors, sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
