"""An archive into a space: its records are appended to the log, in order of time, where the match worker decides them.

So there is nothing to hand over: the log is the one order of what is loaded and of what the stream brings meanwhile.
Loading stays a bounded number of records and proofs ahead, so that live items do not wait behind an archive. Pictures
go to the blob store first: whoever reads a record may want them.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import msgspec

from neardup.pipeline.archive.folder import Folder
from neardup.pipeline.archive.order import Placed, in_order
from neardup.pipeline.archive.row import Row
from neardup.pipeline.archive.shard import reading
from neardup.pipeline.errors import ConfigError
from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.proofs import ProofPending
from neardup.pipeline.log.reasons import IgnoredReason
from neardup.pipeline.log.records import (
    ARCHIVE,
    Described,
    Envelope,
    Ignored,
    Record,
    Redelivered,
    RemovedEvent,
    Replaced,
    Verdict,
)
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.prove.pack import owner_of

logger = logging.getLogger(__name__)
BATCH_ROWS = 256
MAX_AHEAD_ITEMS = 1024
"""Items in the log that the match worker has not come to: live ones wait behind them for about a second."""
MAX_PENDING_ITEMS = 4096
"""Loaded items that wait for proofs. Prove workers do them after all others, and keep 16,384 of such in memory."""
LOADED = "loaded"
"""Folder of the journals below that of the archive, one for each log."""
_WRITERS, _WRITES_AHEAD = 16, 256
_NOTE_BATCHES = 8
_IDLE_SECONDS = 0.2
_SILENCE_SECONDS = 30.0
"""Without any verdict; then it says that it waits, and goes on waiting."""


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What was loaded into one log.

    Attributes:
        done: names of shards of which the log has all. loading: of those that come next, together.
        pictures: how many of `loading` have their pictures in the blob store. rows: how many of their rows, in order,
            the log has acknowledged.
    """

    done: tuple[str, ...] = ()
    loading: tuple[str, ...] = ()
    pictures: int = 0
    rows: int = 0


class Journal:
    """Keeps a `Note` beside the shards, so that whoever goes on, on whatever machine, loads nothing twice.

    Args:
        log_id: Kafka's id of the topic; one that was made anew has another.
    """

    def __init__(self, folder: Folder, log_id: str) -> None:
        self._folder, self._name = folder, f"{LOADED}/{log_id}.json"

    def read(self) -> Note:
        """Return what was noted last; raises ConfigError where that cannot be read, DependencyError."""
        data = self._folder.read(self._name)
        try:
            return Note() if data is None else msgspec.json.decode(data, type=Note)
        except msgspec.MsgspecError as error:
            place = f"{self._folder.url}/{self._name}"
            raise ConfigError(f"{place} is damaged ({error}); delete it, and all is loaded again") from error

    def write(self, note: Note) -> None:
        """Keep a note; raises DependencyError."""
        with TemporaryDirectory(prefix="neardup-") as scratch:
            file = Path(scratch) / "note"
            file.write_bytes(msgspec.json.encode(note))
            self._folder.put(self._name, file)


class Appends(Protocol):
    """See `log.Appender`."""

    def append(self, records: Sequence[Record]) -> list[int]: ...


