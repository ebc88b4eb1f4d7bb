"""The process that holds a ScaNN searcher and answers; started by `searcher.Searcher`, never by hand.

    python -m neardup.pipeline.index.scann.serve_process FOLDER [VECTORS DIMENSION SPACE ROWS]

Requests come on standard input and answers go to standard output. It ends when its standard input closes. Given the
vector file, with the number of its rows, it computes distances from the stored vectors, as `Index` does. Loading a
searcher of a million rows takes half a second with Python's lock held, which a worker's batches cannot wait for; and
where ScaNN crashes, it is this process that dies.
"""

from __future__ import annotations

import signal
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from neardup.pipeline.index.distances import distances_to_rows
from neardup.pipeline.index.vectors import VectorFile

REQUEST = struct.Struct("<5I")
"""Queries n, their dimension, wanted per query, candidates before reordering, leaves; then float32 (n, d)."""
ANSWER = struct.Struct("<2I")
"""Queries n, points per query m; then the points, uint32 (n, m), and their distances, float32 (n, m).

The first answer, unasked, says that the searcher is loaded: its number of points, and 0. Given a vector file, the row
of each point comes before the first request, int64, -1 for one that is gone.
"""


def serve(searcher: Any, vectors: VectorFile | None, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until there are no more requests."""
    answers.write(ANSWER.pack(searcher.size(), 0))
    answers.flush()
    rows = np.frombuffer(requests.read(8 * searcher.size()), np.int64) if vectors is not None else None
    while head := requests.read(REQUEST.size):
        n, dimension, count, preorder, leaves = REQUEST.unpack(head)
        queries = np.frombuffer(requests.read(4 * n * dimension), np.float32).reshape(n, dimension)
        points, distances = searcher.search_batched(
            queries, final_num_neighbors=count, pre_reorder_num_neighbors=preorder, leaves_to_search=leaves
        )
        if vectors is not None and rows is not None:
            known = np.where(np.isnan(distances), -1, rows[np.asarray(points, np.int64)])
            distances = distances_to_rows(vectors.read, queries, known)
        answers.write(ANSWER.pack(*np.shape(points)))
        answers.write(np.ascontiguousarray(points, np.uint32).tobytes())
        answers.write(np.ascontiguousarray(distances, np.float32).tobytes())
        answers.flush()


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
