"""The append-only truth: one row for each descriptor ever added, float16 with its int64 id.

Rows never change their place. Which of them can be found is the business of others (`index.py`, the state); what nobody
wants any more can be erased, and is zeros from then on.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ConfigError, DependencyError, UsageError
from neardup.pipeline.index.rowfile import SPACE_BYTES, Records, RowArray, RowFile, RowSelection
from neardup.pipeline.types import Descriptors, Ids

_CHUNK_ROWS = 16384
_SHORTEST = np.float32(1e-9)
"""Less than any row that was not erased."""


class VectorFile:
    """Rows of descriptors, in a file or in memory."""

    def __init__(self, path: Path | None, dimension: int, space: str, *, visible: int | None = None) -> None:
        """Open a file, or create it where there is none.

        Args:
            path: None keeps the rows in memory.
            dimension: d, 1 or more.
            space: id of what made the vectors, at most 256 bytes of UTF-8.
            visible: read the first rows, as many, of a file that another process may be writing.
        Raises:
            ConfigError: the file is damaged or no vector file; dimension or space cannot be used.
            SpaceError: the file holds another space or dimension.
            DependencyError: it cannot be read or written.
        """
        if dimension < 1 or len(space.encode()) > SPACE_BYTES:
            raise ConfigError(f"dimension {dimension}, space {space!r}: wanted 1 or more, and at most 256 bytes")
        self._dimension = dimension
        self._space = space
        self._row = np.dtype([("id", "<i8"), ("vector", "<f2", (dimension,))])
        self._rows: RowFile | RowArray = (
            RowArray(self._row) if path is None else RowFile(path, self._row, dimension, space, visible)
        )

    @property
    def dimension(self) -> int:
        """d."""
        return self._dimension

    @property
    def space(self) -> str:
        """Whose vectors these are."""
        return self._space

    @property
    def path(self) -> Path | None:
        """The file; None in memory."""
        return self._rows.path

    @property
    def bytes(self) -> int:
        """How much room the rows take."""
        return len(self) * self._row.itemsize

    @property
    def unwritten_bytes(self) -> int:
        """Memory of the rows that the disk did not take."""
        return self._rows.unwritten_bytes

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, ids: Ids, vectors: Descriptors) -> int:
        """Append rows and return the number of the first. They can be read at once, and are durable after `flush`.

        What a disk that is full does not take stays in memory until it does, see `unwritten_bytes`.

        Args:
            ids: int64 (n,), taken as checked.
            vectors: float32 (n, d), taken as checked.
        """
        records = np.empty(len(ids), self._row)
        records["id"] = ids
        records["vector"] = vectors
        first = len(self)
        if len(records):
            self._rows.append(records)
        return first

    def as_stored(self, vectors: Descriptors) -> Descriptors:
        """Return vectors, float32 (n, d), as `read` returns them once they are appended."""
        records = np.empty(len(vectors), self._row)
        records["vector"] = vectors
        return unit_rows(records)

    def records(self, rows: RowSelection) -> Records:
        """Return rows as they are stored: a copy for row numbers, a view for a slice."""
        return self._rows.take(rows)

    def read(self, rows: RowSelection) -> Descriptors:
        """Return rows as float32 (n, d), brought back to unit length; erased ones as zeros."""
        return unit_rows(self.records(rows))

    def ids(self, rows: RowSelection) -> Ids:
        """Return the ids of rows, int64 (n,)."""
        return self._rows.take(rows, "id").astype(np.int64)

    def checksum(self, wanted: npt.NDArray[np.bool_]) -> int:
        """Return the CRC-32 of those of the first rows that are wanted, bool (rows,), as they are stored."""
        crc = 0
        for start in range(0, len(wanted), _CHUNK_ROWS):
            some = wanted[start : start + _CHUNK_ROWS]
            crc = zlib.crc32(self.records(slice(start, start + len(some)))[some].tobytes(), crc)
        return crc

    def copy(self, path: Path, rows: Ids) -> None:
        """Write rows, under numbers from 0, into a new file for another process, which sees them uncommitted.

        Raises:
            DependencyError: the disk is full or failed.
        """
        file = RowFile(path, self._row, self._dimension, self._space, visible=None)
        for start in range(0, len(rows), _CHUNK_ROWS):
            file.append(self.records(rows[start : start + _CHUNK_ROWS]))
        unwritten = file.unwritten_bytes
        file.close()
        if unwritten:
            raise DependencyError(f"{path}: the disk does not take {unwritten} bytes")

    def erase(self, rows: npt.NDArray[np.int64]) -> None:
        """Overwrite rows with zeros, for good; where the disk refuses, with the next `append` or `sync`."""
        self._rows.erase(rows.tolist())

    def is_erased(self, rows: RowSelection) -> npt.NDArray[np.bool_]:
        """Return whether rows were erased, (n,)."""
        erased: npt.NDArray[np.bool_] = ~np.any(self.records(rows)["vector"], axis=1)
        return erased

    def truncate(self, rows: int) -> None:
        """Drop, durably, all but the first rows, 0 to `len(self)`.

        Raises:
            DependencyError: the disk is full or failed; the rows are as they were, or dropped at the next open.
        """
        if not 0 <= rows <= len(self):
            raise UsageError(f"truncate to {rows} rows: there are {len(self)}")
        self._rows.truncate(rows)

    def reveal(self, rows: int) -> None:
        """Read the first rows, as many, of a file that was opened with `visible`: more than before or none more.

        Raises:
            DependencyError: it cannot be read.
        """
        if isinstance(self._rows, RowFile):
            self._rows.reveal(rows)

    def sync(self) -> None:
        """Wait until all that was written is on the disk, without committing it; from any thread.

        Raises:
            DependencyError: the disk is full or failed.
        """
        self._rows.sync()

    def flush(self) -> None:
        """Make all rows durable; in memory there is nothing to do.

        Raises:
            DependencyError: the disk is full or failed; the rows flushed before are safe, the others can be read.
        """
        self._rows.flush()

    def close(self) -> None:
        """Close the file without flushing it."""
        self._rows.close()


def unit_rows(records: Records) -> Descriptors:
    """Return the vectors of rows as they are stored as float32 (n, d), brought back to unit length."""
    vectors: Descriptors = records["vector"].astype(np.float32)
    vectors /= np.maximum(np.sqrt(np.einsum("nd,nd->n", vectors, vectors)), _SHORTEST)[:, None]
    return vectors