class Awaited:
    """Follows what becomes of loaded items, by the verdicts.

    Attributes:
        ahead: items that the match worker has not come to. pending: those that wait for proofs.
        outcomes: how many of each decision, `known before`, `ignored`, and `passed over`, of damaged records.
        taken_down: ids of items that were ignored as they had been taken down.
    """

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.taken_down = set[str]()
        self._ahead: dict[int, str] = {}
        self._pending: set[str] = set()

    @property
    def ahead(self) -> int:
        return len(self._ahead)

    @property
    def pending(self) -> int:
        return len(self._pending)

    @property
    def undecided(self) -> int:
        return len(self._ahead) + len(self._pending)

    def add(self, offset: int, item: str) -> None:
        """Note that the record which completes an item has this offset."""
        self._ahead[offset] = item

    def take(self, envelopes: Sequence[Envelope]) -> None:
        """Take in what was published, from before the first `add` on."""
        for envelope in envelopes:
            while self._ahead and (first := next(iter(self._ahead))) < envelope.offset:
                del self._ahead[first]  # offsets come in order: the match worker took it for no record
                self.outcomes["passed over"] += 1
            own = self._ahead.pop(envelope.offset, None) is not None
            for event in envelope.events:
                if isinstance(event, Verdict) and (own or event.id in self._pending):
                    self._pending.discard(event.id)
                    self.outcomes[event.decision.value] += 1
                elif isinstance(event, RemovedEvent | Replaced):
                    self._pending.discard(event.id)
                elif own and isinstance(event, ProofPending):
                    self._pending.add(event.id)
                elif own and isinstance(event, Redelivered):
                    self.outcomes["known before"] += 1
                elif own and isinstance(event, Ignored):
                    self.outcomes["ignored"] += 1
                    if event.ignored_for is IgnoredReason.TAKEN_DOWN:
                        self.taken_down.add(event.id)


