"""The vectors of the similar head: one for each item that has one, in an append-only file beside that of descriptors.

They take no part in a decision. So a file that is damaged, or of another head, is no reason to stop: it begins anew,
and items that came before it are found by their descriptors only. Who answers lookups has an index over them, too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ConfigError, SpaceError
from neardup.pipeline.index import Index
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.log.records import Described
from neardup.pipeline.match.data.items import NO_ROW, Item
from neardup.pipeline.types import Descriptors

logger = logging.getLogger(__name__)
SIMILAR = "similar"
"""Name of the file, and of the index."""


class Similars:
    """See above.

    Args:
        vectors: the file, ids being numbers of items.
        index: over the vectors of held items, empty at the start; None where nobody looks them up.
    """

    def __init__(self, vectors: VectorFile, index: Index | None = None) -> None:
        self.vectors = vectors
        self.index = index
        self._taken: list[tuple[Item, Descriptors]] = []

    @property
    def space(self) -> str:
        """Of the vectors."""
        return self.vectors.space

    def take(self, item: Item, record: Described) -> None:
        """Keep, with the next `flush`, what the last record of an item says, if it is of this space."""
        vector = record.similar_vector(self.space)
        if vector.shape[1] == self.vectors.dimension:
            self._taken.append((item, vector))

    def flush(self) -> None:
        """Keep what was taken, all at once."""
        taken, self._taken = self._taken, []
        if not taken:
            return
        numbers = np.array([item.number for item, _ in taken], dtype=np.int64)
        first = self.vectors.append(numbers, np.concatenate([vector for _, vector in taken]))
        for row, (item, _) in enumerate(taken, first):
            item.similar = row
        if self.index is not None:
            self.index.add(np.arange(first, first + len(taken), dtype=np.int64))

    def forget(self, item: Item) -> None:
        """Find an item no more."""
        if self.index is not None and item.similar != NO_ROW:
            self.index.remove(np.array([item.similar], dtype=np.int64))

    def read(self, item: Item) -> Descriptors:
        """Return the vector of an item, float32 (1, s); (0, s) if it has none."""
        rows = [] if item.similar == NO_ROW else [item.similar]
        return self.vectors.read(np.array(rows, dtype=np.int64))

    def in_use(self, items: Iterable[Item]) -> npt.NDArray[np.bool_]:
        """Return for each row whether one of these items has it."""
        used = np.zeros(len(self.vectors), dtype=np.bool_)
        used[[item.similar for item in items if item.similar != NO_ROW]] = True
        return used

    def restore(self, items: Iterable[Item], rows: int, crc32: int, space: str) -> None:
        """Take over the items of a snapshot that knew so many rows of a space, with this checksum of those in use."""
        items = list(items)
        fits = space == self.space and rows <= len(self.vectors)
        if fits:
            self.vectors.truncate(rows)
            fits = self.vectors.checksum(self.in_use(items)) == crc32
        if not fits:
            if rows:
                logger.warning("similar vectors left behind rows=%d space=%s", rows, space)
            self.vectors.truncate(0)
            for item in items:
                item.similar = NO_ROW
        if self.index is not None:
            self.index.add(np.array([item.similar for item in items if item.similar != NO_ROW], dtype=np.int64))

    def close(self) -> None:
        """Let go of files and memory."""
        if self.index is not None:
            self.index.close()
        self.vectors.close()


def open_vectors(folder: Path | None, dimension: int, space: str) -> VectorFile:
    """Return the file of a folder, None for one in memory; one that is damaged or of another head begins anew."""
    if folder is None:
        return VectorFile(None, dimension, space)
    path = folder / SIMILAR
    try:
        return VectorFile(path, dimension, space)
    except (ConfigError, SpaceError) as error:
        if not path.exists():
            raise
        logger.warning("similar vectors begin anew path=%s error=%s", path, error)
        path.unlink()
        return VectorFile(path, dimension, space)
