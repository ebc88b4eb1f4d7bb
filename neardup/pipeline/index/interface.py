"""What every index does, so that one implementation is the check on the other.

An index belongs to one thread at a time: whoever shares one between threads holds a lock around each call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from neardup.pipeline.types import Descriptors, Ids, Neighbours


@dataclass(frozen=True, slots=True)
class Checked:
    """Searches checked against all rows, and those of them whose nearest neighbour had been missed.

    Attributes:
        near, near_missed: where that neighbour may be a copy. far, far_missed: where it is none.
    """

    near: int = 0
    near_missed: int = 0
    far: int = 0
    far_missed: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """What there is to tell of an index.

    Attributes:
        searcher, tail: descriptors that an approximate searcher was built over, and those compared one by one.
        bytes: of vectors and searcher, in memory and in working files.
        unwritten_bytes: memory of vectors that are for a working file which the disk did not take.
        builds, failed: searchers built since the start, and attempts that failed. build_seconds: of the last one built.
        checked: see `canary`.
    """

    searcher: int = 0
    tail: int = 0
    bytes: int = 0
    unwritten_bytes: int = 0
    builds: int = 0
    failed: int = 0
    build_seconds: float = 0.0
    checked: Checked = Checked()


class Index(Protocol):
    """Descriptors of one space under ids of ours.

    Distances are squared Euclidean, float32, computed by direct differences from the *stored* vectors (float16, brought
    back to unit length), in every implementation by the same function. Equal distances are ordered by id, lowest first.
    """

    @property
    def dimension(self) -> int:
        """d, the length of a descriptor."""

    @property
    def space(self) -> str:
        """The id of the model and preprocessing that made the descriptors."""

    def __len__(self) -> int:
        """Return how many descriptors can be found."""

    def __contains__(self, item: int) -> bool:
        """Return whether this id can be found."""

    def add(self, ids: Ids, vectors: Descriptors) -> None:
        """Store descriptors; they are found from now on. An id that was removed may be added again.

        Args:
            ids: int64 (n,), 0 or more, each once, none held already; in any order.
            vectors: float32 (n, d), rows of unit length.
        Raises:
            ShapeError: wrong shape or dtype, a value that is not finite, or a row whose length is not 1.
            UsageError: an id is negative, there twice, or held already; then nothing was added.
            DependencyError: the disk is full or failed; then nothing was added.
        """

    def remove(self, ids: Ids) -> None:
        """Forget descriptors; no search from now on returns them.

        Args:
            ids: int64 (n,), each once, all held.
        Raises:
            ShapeError: wrong shape or dtype.
            UsageError: an id is there twice or is not held; then nothing was removed.
        """

    def search(self, queries: Descriptors, k: int, effort: int = 1) -> Neighbours:
        """Return the k references closest to each query, nearest first, padded with id -1 and distance inf.

        An empty index returns padding only: the first search of a stream is no error.

        Args:
            queries: float32 (n, d), rows of unit length; n may be 0.
            k: neighbours per query, 1 or more.
            effort: how many times as much an approximate index looks at, 1 or more. 1 is enough for near-duplicates;
                the nearest of strangers are spread wider.
        Raises:
            ShapeError: see `add`.
            UsageError: k is below 1.
        """

    def save_searcher(self, folder: Path) -> None:
        """Write into a folder, which is made, what takes long to make from the vectors again, if there is such a thing.

        The vectors are not among it, but for what a searcher holds in its own form.

        Raises:
            DependencyError: the disk is full or failed.
        """

    def load_searcher(self, folder: Path, read: Callable[[Ids], Descriptors]) -> Ids:
        """Take over, while empty, what `save_searcher` wrote; return the ids that can be found now, perhaps none.

        Args:
            read: returns the vectors of ids.
        """

    def status(self) -> Status:
        """Return what there is to tell."""

    def close(self) -> None:
        """Release files and processes. The index cannot be used afterwards."""