class Load:
    """Loads the shards of an archive.

    Args:
        names: of all shards.
        poll: returns further envelopes, after some time at most; it begins before anything is appended.
        announce: whether people are notified of what is found, as of live items.
        max_pending: `Settings.max_pending`, above which the match worker asks for fewer proofs, of live items too. Of
            loaded items half as many may wait, and at most MAX_PENDING_ITEMS.
        advance: called with numbers of rows that were dealt with, 0 among them; what it raises ends the run.

    Attributes:
        items: that were appended by now. without_description: that could not be described, and so not be loaded.
        awaited: what became of them.
    """

    def __init__(
        self,
        folder: Folder,
        names: Sequence[str],
        space: str,
        journal: Journal,
        blobs: Blobs,
        appender: Appends,
        poll: Callable[[float], Sequence[Envelope]],
        announce: bool = False,
        advance: Callable[[int], object] = lambda _rows: None,
        clock: Callable[[], float] = time.monotonic,
        max_pending: int = 2 * MAX_PENDING_ITEMS,
    ) -> None:
        self.awaited = Awaited()
        self._max_pending = min(max_pending // 2, MAX_PENDING_ITEMS)
        self.items = self.without_description = 0
        self._folder, self._names, self._space = folder, names, space
        self._journal, self._blobs, self._appender, self._poll = journal, blobs, appender, poll
        self._announce, self._advance, self._clock = announce, advance, clock
        self._heard_at = clock()
        self._with_thumbnails = set[int]()

    def run(self) -> None:
        """Load what an interrupted run left, then what is new, and return when all of it was decided.

        Raises:
            ConfigError: a shard is of another space, or the journal is damaged.
            DependencyError, kafka.errors.KafkaError: a store or Kafka failed; another run goes on.
        """
        note = self._journal.read()
        if note.loading:
            note = self._load(note)
        done = set(note.done)
        if new := [name for name in self._names if name not in done]:
            self._load(msgspec.structs.replace(note, loading=tuple(new)))
        while self.awaited.ahead:
            self._follow()

    def _load(self, note: Note) -> Note:
        """Load the shards that are next, and return what is noted then."""
        self._with_thumbnails = set(self._numbers_with_thumbnails(note.loading))
        self._journal.write(note)
        for name in note.loading[note.pictures :]:
            self._put_pictures(name)
            note = msgspec.structs.replace(note, pictures=note.pictures + 1)
            self._journal.write(note)
        alive = partial(self._advance, 0)
        with closing(in_order(self._folder, note.loading, self._space, alive=alive)) as placed:
            self._advance(sum(1 for _ in islice(placed, note.rows)))
            self._append_all(placed, note)
        note = Note(done=(*note.done, *note.loading))
        self._journal.write(note)
        return note

    def _append_all(self, placed: Iterator[Placed], note: Note) -> None:
        batches = 0
        while batch := list(islice(placed, min(BATCH_ROWS, max(1, self._max_pending)))):
            while self._is_full(len(batch)):
                self._follow()
            self._append(batch)
            note, batches = msgspec.structs.replace(note, rows=note.rows + len(batch)), batches + 1
            if batches % _NOTE_BATCHES == 0:
                self._journal.write(note)
            self._advance(len(batch))

    def _is_full(self, more: int) -> bool:
        """Return whether some are to be decided before more come; those not come to yet may wait for proofs, too."""
        undecided = self.awaited.undecided
        return undecided > 0 and (self.awaited.ahead > MAX_AHEAD_ITEMS or undecided + more > self._max_pending)

    def _append(self, batch: Sequence[Placed]) -> None:
        records: list[Described] = []
        for placed in batch:
            records += self._records(placed.row, placed.shard in self._with_thumbnails)
            self.items += placed.row.error is None
            self.without_description += placed.row.error is not None
        self._take(self._poll(0.0))
        if not self.awaited.ahead:
            self._heard_at = self._clock()
        for record, offset in zip(records, self._appender.append(records), strict=True):
            if record.last:
                self.awaited.add(offset, record.id)

    def _numbers_with_thumbnails(self, names: Sequence[str]) -> Iterator[int]:
        for number, name in enumerate(names):
            with reading(self._folder, name, self._space) as shard:
                if shard.conditions.thumbnail_side:
                    yield number
            self._advance(0)

    def _records(self, row: Row, has_thumbnail: bool) -> Iterator[Described]:
        """Yield the records of an item as history."""
        thumbnail = self._blobs.place_of_thumbnail(row.id, row.sha256.hex()) if has_thumbnail else ""
        for record in row.records():
            yield msgspec.structs.replace(
                record,
                space=self._space,
                source_partition=ARCHIVE,
                source_offset=max(row.time_ns or 0, 0) // 1_000_000,
                quiet=not self._announce,
                thumbnail="" if record.part else thumbnail,
            )

    def _follow(self) -> None:
        self._advance(0)
        envelopes, now = self._poll(_IDLE_SECONDS), self._clock()
        self._take(envelopes)
        if envelopes:
            self._heard_at = now
        elif now - self._heard_at > _SILENCE_SECONDS:
            self._heard_at = now
            logger.warning(
                "no verdicts for %.0f s: do match and prove workers run? undecided=%d waiting_for_proofs=%d",
                _SILENCE_SECONDS, self.awaited.ahead, self.awaited.pending,
            )  # fmt: skip

    def _take(self, envelopes: Sequence[Envelope]) -> None:
        """Note what became of items, and erase the pictures of what had been taken down.

        Flag workers do so, too, but not of a space that stands by.
        """
        self.awaited.take(envelopes)
        while self.awaited.taken_down:
            self._blobs.erase(next(iter(self.awaited.taken_down)))
            self.awaited.taken_down.pop()

    def _put_pictures(self, name: str) -> None:
        """Put the thumbnails and packs of a shard where embed workers put theirs."""
        under_way: deque[Future[None]] = deque()
        with reading(self._folder, name, self._space) as shard, ThreadPoolExecutor(_WRITERS) as pool:
            for row in shard.rows(pictures=True):
                self._advance(0)
                under_way.append(pool.submit(self._put, row))
                while len(under_way) > _WRITES_AHEAD:
                    under_way.popleft().result()
            for one in under_way:
                one.result()

    def _put(self, row: Row) -> None:
        if row.thumbnail:
            self._blobs.put_thumbnail(row.id, row.thumbnail, row.sha256.hex())
        if row.pack:
            self._blobs.put_pack(*owner_of(SEEN, row.id), row.pack, row.sha256.hex())
