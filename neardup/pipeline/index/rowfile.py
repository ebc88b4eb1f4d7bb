"""Rows of equal size that are only ever appended: in memory, or in a file that survives a crash at any moment.

In a file a header page says what the rows are and holds two commit slots that are written in turn; the rows follow.
Rows count only once `flush` has written their number into a slot, after they themselves were on the disk: what lies
beyond the committed rows at open is a torn write, and is cut off. Rows can be erased where they stand. Whether they are
what was written is for those to check who know which rows they want: a snapshot has their checksum.

A full disk refuses no rows: the last ones then stand in memory, each call tries to write them, and `flush` says that it
could not. Rows are written by `pwrite` and mapped for reading only, so a full disk is an error and never a signal.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import ConfigError, DependencyError, SpaceError
from neardup.pipeline.files import fsync_folder, naming

logger = logging.getLogger(__name__)
HEADER_BYTES = 4096
SPACE_BYTES = 256
_MAGIC = b"neardupV"
_VERSION = 2
_WHAT = struct.Struct("<8sII256s")  # magic, version, dimension, space (zero padded); its CRC follows
_SLOT = struct.Struct("<QQ")  # sequence, committed rows; its CRC follows
_CRC = struct.Struct("<I")
_SLOT_OFFSETS = (512, 1024)  # in sectors of their own: a torn write damages one only
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CHUNK_BYTES = 2**20
_LEAST_ROWS = 256
Records = np.ndarray[Any, np.dtype[np.void]]
"""(n,) of a structured row type."""
RowSelection: TypeAlias = npt.NDArray[np.int64] | slice
"""Row numbers, from 0, taken as checked; a slice has no step."""


class RowArray:
    """Rows in memory, with the interface of `RowFile`."""

    path = None
    unwritten_bytes = 0

    def __init__(self, row: np.dtype[np.void]) -> None:
        self._array: Records = np.empty(0, row)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, records: Records) -> None:
        """Add rows after the last."""
        needed = self._length + len(records)
        if needed > len(self._array):
            grown = np.empty(max(needed, 2 * len(self._array), _LEAST_ROWS), self._array.dtype)
            grown[: self._length] = self._array[: self._length]
            self._array = grown
        self._array[self._length : needed] = records
        self._length = needed

    def take(self, rows: RowSelection, field: str | None = None) -> npt.NDArray[Any]:
        """Return rows, or one field of them: a copy for row numbers, a view for a slice."""
        return (self._array if field is None else self._array[field])[: self._length][rows]

    def truncate(self, length: int) -> None:
        """Drop the rows after the first ones."""
        self._length = length

    def erase(self, rows: Sequence[int]) -> None:
        """Overwrite rows with zeros."""
        self._array[rows] = 0

    def sync(self) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Let go of the memory."""
        self._array = self._array[:0].copy()
        self._length = 0


