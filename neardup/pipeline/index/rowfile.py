"""A file of rows of equal size to which rows are only ever appended, and which survives a crash at any moment.

A header page says what the rows are and holds two commit slots that are written in turn; the rows follow. Rows count
only once `flush` has written their number and CRC into a slot, after they themselves were on the disk: what lies beyond
the committed rows at open is a torn write, and is cut off.
"""

from __future__ import annotations

import os
import struct
import zlib
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
_VERSION = 1
_WHAT = struct.Struct("<8sII256s")  # magic, version, dimension, space (zero padded); its CRC follows
_SLOT = struct.Struct("<QQI")  # sequence, committed rows, CRC of their bytes; its CRC follows
_CRC = struct.Struct("<I")
_SLOT_OFFSETS = (512, 1024)  # in sectors of their own: a torn write damages one only
_CHUNK_BYTES = 1 << 23


class RowFile:
    """Rows on a disk. One writer at a time; a reader in another process sees the rows that were committed."""

    def __init__(self, path: Path, row: np.dtype[np.void], dimension: int, space: str, *, read_only: bool) -> None:
        """Open the file, or create it where it is missing or empty. See `VectorFile` for the errors."""
        self._path = path
        self._row = row
        self._length = 0
        self._crc = 0
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
                self._verify()
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
    def crc(self) -> int:
        """CRC-32 of all rows."""
        return self._crc

    def append(self, records: Records) -> None:
        """Write rows after the last; a failed write leaves what was there before."""
        data = records.tobytes()
        with naming(self._path, f"append {len(records)} rows"):
            try:
                self._write(self._end(), data)
            except OSError:
                self._cut()
                raise
        self._crc = zlib.crc32(data, self._crc)
        self._length += len(records)

    def rows(self) -> Records:
        """Return all rows, mapped from the file: nothing is read before it is used."""
        if len(self._mapped) < self._length:
            with naming(self._path, "map"):
                self._mapped = np.memmap(
                    self._path, dtype=self._row, mode="r", offset=HEADER_BYTES, shape=(self._length,)
                )
        return self._mapped

    def truncate(self, length: int, crc: int) -> None:
        """Drop, durably, the rows after the first ones, whose checksum is given."""
        self._length, self._crc = length, crc
        self._mapped = np.empty(0, self._row)
        with naming(self._path, "drop rows"):
            self._commit(durable=True)
        self._cut()  # cut off at the next open where this is not reached

    def flush(self, durable: bool) -> None:
        """Commit all rows: first the rows to the disk, then the slot that counts them."""
        if self._committed == self._length:
            return
        with naming(self._path, "flush"):
            if durable:
                os.fsync(self._file.fileno())
            self._commit(durable)

    def close(self) -> None:
        """Close the file without flushing it."""
        self._mapped = np.empty(0, self._row)
        self._file.close()

    def _create(self, dimension: int, space: str) -> None:
        what = _WHAT.pack(_MAGIC, _VERSION, dimension, space.encode())
        with naming(self._path, "create"):
            self._write(0, (what + _CRC.pack(zlib.crc32(what))).ljust(HEADER_BYTES, b"\0"))
            self._commit(durable=True)
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
        self._sequence, self._committed, self._crc = max(slots)
        self._length = self._committed
        if size < self._end():
            raise ConfigError(f"{self._path}: {self._length} rows were committed and {size} bytes are left; it was cut")

    def _verify(self) -> None:
        crc, step = 0, max(1, _CHUNK_BYTES // self._row.itemsize)
        for start in range(0, self._length, step):
            crc = zlib.crc32(self.rows()[start : start + step].tobytes(), crc)
        if crc != self._crc:
            raise ConfigError(f"{self._path}: the rows do not fit their checksum; the file is damaged")

    def _end(self) -> int:
        return HEADER_BYTES + self._length * self._row.itemsize

    def _cut(self) -> None:
        with naming(self._path, "cut off a torn write"):
            self._file.truncate(self._end())

    def _commit(self, durable: bool) -> None:
        slot = _SLOT.pack(self._sequence + 1, self._length, self._crc)
        self._write(_SLOT_OFFSETS[self._sequence % 2], slot + _CRC.pack(zlib.crc32(slot)))
        if durable:
            os.fsync(self._file.fileno())
        self._sequence += 1
        self._committed = self._length

    def _write(self, offset: int, data: bytes) -> None:
        self._file.seek(offset)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]


def _is_sound(page: bytes, offset: int, part: struct.Struct) -> bool:
    (crc,) = _CRC.unpack_from(page, offset + part.size)
    return bool(crc == zlib.crc32(page[offset : offset + part.size]))
