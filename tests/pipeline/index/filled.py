"""An index with a vector file of its own, filled by ids, for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from neardup.pipeline.index import Index
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.types import Descriptors, Ids, Neighbours
from tests.timing import LATE_SECONDS


class Filled:
    """See above; `make` returns an empty index over the file, which is in memory where `path` is None."""

    def __init__(self, path: Path | None, make: Callable[[VectorFile], Index], dimension: int) -> None:
        self._make = make
        self.vectors = VectorFile(path, dimension, "s")
        self.index = make(self.vectors)
        self.row_of: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, ids: Ids) -> Ids:
        return np.array([self.row_of[i] for i in ids.tolist()], np.int64)

    def add(self, ids: Ids, vectors: Descriptors) -> None:
        """Append vectors to the file and have them found; an id that comes back gets a new row."""
        first = self.vectors.append(ids, vectors)
        rows = np.arange(first, first + len(ids))
        self.row_of.update(zip(ids.tolist(), rows.tolist(), strict=True))
        self.index.add(rows[::-1])

    def remove(self, ids: Ids) -> None:
        self.index.remove(self.rows(ids))

    def search(self, queries: Descriptors, k: int, effort: int = 1) -> Neighbours:
        return self.index.search(queries, k, effort)

    def settle(self) -> None:
        """Let an engine that builds something in the background end."""
        if hasattr(self.index.proposer, "wait"):
            assert self.index.proposer.wait(LATE_SECONDS)

    @property
    def is_built(self) -> bool:
        return self.index.status().searcher > 0

    def restart(self, saved: Path, held: Ids, make: Callable[[VectorFile], Index] | None = None) -> Ids:
        """Go on with an empty index, filled with what the one before saved, and with what is held besides.

        Returns the rows that were saved.
        """
        self.index.save(saved)
        self.index.close()
        self.index = (make or self._make)(self.vectors)
        loaded = self.index.load(saved)
        self.index.add(np.setdiff1d(self.rows(held), loaded, assume_unique=True))
        return loaded

    def close(self) -> None:
        self.index.drop()
        self.vectors.close()
