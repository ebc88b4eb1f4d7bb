"""Follows the log and fills an embed worker's table of known content, on a thread of its own.

The table outlives the worker: the next one goes on at the offset that it stands for. It never costs the worker more
than its benefit: while Kafka or the disk fails, content is described.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
from kafka.errors import KafkaError

from neardup.pipeline.errors import DependencyError, PipelineError
from neardup.pipeline.log.changes import BankChanged, BankEdit, ReferenceChanged, ReferenceEdit
from neardup.pipeline.log.records import Removed
from neardup.pipeline.settings import Settings
from neardup.workers.embed.known_content import KnownContent, KnownTable, remove
from neardup.workers.kafka.log import Fetched, Tail
from neardup.workers.run.claim import claim_folder
from neardup.workers.run.kafka_probe import kafka_away
from neardup.workers.run.telemetry import KNOWN_CONTENT_BYTES

logger = logging.getLogger(__name__)
NAME = "known-content.sqlite"
_RECORD_BYTES = 1000
"""What a picture takes in the log, about: so it is reckoned how many records fill a table."""
_POLL_RECORDS = 2000
_POLL_SECONDS, _GATHER_SECONDS = 0.5, 0.2
_RETRY_SECONDS = 10.0
_MOST_OPEN = 64
"""Items of which some parts have come and others have not; beyond, the oldest is given up."""


class _Head(msgspec.Struct, frozen=True, tag="described"):
    """What is to be known of a `Described` without reading all of it."""

    id: str
    part: int = 0
    last: bool = True
    live: bool = False
    bank: str = "seen"
    sha256: bytes = b""
    look: bytes = b""
    source_partition: int = -1
    source_offset: int = -1


class _Item(NamedTuple):
    """An item whose parts come one after the other."""

    bank: str
    id: str
    source_partition: int
    source_offset: int


_decode = msgspec.msgpack.Decoder(_Head | Removed | ReferenceChanged | BankChanged).decode


class OpenLog(Protocol):
    """See `kafka.log.Tail`."""

    def begin(self) -> int: ...

    def end(self) -> int: ...

    def lag(self) -> int: ...

    def seek(self, offset: int) -> None: ...

    def poll(self, timeout_seconds: float, max_records: int) -> list[Fetched]: ...

    def close(self) -> None: ...


class Filler:
    """Puts records of the log into a table.

    Args:
        look: of the descriptions that are kept, see `known_content.look_digest`.
        most_bytes: of the table.
    Raises:
        sqlite3.Error: the table cannot be written.
    """

    def __init__(self, table: KnownTable, log: OpenLog, look: bytes, most_bytes: int) -> None:
        self._table, self._log, self._look = table, log, look
        self._most_records = max(most_bytes // _RECORD_BYTES, 1)
        self._parts: dict[_Item, list[bytes]] = {}
        begin, end, next = log.begin(), log.end(), table.next
        if next is None or not begin <= next <= end:
            table.clear()
            next = max(begin, end - self._most_records)
        log.seek(next)

    def step(self, seconds: float) -> int:
        """Take what comes next, waiting so long while there is nothing, and return how many records that were.

        Raises:
            sqlite3.Error: the table cannot be written.
            KafkaError, DependencyError: the log cannot be read.
        """
        if self._log.lag() > 2 * self._most_records:
            self._table.clear()  # what is in between would push everything out
            self._log.seek(self._log.end() - self._most_records)
        fetched = self._log.poll(seconds, _POLL_RECORDS)
        erased = False
        with self._table:
            for one in fetched:
                erased |= self._take(one.value)
            if fetched:
                self._table.advance(fetched[-1].offset + 1)
        if erased:
            self._table.wipe_journal()
        KNOWN_CONTENT_BYTES.set(self._table.size)
        return len(fetched)

    def _take(self, value: bytes) -> bool:
        """Take one record, and return whether something is erased."""
        try:
            record = _decode(value)
        except msgspec.MsgspecError:  # another kind of record, or garbage
            return False
        match record:
            case Removed(id=id):
                self._drop_parts(lambda item: item.id == id)
                self._table.take_down(id)
            case ReferenceChanged(id=id, edit=ReferenceEdit.REMOVE):
                self._drop_parts(lambda item: item.id == id)
                self._table.forget_item(id)
            case BankChanged(bank=bank, edit=BankEdit.DELETE):
                self._drop_parts(lambda item: item.bank == bank)
                self._table.forget_bank(bank)
            case _Head(live=False) if record.look == self._look:
                self._gather(record, value)
                return False
            case _:
                return False
        return True

    def _drop_parts(self, is_gone: Callable[[_Item], bool]) -> None:
        self._parts = {item: parts for item, parts in self._parts.items() if not is_gone(item)}

    def _gather(self, head: _Head, value: bytes) -> None:
        """Add an item once all of its parts have come."""
        item = _Item(head.bank, head.id, head.source_partition, head.source_offset)
        parts = self._parts.pop(item, []) if head.part else []
        if head.part != len(parts) or not self._table.fits(sum(map(len, parts)) + len(value)):
            return
        parts.append(value)
        if head.last:
            self._table.add(head.sha256, head.bank, head.id, parts)
            return
        self._parts[item] = parts
        if len(self._parts) > _MOST_OPEN:
            del self._parts[next(iter(self._parts))]


class KnownFiller:
    """The thread, which ends with the process.

    Args:
        open_log: connects to the log.
        kind, most_bytes: see `KnownTable`. look: see `Filler`.

    Attributes:
        current: the table as those who describe read it; None while there is none that can be relied on.
    """

    def __init__(
        self,
        path: Path,
        open_log: Callable[[], OpenLog],
        kind: str,
        look: bytes,
        most_bytes: int,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        self.current: KnownContent | None = None
        self._path, self._open_log, self._kind, self._look, self._most_bytes = path, open_log, kind, look, most_bytes
        self._retry_seconds = retry_seconds
        self._failed = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="known-content", daemon=True)

    def start(self) -> KnownFiller:
        """Follow the log from now on."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Follow it no more."""
        self._ended.set()
        self._thread.join(2)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._follow()
            except sqlite3.OperationalError as error:  # the disk is full, for instance
                self._say(f"the file: {error}")
            except sqlite3.DatabaseError as error:
                self._say(f"the file is damaged, and made anew: {error}")
                self._remove()
            except (KafkaError, PipelineError, OSError) as error:
                self._say(f"the log: {error}")
            except Exception:  # a fault of ours, which costs a cache
                logger.exception("known content is not kept")
            self.current = None
            self._ended.wait(self._retry_seconds)

    def _say(self, why: str) -> None:
        """Log why content is described again, once for as long as that lasts."""
        if why != self._failed:
            logger.warning("content that comes again is described again path=%s error=%s", self._path, why)
        self._failed = why

    def _follow(self) -> None:
        with closing(self._open_log()) as log, closing(KnownTable(self._path, self._kind, self._most_bytes)) as table:
            filler = Filler(table, log, self._look, self._most_bytes)
            self.current, self._failed = KnownContent(self._path, time.monotonic_ns()), ""
            while not self._ended.is_set():
                if filler.step(_POLL_SECONDS) < _POLL_RECORDS:
                    self._ended.wait(_GATHER_SECONDS)

    def _remove(self) -> None:
        try:
            remove(self._path)
        except OSError as error:
            logger.warning("known content cannot be removed path=%s error=%s", self._path, error)


def follow_known(settings: Settings, log: str, space: str, look: bytes) -> KnownFiller | None:
    """Return a table that is filled from now on; None where settings want none, or where there is no folder for it.

    Args:
        log: the topic. space: of the network.
    """
    if not settings.known_content_bytes:
        return None
    try:
        folder = claim_folder(settings.state_path / log, "embed")
    except (PipelineError, RuntimeError) as error:  # the latter where the user has no home
        logger.warning("content that comes again is described again error=%s", error)
        return None

    def open_log() -> Tail:
        if away := kafka_away(settings):  # a client that cannot connect leaves a thread behind
            raise DependencyError(away)
        return Tail(settings, log)

    kind = f"{space} {look.hex()}"
    return KnownFiller(folder / NAME, open_log, kind, look, settings.known_content_bytes).start()
