"""The index that compares with everything: exact, needs no training, and the yardstick of the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from neardup.pipeline.index.checks import check_k, check_vectors
from neardup.pipeline.index.flat import Flat
from neardup.pipeline.index.interface import Status
from neardup.pipeline.index.products import make_products, pick_device
from neardup.pipeline.index.store import Store
from neardup.pipeline.types import Descriptors, Ids, Neighbours


class ExactIndex:
    """Implements `Index` by brute force in memory: 6 d + 40 bytes per descriptor."""

    def __init__(self, dimension: int, space: str, device: str = "auto") -> None:
        """Make an empty index.

        Args:
            dimension: d. space: id of the model and preprocessing that make the descriptors.
            device: "auto", "cpu" or "cuda", where the products are computed.
        """
        self._store = Store(dimension, space)
        self._flat = Flat(dimension, make_products(pick_device(device)))

    @property
    def dimension(self) -> int:
        """d."""
        return self._store.vectors.dimension

    @property
    def space(self) -> str:
        """Whose descriptors these are."""
        return self._store.vectors.space

    def __len__(self) -> int:
        return len(self._store)

    def __contains__(self, item: int) -> bool:
        return item in self._store

    def add(self, ids: Ids, vectors: Descriptors) -> None:
        """See `Index.add`."""
        rows = self._store.add(ids, vectors)
        self._flat.add(rows, self._store.vectors.read(rows))

    def remove(self, ids: Ids) -> None:
        """See `Index.remove`."""
        self._flat.remove(self._store.remove(ids))

    def search(self, queries: Descriptors, k: int, effort: int = 1) -> Neighbours:  # noqa: ARG002
        """See `Index.search`."""
        check_k(k)
        check_vectors(queries, self.dimension)
        return self._store.rank(queries, self._flat.candidates(queries, k), k, self._flat.read)

    def save_searcher(self, folder: Path) -> None:
        """See `Index.save_searcher`: there is none."""
        folder.mkdir()

    def load_searcher(self, folder: Path, read: Callable[[Ids], Descriptors]) -> Ids:  # noqa: ARG002
        """See `Index.load_searcher`."""
        return np.empty(0, np.int64)

    def status(self) -> Status:
        """See `Index.status`."""
        return Status(tail=len(self._store), bytes=self._store.vectors.bytes + self._flat.bytes)

    def close(self) -> None:
        """See `Index.close`."""
        self._store.delete()
