"""What a scan remembers between runs, in one SQLite file: files, descriptors by content, thumbnails, the last result.

Descriptors are kept by the hash of the content and by the space that made them: a file that moved is not embedded
again, and another model never meets the vectors of the first. Whatever was committed is usable after a crash. One
process at a time: the file stays locked while it is open, and the system lifts the lock from a process that died.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.log.records import Described
from neardup.pipeline.report.names import readable, visible

FORMAT = b"3"
_OLDER = (b"1", b"2")
"""Their digests of pixels were made another way, and they knew of no sound: what they describe is described anew."""
NAME = "catalog.sqlite"
_WAIT_SECONDS = 0.5
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, modified INTEGER NOT NULL,
    sha256 BLOB, reason TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS described (
    space TEXT NOT NULL, sha256 BLOB NOT NULL, format TEXT NOT NULL, parts BLOB NOT NULL, PRIMARY KEY (space, sha256)
);
CREATE TABLE IF NOT EXISTS thumbnails (
    sha256 BLOB NOT NULL, seconds REAL NOT NULL, jpeg BLOB NOT NULL, PRIMARY KEY (sha256, seconds)
);
"""
_encode = msgspec.msgpack.Encoder().encode
_decode_parts = msgspec.msgpack.Decoder(list[Described]).decode


@dataclass(frozen=True, slots=True)
class Known:
    """A file as it was when it was last read; `path` is absolute, `sha256` None where it was skipped for `reason`."""

    path: str
    size: int
    modified: int
    sha256: bytes | None
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """A described image or video, whatever files hold it; `parts` have no id yet."""

    sha256: bytes
    format: str
    parts: list[Described]


class Packed(msgspec.Struct, frozen=True):
    """A content as the catalog keeps it, and as one process hands it to another."""

    sha256: bytes
    format: str
    parts: bytes

    def unpacked(self) -> Content:
        """Return the content. Raises msgspec.DecodeError where the bytes are damaged."""
        return Content(self.sha256, self.format, _decode_parts(self.parts))


def pack(content: Content) -> Packed:
    """Return a content as the catalog keeps it."""
    return Packed(content.sha256, content.format, _encode(content.parts))


class Catalog:
    """Opened with a folder, kept there; with None, in memory and gone afterwards."""

    def __init__(self, folder: Path | None, space: str) -> None:
        """Open or create, and lock.

        Args:
            space: names the model, the preprocessing and the sampling; descriptors of others are not seen.
        Raises:
            ConfigError: the folder cannot be written, holds something else, or a catalog of a later format.
            DependencyError: another scan is using the folder, or the disk failed.
        """
        self._space = space
        self._name = "the index in memory" if folder is None else f"index {visible(os.fspath(folder))}"
        if folder is not None:
            _make_writable(folder)
        with self._translated():
            self._db = sqlite3.connect(":memory:" if folder is None else folder / NAME, timeout=_WAIT_SECONDS)
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        with self._translated():
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            # A writer that dies leaves the last commit; synchronous NORMAL in WAL mode cannot corrupt the file.
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)
        found = self.meta("format")
        if found is None or found in _OLDER:
            with self._translated():
                self._db.execute("DELETE FROM described")
            self.set_meta("format", FORMAT)
            self.commit()
        elif found != FORMAT:
            raise ConfigError(
                f"{self._name} has format {found.decode(errors='replace')}, this version of neardup reads "
                f"{FORMAT.decode()}; name another --index folder"
            )

    def close(self) -> None:
        """Close; what was not committed is forgotten."""
        self._db.close()

    def commit(self) -> None:
        """Keep everything written so far, whatever happens to this process."""
        with self._translated():
            self._db.commit()

    def meta(self, name: str) -> bytes | None:
        """Return a named value."""
        row = self._one("SELECT value FROM meta WHERE name = ?", name)
        return None if row is None else bytes(row[0])

    def set_meta(self, name: str, value: bytes) -> None:
        """Set a named value."""
        with self._translated():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def files(self) -> dict[str, Known]:
        """Return all known files by absolute path."""
        with self._translated():
            rows = self._db.execute("SELECT path, size, modified, sha256, reason, detail FROM files").fetchall()
        return {path: Known(path, *rest) for path, rest in ((os.fsdecode(row[0]), row[1:]) for row in rows)}

    def put_files(self, files: Iterable[Known]) -> None:
        """Note how files look now."""
        rows = [(os.fsencode(f.path), f.size, f.modified, f.sha256, f.reason, readable(f.detail)) for f in files]
        with self._translated():
            self._db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", rows)

    def forget(self, paths: Iterable[str]) -> None:
        """Drop files, and then every content that no file has any more."""
        with self._translated():
            self._db.executemany("DELETE FROM files WHERE path = ?", [(os.fsencode(path),) for path in paths])
            held = "(SELECT sha256 FROM files WHERE sha256 IS NOT NULL)"
            self._db.execute(f"DELETE FROM described WHERE sha256 NOT IN {held}")
            self._db.execute(f"DELETE FROM thumbnails WHERE sha256 NOT IN {held}")

    def contents(self) -> set[bytes]:
        """Return the hashes of all contents that are described in this space."""
        with self._translated():
            rows = self._db.execute("SELECT sha256 FROM described WHERE space = ?", (self._space,)).fetchall()
        return {row[0] for row in rows}

    def content(self, sha256: bytes) -> Content:
        """Return a described content, one of `contents`."""
        row = self._one("SELECT format, parts FROM described WHERE space = ? AND sha256 = ?", self._space, sha256)
        if row is None:
            raise KeyError(f"no content {sha256.hex()}")
        try:
            return Packed(sha256, row[0], row[1]).unpacked()
        except msgspec.DecodeError as error:
            raise self._damaged(error) from error

    def put_contents(self, contents: Iterable[Packed]) -> None:
        """Keep described contents."""
        rows = [(self._space, c.sha256, c.format, c.parts) for c in contents]
        with self._translated():
            self._db.executemany("INSERT OR REPLACE INTO described VALUES (?, ?, ?, ?)", rows)

    def hash_of(self, path: str) -> bytes | None:
        """Return the hash of a file's content, by its absolute path; None where it is not known or was skipped."""
        row = self._one("SELECT sha256 FROM files WHERE path = ?", os.fsencode(path))
        return None if row is None else row[0]

    def thumbnail(self, sha256: bytes, seconds: float) -> bytes | None:
        """Return the JPEG of a content at a time, if it was made before; b"" if it could not be made."""
        row = self._one("SELECT jpeg FROM thumbnails WHERE sha256 = ? AND seconds = ?", sha256, seconds)
        return None if row is None else row[0]

    def put_thumbnail(self, sha256: bytes, seconds: float, jpeg: bytes) -> None:
        """Keep a thumbnail."""
        with self._translated():
            self._db.execute("INSERT OR REPLACE INTO thumbnails VALUES (?, ?, ?)", (sha256, seconds, jpeg))

    def _one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        with self._translated():
            row: tuple[Any, ...] | None = self._db.execute(query, values).fetchone()
        return row

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn errors of the database into ours."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise DependencyError(f"{self._name}: another scan is using it") from error
            raise DependencyError(f"{self._name}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> ConfigError:
        return ConfigError(f"{self._name} is damaged ({error}); delete it, or name another --index folder")


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"index {visible(os.fspath(folder))}: {error.strerror}; name a folder to write in") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"index {visible(os.fspath(folder))} cannot be written; name a folder to write in")
