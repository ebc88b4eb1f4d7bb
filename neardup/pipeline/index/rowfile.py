"""A file of rows of equal size to which rows are only ever appended, and which survives a crash at any moment.

A header page says what the rows are and holds two commit slots that are written in turn; the rows follow. Rows count
only once `flush` has written their number into a slot, after they themselves were on the disk: what lies beyond the
committed rows at open is a torn write, and is cut off. Rows can be erased where they stand. Whether they are what was
written is for those to check who know which rows they want: a snapshot has their checksum.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neardup.pipeline.errors import ConfigError, SpaceError
from neardup.pipeline.index.durable import fsync_folder, naming

Records = np.ndarray[Any, np.dtype[np.void]]
"""(n,) of a structured row type."""

HEADER_BYTES = 4096
SPACE_BYTES = 256
_MAGIC = b"neardupV"
_VERSION = 2
_WHAT = struct.Struct("<8sII256s")  # magic, version, dimension, space (zero padded); its CRC follows
_SLOT = struct.Struct("<QQ")  # sequence, committed rows; its CRC follows
_CRC = struct.Struct("<I")
_SLOT_OFFSETS = (512, 1024)  # in sectors of their own: a torn write damages one only


class RowFile:
    """Rows on a disk. One writer at a time; a reader in another process sees the rows that were committed."""

    def __init__(self, path: Path, row: np.dtype[np.void], dimension: int, space: str, *, read_only: bool) -> None:
        """Open the file, or create it where it is missing or empty. See `VectorFile` for the errors."""
        self._path = path
        self._row = row
        self._length = 0
        self._sequence = 0
        self._committed = 0
        self._mapped: Records = np.empty(0, row)
        with naming(path, "open"):
            is_new = not read_only and (not path.exists() or path.stat().st_size == 0)
            self._file = path.open("rb" if read_only else "wb+" if is_new else "rb+", buffering=0)
        try:
            if is_new:
                self._create(dimension, space)
            else:
                self._recover(dimension, space)
            if not (is_new or read_only):
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

    def append(self, records: Records) -> None:
        """Write rows after the last; a failed write leaves what was there before."""
        data = records.tobytes()
        with naming(self._path, f"append {len(records)} rows"):
            try:
                self._write(self._end(), data)
            except OSError:
                self._cut()
                raise
        self._length += len(records)

    def rows(self) -> Records:
        """Return all rows, mapped from the file: nothing is read before it is used."""
        if len(self._mapped) < self._length:
            with naming(self._path, "map"):
                self._mapped = np.memmap(
                    self._path, dtype=self._row, mode="r", offset=HEADER_BYTES, shape=(self._length,)
                )
        return self._mapped

    def truncate(self, length: int) -> None:
        """Drop, durably, the rows after the first ones."""
        self._length = length
        self._mapped = np.empty(0, self._row)
        with naming(self._path, "drop rows"):
            self._commit(length, durable=True)
        self._cut()  # cut off at the next open where this is not reached

    def erase(self, rows: Sequence[int]) -> None:
        """Overwrite rows with zeros; durable after the next durable `flush`, or `sync`."""
        with naming(self._path, f"erase {len(rows)} rows"):
            for row in rows:
                self._write(HEADER_BYTES + row * self._row.itemsize, bytes(self._row.itemsize))

    def sync(self) -> None:
        """Wait until all that was written is on the disk, without committing it."""
        with naming(self._path, "flush"):
            os.fsync(self._file.fileno())

    def flush(self, durable: bool) -> None:
        """Commit all rows: first the rows to the disk, then the slot that counts them."""
        if self._committed == self._length:
            return
        if durable:
            self.sync()
        with naming(self._path, "flush"):
            self._commit(self._length, durable)

    def close(self) -> None:
        """Close the file without flushing it."""
        self._mapped = np.empty(0, self._row)
        self._file.close()

    def _create(self, dimension: int, space: str) -> None:
        what = _WHAT.pack(_MAGIC, _VERSION, dimension, space.encode())
        with naming(self._path, "create"):
            self._write(0, (what + _CRC.pack(zlib.crc32(what))).ljust(HEADER_BYTES, b"\0"))
            self._commit(0, durable=True)
            fsync_folder(self._path.parent)

    def _recover(self, dimension: int, space: str) -> None:
        with naming(self._path, "read"):
            page = self._file.read(HEADER_BYTES) or b""
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
        self._length = self._committed
        if size < self._end():
            raise ConfigError(f"{self._path}: {self._length} rows were committed and {size} bytes are left; it was cut")

    def _end(self) -> int:
        return HEADER_BYTES + self._length * self._row.itemsize

    def _cut(self) -> None:
        with naming(self._path, "cut off a torn write"):
            self._file.truncate(self._end())

    def _commit(self, length: int, durable: bool) -> None:
        slot = _SLOT.pack(self._sequence + 1, length)
        self._write(_SLOT_OFFSETS[self._sequence % 2], slot + _CRC.pack(zlib.crc32(slot)))
        if durable:
            os.fsync(self._file.fileno())
        self._sequence += 1
        self._committed = length

    def _write(self, offset: int, data: bytes) -> None:
        """Write at a place and not at the file's position, which a copy of this process would share."""
        rest = memoryview(data)
        while rest:
            done = os.pwrite(self._file.fileno(), rest, offset)
            rest, offset = rest[done:], offset + done


def _is_sound(page: bytes, offset: int, part: struct.Struct) -> bool:
    (crc,) = _CRC.unpack_from(page, offset + part.size)
    return bool(crc == zlib.crc32(page[offset : offset + part.size]))
