"""The process that holds a ScaNN searcher and answers; started by `searcher.Searcher`, never by hand.

    python -m neardup.pipeline.index.scann.serve_process FOLDER [VECTORS DIMENSION SPACE ROWS]

Requests come on standard input and answers go to standard output. It ends when its standard input closes. Loading a
searcher of a million rows takes half a second with Python's lock held, which a worker's batches cannot wait for; and
where ScaNN crashes, it is this process that dies.

Given the vector file, with the number of its rows, it computes distances from the stored vectors, as `Index` does, and
searches among newer rows that it is given, too. The newest of them are compared one by one. Older ones join ScaNN's
tree, a few after each answer and more while nothing is asked: one comparison less for every later query.
"""

from __future__ import annotations

import select
import signal
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from neardup.pipeline.index.distances import distances_to_rows
from neardup.pipeline.index.exact import Exact, NumpyProducts
from neardup.pipeline.index.rows import RowMap, RowNumbers
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.types import Descriptors

REQUEST = struct.Struct("<8I")
"""Queries n, their dimension, rows wanted per query, candidates before reordering, leaves; newer rows that are dropped,
that are added, and that may stay without joining. Then the queries, float32 (n, d), and these rows, int64. Without
queries, it answers when no more than these have not joined."""
ANSWER = struct.Struct("<2I")
"""Queries n, rows per query m; then the rows, int64 (n, m), -1 for none, and their distances, float32 (n, m).

The first answer, unasked, says that the searcher is loaded: its number of points, and zero. The row of each point comes
before the first request, int64, -1 for one that is gone.
"""
_JOIN_ROWS = 512
"""Rows that join at a time: some 15 ms."""
_JOIN_SHARE = 8
"""One of so many waiting rows joins after each answer."""
_SPARE_SHARE = 4
"""Memory is reserved for one more point of so many, so that none has to be moved when they join."""


class _Points:
    """ScaNN's searcher and newer rows beside it."""

    def __init__(self, searcher: Any, rows: RowNumbers, vectors: VectorFile | None) -> None:
        self._searcher, self._vectors = searcher, vectors
        self._rows, self._count = rows, len(rows)  # by point
        self._joined = RowMap(np.bool_, False)
        self._joined[rows[rows >= 0]] = True
        self._newest = None if vectors is None else Exact(vectors, NumpyProducts())

    @property
    def waiting(self) -> int:
        """How many rows have not joined."""
        return 0 if self._newest is None else len(self._newest)

    def drop(self, rows: RowNumbers) -> None:
        """Forget newer rows. Those that have joined stay: who asked knows that they are gone."""
        if self._newest is not None:
            self._newest.remove(rows[~self._joined[rows]])

    def add(self, rows: RowNumbers) -> None:
        """Search among newer rows, too."""
        if self._newest is not None and self._vectors is not None:
            self._vectors.reveal(int(rows.max(initial=-1)) + 1)
            self._newest.add(rows[~self._joined[rows]])

    def join(self, keep: int, most: int) -> bool:
        """Have the oldest newer rows join ScaNN's tree, all but `keep`, up to `most`; return whether any did."""
        if self._newest is None or self.waiting <= keep:
            return False
        count = min(most, self.waiting - keep)
        rows = np.sort(np.partition(self._newest.rows, count - 1)[:count])
        self._searcher.searcher.upsert([None] * count, np.ascontiguousarray(self._newest.read(rows)), count)
        end = self._count + count
        if self._searcher.size() != end:
            raise RuntimeError(f"{count} rows joined {self._count} points, which are {self._searcher.size()} now")
        if end > len(self._rows):
            self._rows = np.concatenate([self._rows, np.full(max(count, self._count // _SPARE_SHARE), -1, np.int64)])
        self._rows[self._count : end] = rows
        self._count = end
        self._joined[rows] = True
        self._newest.remove(rows)
        return True

    def nearest(
        self, queries: Descriptors, count: int, preorder: int, leaves: int
    ) -> tuple[RowNumbers, npt.NDArray[np.float32]]:
        """Return rows and distances (n, m), nearest first, padded with -1 and NaN; m is at most `count`."""
        points, distances = self._searcher.search_batched(
            queries,
            final_num_neighbors=min(count, self._count),
            pre_reorder_num_neighbors=preorder,
            leaves_to_search=leaves,
        )
        # Fewer hits than asked for come as point 0 with distance NaN.
        rows: RowNumbers = np.where(np.isnan(distances), -1, self._rows[np.asarray(points, np.int64)])
        if self._vectors is None or self._newest is None:
            return rows, np.asarray(distances, np.float32)
        distances = distances_to_rows(self._vectors.read, queries, rows)
        if len(self._newest):
            newer = self._newest.propose(queries, count)
            rows = np.concatenate([rows, newer], axis=1)
            distances = np.concatenate([distances, distances_to_rows(self._newest.read, queries, newer)], axis=1)
        order = np.lexsort((rows, distances), axis=1)[:, :count]  # NaN is last
        return np.take_along_axis(rows, order, 1), np.take_along_axis(distances, order, 1)


def serve(searcher: Any, vectors: VectorFile | None, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until there are no more requests."""
    size = searcher.size()
    if vectors is not None:
        searcher.reserve(size + size // _SPARE_SHARE)
    answers.write(ANSWER.pack(size, 0))
    answers.flush()
    points = _Points(searcher, np.frombuffer(_read(requests, 8 * size), np.int64).copy(), vectors)
    keep = 0
    while True:
        while not _is_asked(requests) and points.join(keep, _JOIN_ROWS):
            pass
        if not (head := _read(requests, REQUEST.size)):
            return
        n, dimension, count, preorder, leaves, dropped, added, keep = REQUEST.unpack(head)
        queries = np.frombuffer(_read(requests, 4 * n * dimension), np.float32).reshape(n, dimension)
        gone, come = (np.frombuffer(_read(requests, 8 * some), np.int64) for some in (dropped, added))
        points.drop(gone)
        points.add(come)
        if n:
            rows, distances = points.nearest(queries, count, preorder, leaves)
        else:
            while points.join(keep, _JOIN_ROWS):
                pass
            rows, distances = np.empty((0, 0), np.int64), np.empty((0, 0), np.float32)
        answers.write(ANSWER.pack(*rows.shape))
        answers.write(np.ascontiguousarray(rows, np.int64).tobytes())
        answers.write(np.ascontiguousarray(distances, np.float32).tobytes())
        answers.flush()
        points.join(keep, max(_JOIN_ROWS, points.waiting // _JOIN_SHARE))


def _read(requests: BinaryIO, count: int) -> bytes:
    """Return so many bytes, nothing at the end. A buffer could hold a request that `select` does not see."""
    data = bytearray()
    while len(data) < count and (part := requests.read(count - len(data))):
        data += part
    return bytes(data)


def _is_asked(requests: BinaryIO) -> bool:
    """Return whether a request has come, or will never come."""
    return bool(select.select([requests], [], [], 0)[0])


def main() -> None:
    """Load the searcher of the folder that the first argument names, and serve it."""
    from neardup.pipeline.index.scann.generation import import_scann

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker, which needs the searcher until its end
    folder, *stored = sys.argv[1:]
    vectors = None
    if stored:
        path, dimension, space, count = stored
        vectors = VectorFile(Path(path), int(dimension), space, visible=int(count))
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as requests:
        serve(import_scann().load_searcher(folder), vectors, requests, sys.stdout.buffer)


if __name__ == "__main__":
    main()
