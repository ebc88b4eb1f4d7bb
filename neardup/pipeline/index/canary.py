"""Whether the approximate search still finds what there is: a sample of searches, checked against all rows in a thread.

Nothing depends on the outcome but metrics. Which searches are checked follows from the descriptor, so that copies of a
process check the same ones; how much of the machine that takes is bounded.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neardup.pipeline.index.proposer import Checked
from neardup.pipeline.index.rowfile import Records
from neardup.pipeline.index.rows import RowMap
from neardup.pipeline.index.vectors import VectorFile, unit_rows
from neardup.pipeline.types import Descriptors, Neighbours

_CHUNK_ROWS = 4096
_ROUNDING = 1e-5
_NICE = 10


@dataclass(frozen=True, slots=True)
class CanaryPolicy:
    """How much is checked.

    Attributes:
        one_in: searches, of which one is taken.
        most: searches checked in one pass over the rows; further ones until then are let go.
        pause_seconds: between passes, at least.
        share: of one core's time, at most.
        near: distance up to which a nearest neighbour is likely a copy.
    """

    one_in: int = 1000
    most: int = 64
    pause_seconds: float = 60.0
    share: float = 0.02
    near: float = 0.5


DEFAULT = CanaryPolicy()


class Canary:
    """Notes searches and checks them; used by one thread, beside which it has one of its own at times."""

    def __init__(self, policy: CanaryPolicy = DEFAULT, clock: Callable[[], float] = time.monotonic) -> None:
        self.checked = Checked()
        self._policy = policy
        self._clock = clock
        self._noted: list[tuple[Descriptors, float, int]] = []
        self._next_at = -np.inf
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, queries: Descriptors, found: Neighbours, rows: int) -> None:
        """Take some of the searches, float32 (n, d), that were made among the first `rows` rows."""
        room = self._policy.most - len(self._noted)
        for query in np.flatnonzero(_is_taken(queries, self._policy.one_in))[:room].tolist():
            self._noted.append((queries[query].copy(), float(found.distances[query, 0]), rows))

    def poll(self, vectors: VectorFile, held: RowMap) -> None:
        """Begin a pass over the rows of a file that are held, if one is due; never waits."""
        if not self._noted or self._clock() < self._next_at or (self._thread is not None and self._thread.is_alive()):
            return
        if vectors.unwritten_bytes:  # to look through all rows they would have to be copied
            return
        noted, self._noted = self._noted, []
        self._next_at = self._clock() + self._policy.pause_seconds
        # Rows are only ever appended, and those that are not held now count for nothing: the thread needs no lock.
        work = noted, vectors.records(slice(None)), held[np.arange(len(vectors))]
        self._thread = threading.Thread(target=self._check, args=work, name="index-canary", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the pass that is under way."""
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """End the pass that is under way without a result."""
        self._closed.set()
        self.wait()

    def _check(
        self,
        noted: list[tuple[Descriptors, float, int]],
        records: Records,
        held: npt.NDArray[np.bool_],
    ) -> None:
        with suppress(OSError, AttributeError):  # where threads have no priority of their own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        started = time.thread_time()
        queries = np.stack([query for query, _, _ in noted])
        returned = np.array([distance for _, distance, _ in noted])
        ends = np.array([rows for _, _, rows in noted])
        best = np.full(len(noted), np.inf)
        for start in range(0, int(ends.max()), _CHUNK_ROWS):
            if self._closed.is_set():
                return
            vectors = unit_rows(records[start : start + _CHUNK_ROWS])
            distances = 2.0 - 2.0 * (queries @ vectors.T)  # (n, chunk)
            rows = np.arange(start, start + len(vectors))
            possible = held[rows] & (rows < ends[:, None])
            best = np.minimum(best, np.where(possible, distances, np.inf).min(axis=1))
        self._count(best, returned)
        busy = time.thread_time() - started
        self._next_at = max(self._next_at, self._clock() + busy / self._policy.share)

    def _count(self, best: npt.NDArray[np.float64], returned: npt.NDArray[np.float64]) -> None:
        near, missed = best <= self._policy.near, returned > best + _ROUNDING
        before = self.checked
        self.checked = Checked(
            before.near + int(near.sum()),
            before.near_missed + int((near & missed).sum()),
            before.far + int((~near).sum()),
            before.far_missed + int((~near & missed).sum()),
        )


def _is_taken(queries: Descriptors, one_in: int) -> npt.NDArray[np.bool_]:
    """Return for each query, (n,), whether its hash is one of those that are taken."""
    words = np.ascontiguousarray(queries).view(np.uint32)
    odd = np.arange(1, 2 * words.shape[1], 2, dtype=np.uint32) * np.uint32(2654435761)
    mixed = (words * odd).sum(axis=1, dtype=np.uint32)
    mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(2246822519)
    taken: npt.NDArray[np.bool_] = (mixed >> np.uint32(8)) % np.uint32(one_in) == 0
    return taken