class RowFile:
    """Rows on a disk. One writer at a time; a reader in another process sees what was written, committed or not."""

    def __init__(self, path: Path, row: np.dtype[np.void], dimension: int, space: str, visible: int | None) -> None:
        """Open the file, or create it where it is missing or empty. See `VectorFile` for arguments and errors."""
        self._path = path
        self._row = row
        self._made_for = dimension, space
        self._length = 0
        self._stored = 0
        self._waiting = RowArray(row)
        self._waiting_from = 0
        self._unerased: list[int] = []
        self._refusal: OSError | None = None
        self._sequence = 0
        self._committed = 0
        self._mapped: Records = np.empty(0, row)
        self._file: io.FileIO | None = None
        with naming(path, "open"):
            is_new = visible is None and (not path.exists() or path.stat().st_size == 0)
            if is_new:
                self._create_if_there_is_room()
                return
            self._file = path.open("rb+" if visible is None else "rb", buffering=0)
        try:
            self._recover(self._file, visible)
            if visible is None:
                self._cut()
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        return self._length

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def unwritten_bytes(self) -> int:
        """Memory of the rows that the disk did not take."""
        return (self._length - self._stored) * self._row.itemsize

    def append(self, records: Records) -> None:
        """Add rows after the last; what the disk does not take stays in memory."""
        self._erase_again()
        if self._stored == self._length and self._store(records):
            self._length = self._stored
            return
        if self._stored == self._length:
            self._waiting, self._waiting_from = RowArray(self._row), self._stored
            logger.error("rows are kept in memory path=%s error=%s", self._path, self._refusal)
        self._waiting.append(records)
        self._length += len(records)
        self._store_waiting()

    def take(self, rows: RowSelection, field: str | None = None) -> npt.NDArray[Any]:
        """Return rows, or one field of them: a copy for row numbers, a view for a slice where all are on the disk.

        Rows are mapped from the file: nothing is read before it is used.
        """
        stored = self._map() if field is None else self._map()[field]
        if self._stored == self._length:
            return stored[: self._length][rows]
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(self._length)
            waiting = slice(max(start, self._stored) - self._waiting_from, max(stop, self._stored) - self._waiting_from)
            return np.concatenate([stored[start : min(stop, self._stored)], self._waiting.take(waiting, field)])
        taken = np.empty(rows.shape, stored.dtype)
        on_disk = rows < self._stored
        taken[on_disk] = stored[rows[on_disk]]
        taken[~on_disk] = self._waiting.take(rows[~on_disk] - self._waiting_from, field)
        return taken

    def reveal(self, length: int) -> None:
        """Have a reader see so many rows, which another process has written by now; never fewer than before."""
        self._length = self._stored = max(self._length, length)

    def truncate(self, length: int) -> None:
        """Drop, durably, the rows after the first ones."""
        if length > self._stored:
            self._waiting.truncate(length - self._waiting_from)
            self._length = length
            return
        self._length = self._stored = length
        self._mapped = np.empty(0, self._row)
        if self._file is None:
            return
        with naming(self._path, "drop rows"):
            self._commit(length)
        self._cut()  # cut off at the next open where this is not reached

    def erase(self, rows: Sequence[int]) -> None:
        """Overwrite rows with zeros; durable after the next `flush` or `sync`."""
        self._waiting.erase([row - self._waiting_from for row in rows if row >= self._stored])
        self._unerased += [row for row in rows if row < self._stored]
        self._erase_again()

    def sync(self) -> None:
        """Wait until all that was written is on the disk, without committing it."""
        self._erase_again()
        if self._unerased:  # where a file system writes a row to another place, it wants room for that
            raise DependencyError(f"{self._path}: cannot erase {len(self._unerased)} rows: {self._why()}")
        if self._file is not None:
            with naming(self._path, "flush"):
                os.fsync(self._file.fileno())

    def flush(self) -> None:
        """Commit all rows: first the rows to the disk, then the slot that counts them."""
        if self._committed == self._length and self._file is not None:
            return
        self._store_waiting()
        if self._stored < self._length or not self._has_file():
            raise DependencyError(f"{self._path}: cannot append {self._length - self._stored} rows: {self._why()}")
        self.sync()
        with naming(self._path, "flush"):
            self._commit(self._length)

    def close(self) -> None:
        """Close the file without flushing it."""
        self._mapped = np.empty(0, self._row)
        self._waiting.close()
        if self._file is not None:
            self._file.close()

    def _create_if_there_is_room(self) -> None:
        """Make the file; raises OSError for any other reason than a full disk."""
        dimension, space = self._made_for
        what = _WHAT.pack(_MAGIC, _VERSION, dimension, space.encode())
        try:
            self._file = self._path.open("wb+", buffering=0)
            self._write(0, (what + _CRC.pack(zlib.crc32(what))).ljust(HEADER_BYTES, b"\0"))
            self._commit(0)
            fsync_folder(self._path.parent)
        except OSError as error:
            if self._file is not None:
                self._file.close()
            self._file = None
            if error.errno not in _FULL:
                raise
            self._refusal = error

    def _has_file(self) -> bool:
        if self._file is None:
            with naming(self._path, "create"):
                self._create_if_there_is_room()
        return self._file is not None

    def _store(self, records: Records) -> bool:
        """Write rows after the last that is on the disk; return whether it took them."""
        try:
            if not self._has_file():
                return False
            self._write(self._end(), records.tobytes())
        except OSError as error:
            self._refusal = error
            with suppress(DependencyError):  # cut off by the next write, or at the next open
                self._cut()
            return False
        self._stored += len(records)
        return True

    def _store_waiting(self) -> None:
        """Write what waits in memory, as far as the disk takes it."""
        if self._stored == self._length:
            return
        step = max(1, _CHUNK_BYTES // self._row.itemsize)
        while self._stored < self._length:
            first = self._stored - self._waiting_from
            if not self._store(self._waiting.take(slice(first, min(first + step, len(self._waiting))))):
                return
        logger.warning("rows from memory are on the disk path=%s count=%d", self._path, len(self._waiting))
        self._waiting = RowArray(self._row)

    def _erase_again(self) -> None:
        while self._unerased:
            try:
                self._write(HEADER_BYTES + self._unerased[-1] * self._row.itemsize, bytes(self._row.itemsize))
            except OSError as error:
                self._refusal = error
                logger.error("rows not erased path=%s count=%d error=%s", self._path, len(self._unerased), error)
                return
            self._unerased.pop()

    def _map(self) -> Records:
        if len(self._mapped) < self._stored:
            with naming(self._path, "map"):
                mapped = np.memmap(self._path, dtype=self._row, mode="r", offset=HEADER_BYTES, shape=(self._stored,))
                self._mapped = mapped.view(np.ndarray)  # whose slices cost less
        return self._mapped

    def _why(self) -> str:
        return "the disk refuses" if self._refusal is None else self._refusal.strerror or str(self._refusal)

    def _recover(self, file: io.FileIO, visible: int | None) -> None:
        dimension, space = self._made_for
        with naming(self._path, "read"):
            page = file.read(HEADER_BYTES) or b""
            size = self._path.stat().st_size
        if len(page) < HEADER_BYTES or not page.startswith(_MAGIC):
            raise ConfigError(f"{self._path}: not a vector file")
        if not _is_sound(page, 0, _WHAT):
            raise ConfigError(f"{self._path}: the header is damaged")
        _, version, held_dimension, padded = _WHAT.unpack_from(page)
        if version != _VERSION:
            raise ConfigError(f"{self._path}: format version {version}, this program reads {_VERSION}")
        held = padded.rstrip(b"\0").decode()
        if (held_dimension, held) != (dimension, space):
            raise SpaceError(
                f"{self._path}: holds {held_dimension} dimensions of space {held!r}, wanted {dimension} of {space!r}"
            )
        slots = [_SLOT.unpack_from(page, offset) for offset in _SLOT_OFFSETS if _is_sound(page, offset, _SLOT)]
        if not slots:
            raise ConfigError(f"{self._path}: both commit slots are damaged")
        self._sequence, self._committed = max(slots)
        self._length = self._stored = self._committed if visible is None else visible
        if size < self._end():
            raise ConfigError(f"{self._path}: {self._length} rows were written and {size} bytes are left; it was cut")

    def _end(self) -> int:
        return HEADER_BYTES + self._stored * self._row.itemsize

    def _cut(self) -> None:
        assert self._file is not None
        with naming(self._path, "cut off a torn write"):
            self._file.truncate(self._end())

    def _commit(self, length: int) -> None:
        assert self._file is not None
        slot = _SLOT.pack(self._sequence + 1, length)
        self._write(_SLOT_OFFSETS[self._sequence % 2], slot + _CRC.pack(zlib.crc32(slot)))
        os.fsync(self._file.fileno())
        self._sequence += 1
        self._committed = length

    def _write(self, offset: int, data: bytes) -> None:
        """Write at a place and not at the file's position, which a copy of this process would share."""
        assert self._file is not None
        rest = memoryview(data)
        while rest:
            done = os.pwrite(self._file.fileno(), rest, offset)
            rest, offset = rest[done:], offset + done


def _is_sound(page: bytes, offset: int, part: struct.Struct) -> bool:
    (crc,) = _CRC.unpack_from(page, offset + part.size)
    return bool(crc == zlib.crc32(page[offset : offset + part.size]))
