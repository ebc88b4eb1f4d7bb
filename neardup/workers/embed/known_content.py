"""Descriptions that the log holds, by the SHA-256 of their content: content that comes again is not described again.

A table in a file (SQLite). One thread of an embed worker fills it from the log, see `known_filler`; threads and
processes that describe read it. It is a cache: whatever is wrong with it, content is described.

A description depends on more than content and network. So a record of the log carries a digest of how the item was
looked at, and only records of a worker's own kind enter its table.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

import msgspec

from neardup import __version__
from neardup.pipeline.describe.decode import Look
from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.records import Described

logger = logging.getLogger(__name__)
_FORMAT = 1
_WAIT_SECONDS = 1.0
_MOST_SHARE = 8
"""A description of more than this part of the bound is not kept: a film of hours would push out everything else."""
_EVICTED_AT_ONCE = 64
_MOST_REMOVED = 100_000
"""Ids of which it is remembered that they were taken down: a late record of one changes nothing."""
_TABLES = """
CREATE TABLE contents (age INTEGER PRIMARY KEY, sha256 BLOB UNIQUE, bank TEXT, id TEXT, parts BLOB);
CREATE INDEX contents_by_id ON contents (id);
CREATE TABLE removed (age INTEGER PRIMARY KEY, id TEXT UNIQUE);
CREATE TABLE state (next INTEGER, kind TEXT);
"""
_encode = msgspec.msgpack.Encoder().encode
_decode_parts = msgspec.msgpack.Decoder(list[bytes]).decode
_decode_described = msgspec.msgpack.Decoder(Described).decode


def look_digest(look: Look) -> bytes:
    """Return 8 bytes that stand for what shapes a description beside content and network: limits, sampling …"""
    return hashlib.blake2b(f"{__version__} {look}".encode(), digest_size=8).digest()


class KnownContent:
    """Reads a table; may be handed to other processes and used by several threads.

    Attributes:
        opened: tells apart tables that were at the same path one after the other.
    """

    def __init__(self, path: Path, opened: int) -> None:
        self._path, self._opened = path, opened
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def __reduce__(self) -> tuple[Callable[[Path, int], KnownContent], tuple[Path, int]]:
        return _reopened, (self._path, self._opened)

    def find(self, sha256: bytes) -> list[Described]:
        """Return the parts of an item with this content, as its records in the log; none where it is not known."""
        try:
            with self._lock:
                if self._db is None:
                    self._db = _connect(f"{self._path.absolute().as_uri()}?mode=ro")
                found = self._db.execute("SELECT parts FROM contents WHERE sha256 = ?", (sha256,)).fetchone()
            return [] if found is None else [_decode_described(part) for part in _decode_parts(found[0])]
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            logger.info("known content could not be read error=%s", error)
            return []


@lru_cache(maxsize=2)
def _reopened(path: Path, opened: int) -> KnownContent:
    return KnownContent(path, opened)


class KnownTable:
    """Writes a table; used by one thread, and to be closed.

    Args:
        kind: of the records that it holds, such as space and look; a table of another kind is begun anew.
        most_bytes: of the table; beyond, the content that was longest not seen makes room.
    Raises:
        sqlite3.Error: it cannot be written.
    """

    def __init__(self, path: Path, kind: str, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kind = f"{_FORMAT} {kind}"
        self._db = _connect(path.absolute().as_uri())
        try:
            self._db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA secure_delete = ON;")
            tables = self._db.execute("SELECT name FROM sqlite_master WHERE name = 'state'").fetchall()
            if not tables or self._db.execute("SELECT kind FROM state").fetchall() != [(self._kind,)]:
                self.clear()
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> KnownTable:
        """Begin changes, which take effect together at the end."""
        self._db.execute("BEGIN")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._db.in_transaction:
            self._db.execute("COMMIT" if kind is None else "ROLLBACK")

    @property
    def next(self) -> int | None:
        """The offset of the log from which on it lacks records; None of an empty table."""
        (found,) = self._db.execute("SELECT next FROM state").fetchone()
        return None if found is None else int(found)

    @property
    def size(self) -> int:
        """Bytes that the table takes."""
        pages, free, size = (
            int(self._db.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def clear(self) -> None:
        """Begin anew."""
        found = self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        drop = "".join(f"DROP TABLE {name};" for (name,) in found)
        self._db.executescript(f"BEGIN; {drop} {_TABLES} COMMIT;")
        self._db.execute("INSERT INTO state VALUES (NULL, ?)", (self._kind,))

    def fits(self, size: int) -> bool:
        """Return whether a description of so many bytes may be added."""
        return size <= self._most_bytes // _MOST_SHARE

    def add(self, sha256: bytes, bank: str, id: str, parts: Iterable[bytes]) -> None:
        """Add the records of an item, in the order of parts; of one content the last item is kept."""
        if bank == SEEN and self._db.execute("SELECT 1 FROM removed WHERE id = ?", (id,)).fetchone():
            return
        self._db.execute(
            "REPLACE INTO contents (sha256, bank, id, parts) VALUES (?, ?, ?, ?)", (sha256, bank, id, _encode(parts))
        )

    def take_down(self, id: str) -> None:
        """Take out what is known from items of an id, and add nothing of an upload of this id any more."""
        self.forget_item(id)
        self._db.execute("REPLACE INTO removed (id) VALUES (?)", (id,))
        self._db.execute("DELETE FROM removed WHERE age <= (SELECT max(age) FROM removed) - ?", (_MOST_REMOVED,))

    def forget_item(self, id: str) -> None:
        """Take out what is known from items of an id, in whichever bank."""
        self._db.execute("DELETE FROM contents WHERE id = ?", (id,))

    def forget_bank(self, bank: str) -> None:
        """Take out what is known from references of a bank."""
        self._db.execute("DELETE FROM contents WHERE bank = ?", (bank,))

    def advance(self, offset: int) -> None:
        """Note that it holds what came before this offset, and make room where it is full."""
        self._db.execute("UPDATE state SET next = ?", (offset,))
        while self.size > self._most_bytes:
            oldest = "SELECT age FROM contents ORDER BY age LIMIT ?"
            if not self._db.execute(f"DELETE FROM contents WHERE age IN ({oldest})", (_EVICTED_AT_ONCE,)).rowcount:
                return

    def wipe_journal(self) -> None:
        """Leave nothing on the disk of what was taken out; not while changes are under way."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def remove(path: Path) -> None:
    """Remove a table that is damaged; raises OSError."""
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, _WAIT_SECONDS, uri=True, isolation_level=None, check_same_thread=False)
