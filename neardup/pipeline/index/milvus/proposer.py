"""The engine past one machine: Milvus over most rows, and an exact comparison with all that it has not confirmed.

The collection follows the log. Only the leader writes: after each batch that is published, what was added and removed
since, in order. Everyone keeps what changed after the last offset that the leader wrote down in the collection
(`server.Marker`); until a change is confirmed, and so old that a search sees it without waiting, its rows are *tail*
and are compared exactly. A leader that takes over writes what follows that offset again, and writes change nothing when
repeated. Removed rows are dropped here at once, whatever Milvus still returns.

An answer that lacks a sentinel (`sentinels`) is refused. After a refusal or a failure nothing is believed until all
sentinels and a sample of rows were found twice. Meanwhile verdicts wait, or everything is compared exactly where that
is little. A collection that is lost is filled again from the vector file.

All state belongs to the caller's thread. Other threads call Milvus, with values that nobody changes: so a copy of the
process, which has none of these threads, can `save`.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.files import naming
from neardup.pipeline.index.exact import Exact, Products
from neardup.pipeline.index.milvus import names as naming_rows
from neardup.pipeline.index.milvus.names import Names
from neardup.pipeline.index.milvus.options import MilvusOptions
from neardup.pipeline.index.milvus.sentinels import MARKER, SHARDS, Turns, ids_of, vectors_of, wanted
from neardup.pipeline.index.milvus.server import MOST_RESULTS, Lost, Marker, Server
from neardup.pipeline.index.proposer import Status
from neardup.pipeline.index.rows import RowMap, RowNumbers
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.types import Descriptors

logger = logging.getLogger(__name__)
_ABSENT, _TAIL, _ENGINE, _WAITING = range(4)
"""Where a row is found: nowhere, by comparing, in Milvus, or not yet, since too many wait to be written."""
_SPARE = 16
"""Results beyond k: sentinels, rows that are gone, and copies at one distance."""
_SAVED = "milvus.msgpack"
_SCANNED_AT_ONCE = 16_384
_SENTINELS_AT_ONCE = 256
_SAMPLE = 64
"""Rows whose vectors are compared with those that a collection has, before its leader goes on with it."""
_ROUNDING = 1e-3
_PAUSE_SECONDS = 0.05
_REPORT_SECONDS = 10.0
_FEW_LACKING = 16
"""Of rows looked for; more of them and no answer of Milvus is believed."""
_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Policy:
    """Times and sizes.

    Attributes:
        write_bytes: of vectors in one call; Milvus's log refuses some 2 MB where its broker takes records of 1 MiB.
        visible_seconds: after which what was confirmed is no more compared here: a search sees it without waiting.
        again_seconds: the same for a row that was removed before, since a deposed leader's last call may still remove
            it; longer than any call takes.
        marker_seconds: between markers where nothing else is written, and between looks at it by who follows.
        patience_seconds: that a search waits for Milvus; less than the leader may be silent.
        patience_other_seconds: the same in processes that only look up.
        slice_seconds: that `ready` works before it returns.
        audit_rows, audit_seconds: so many rows are looked for in Milvus, so often.
        healed_seconds: between the two passes over all sentinels that are needed after a failure.
        lost_seconds: of answers without sentinels after which a collection counts as emptied.
        most_tail: rows compared here above which verdicts wait.
    """

    write_bytes: int = 768 * 1024
    visible_seconds: float = 1.0
    again_seconds: float = 60.0
    marker_seconds: float = 2.0
    patience_seconds: float = 45.0
    patience_other_seconds: float = 5.0
    slice_seconds: float = 1.0
    audit_rows: int = 1024
    audit_seconds: float = 5.0
    healed_seconds: float = 1.0
    lost_seconds: float = 30.0
    most_tail: int = 300_000


@dataclass(frozen=True, slots=True)
class _Change:
    """Rows that were added or removed, and the offset of the log by which that was published."""

    offset: int
    rows: RowNumbers


@dataclass(frozen=True, slots=True)
class _Write:
    """A call under way: changes that it makes true, the rows it inserts, and how often each had been removed then.

    Attributes:
        marker: what is so once it is confirmed, but for its time.
    """

    changes: list[_Change]
    rows: RowNumbers
    removals: npt.NDArray[np.int32]
    marker: Marker
    future: Future[int]


@dataclass(frozen=True, slots=True)
class _Confirmed:
    """Rows and sentinels that Milvus has confirmed at a time of its own, and from when on it is asked for them."""

    stamp: int
    from_seconds: float
    rows: RowNumbers
    removals: npt.NDArray[np.int32]
    sentinels: int


@dataclass(frozen=True, slots=True)
class _Job:
    """Something that is looked up beside, one at a time: `end` takes the result, in the caller's thread."""

    future: Future[Any]
    end: Callable[[Any], None]


class _Saved(msgspec.Struct, frozen=True):
    """What a snapshot keeps: an offset up to which everything is in the collection, and the rows that may not be."""

    collection: str
    applied: int
    rows: list[int]


class MilvusProposer:
    """Implements `Proposer`. Above `MilvusOptions.min_rows` a neighbour may be missing, and verdicts may wait."""

    def __init__(
        self,
        vectors: VectorFile,
        server: Server,
        products: Products,
        options: MilvusOptions,
        names: Names,
        owner: bool = True,
        policy: Policy = Policy(),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Make an empty one; Milvus is asked when there are enough rows.

        Args:
            products: what the tail is compared by.
            names: what the log calls the rows of the file.
            owner: see `IndexOptions`; others wait for a shorter time.
        """
        self._vectors, self._server, self._options, self._names = vectors, server, options, names
        self._policy, self._clock, self._sleep = policy, clock, sleep
        self._patience = policy.patience_seconds if owner else policy.patience_other_seconds
        self._tail = Exact(vectors, products)
        self._where = RowMap(np.int8, _ABSENT)
        self._removals = RowMap(np.int32, 0)
        self._counts = [0, 0, 0, 0]
        self._leads = False
        self._settled: int | None = None
        self._open: list[RowNumbers] = []  # changed since `settle`
        self._changes: deque[_Change] = deque()  # to be written
        self._done: deque[_Change] = deque()  # written, but after the offset that the marker names
        self._since = 0  # the offset after which changes are known
        self._saved: _Saved | None = None
        self._joined = False  # whether it is known which rows Milvus has
        self._marker = Marker(-1, 0, 0, 0)
        self._stamp, self._sentinels = 0, 0
        self._writing: _Write | None = None
        self._confirmed: list[_Confirmed] = []
        self._job: _Job | None = None
        self._turns = Turns(vectors.dimension)
        self._asked: tuple[Descriptors, int, int, Future[RowNumbers]] | None = None
        self._unanswered = 0
        self._suspect_since: float | None = None
        self._write_at = self._join_at = self._look_at = self._audit_at = self._heal_at = -math.inf
        self._failures = 0
        self._audited = 0
        self._refused, self._repaired, self._fills = 0, 0, 0
        self._told_at = -math.inf
        self._threads = ThreadPoolExecutor(3, thread_name_prefix="milvus")

    # -- Proposer ------------------------------------------------------------------------------------------------

    @property
    def is_exact(self) -> bool:
        """See `Proposer.is_exact`."""
        return self._counts[_ENGINE] == 0

    def add(self, rows: RowNumbers) -> None:
        """See `Proposer.add`."""
        self._open.append(rows.copy())
        loaded = self._settled is None and self._counts[_TAIL] + len(rows) > self._most_tail
        self._move(rows, _WAITING if loaded else _TAIL)

    def remove(self, rows: RowNumbers) -> None:
        """See `Proposer.remove`."""
        self._open.append(rows.copy())
        self._removals[rows] = self._removals[rows] + 1
        self._move(rows, _ABSENT)

    def ask(self, queries: Descriptors, k: int, effort: int) -> None:
        """See `Proposer.ask`. No row is left to Milvus until this was answered."""
        if self._searches(k) and len(queries) and self._suspect_since is None:
            self._asked = (queries, k, effort, self._begin(queries, self._width(k), effort))
            self._unanswered = 0

    def propose(self, queries: Descriptors, k: int, effort: int) -> RowNumbers:
        """See `Proposer.propose`.

        Raises:
            DependencyError: Milvus did not give a whole answer for as long as one is waited for.
        """
        end = self._clock() + self._patience
        while True:
            self._work()
            error = self._unusable()
            if error is None:
                try:
                    return self._propose(queries, k, effort)
                except DependencyError as failed:
                    self._doubt(failed)
                    error = failed
            if self._unusable() is not None:
                stuck = self._leads and self._counts[_WAITING] and self._open  # to be written once these are published
                if self._clock() >= end or stuck:
                    raise DependencyError(str(error))
                self._sleep(_PAUSE_SECONDS)

    def read(self, rows: RowNumbers) -> Descriptors | None:
        """See `Proposer.read`."""
        return self._tail.read(rows) if self._counts[_TAIL] == self._held else None

    def settle(self, offset: int, leads: bool) -> None:
        """See `Proposer.settle`."""
        if leads and not self._leads:
            self._joined = False  # who led before wrote meanwhile
        if self._settled is None:
            self._since, self._open = offset, []  # what a snapshot held; which changes made it so is not known
        self._leads, self._settled = leads, offset
        self._unanswered += 1
        if self._unanswered > 1:  # whoever asked came to another conclusion
            self._asked = None
        if self._open:
            self._changes.append(_Change(offset, np.unique(np.concatenate(self._open))))
            self._open = []
        if not self._is_used():
            self._since, self._saved = offset, None
            self._changes.clear()
        self._work()

    def ready(self) -> bool:
        """See `Proposer.ready`."""
        end = self._clock() + self._policy.slice_seconds
        while self._waits():
            self._report()
            self._work()
            if self._clock() >= end:
                return False
            self._sleep(_PAUSE_SECONDS / 5)
        return True

    def wait(self, timeout_seconds: float) -> bool:
        """Write, as the leader, all that there is, and return whether Milvus is asked for it now."""
        end = self._clock() + timeout_seconds
        while self._clock() < end:
            self.settle(self._settled or 0, leads=True)
            self.ready()
            pending = self._changes or self._writing or self._confirmed or self._counts[_TAIL]
            if not self._is_used() or (self._joined and not pending):
                return True
            self._sleep(_PAUSE_SECONDS / 5)
        return False

    def drop(self) -> None:
        """See `Proposer.drop`."""
        if self._leads and self._joined:
            try:
                if self._writing is not None:
                    self._writing.future.exception(timeout=self._patience)
                self._server.drop()
            except (DependencyError, TimeoutError) as error:
                logger.error("collection not dropped name=%s error=%s", self._server.collection, error)
        self.close()

    def save(self, folder: Path) -> None:
        """See `Proposer.save`."""
        saved = self._saved
        if self._joined:
            changes = [_NO_ROWS, *(change.rows for change in self._after_marker()), *self._open]
            saved = _Saved(self._server.collection, self._marker.applied, np.unique(np.concatenate(changes)).tolist())
        if saved is not None:
            with naming(folder, "write what Milvus lacks"):
                (folder / _SAVED).write_bytes(msgspec.msgpack.encode(saved))

    def load(self, folder: Path) -> RowNumbers:
        """See `Proposer.load`: what is kept says only which rows Milvus may lack."""
        try:
            saved = msgspec.msgpack.decode((folder / _SAVED).read_bytes(), type=_Saved)
        except (OSError, msgspec.MsgspecError):
            return _NO_ROWS
        if saved.collection == self._server.collection:
            self._saved = saved
        return _NO_ROWS

    def status(self) -> Status:
        """See `Proposer.status`."""
        return Status(
            engine="milvus",
            searcher=self._counts[_ENGINE],
            tail=self._counts[_TAIL],
            waiting=self._counts[_WAITING],
            bytes=self._tail.status().bytes,
            builds=self._fills,
            refused=self._refused,
            repaired=self._repaired,
        )

    def close(self) -> None:
        """See `Proposer.close`. A call under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._server.close()
        self._tail.close()

    # -- where rows are ------------------------------------------------------------------------------------------

    def _move(self, rows: RowNumbers, where: int) -> None:
        """Have rows found elsewhere from now on."""
        before = self._where[rows]
        if where == _TAIL:
            self._tail.add(rows[before != _TAIL])
        elif (before == _TAIL).any():
            self._tail.remove(rows[before == _TAIL])
        for place, count in zip(*np.unique(before, return_counts=True), strict=True):
            self._counts[int(place)] -= int(count)
        self._counts[where] += len(rows)
        self._where[rows] = where

    def _rows_in(self, *places: int) -> RowNumbers:
        return np.flatnonzero(np.isin(self._where[np.arange(len(self._vectors))], places))

    @property
    def _held(self) -> int:
        return sum(self._counts[_TAIL:])

    @property
    def _most_tail(self) -> int:
        return max(self._policy.most_tail, self._options.min_rows)

    def _is_used(self) -> bool:
        """Return whether Milvus is needed; once it is, it stays so."""
        return self._joined or self._counts[_ENGINE] > 0 or self._held >= max(self._options.min_rows, 1)

    def _searches(self, k: int) -> bool:
        return self._counts[_ENGINE] > 0 and k < self._held

    def _after_marker(self) -> list[_Change]:
        """Return the changes that the marker does not speak of, in order."""
        writing = [] if self._writing is None else self._writing.changes
        return [*self._done, *writing, *self._changes]

    def _unusable(self) -> DependencyError | None:
        """Return why nothing can be searched now."""
        if self._counts[_WAITING]:
            return DependencyError(f"Milvus has yet to take {self._counts[_WAITING]} of {self._held} descriptors")
        if self._suspect_since is not None and self._counts[_ENGINE]:
            return DependencyError("Milvus has not been whole since it failed")
        return None

    def _waits(self) -> bool:
        """Return whether the leader had better not search."""
        too_many = self._counts[_TAIL] > self._most_tail and self._is_used()
        return self._leads and (too_many or self._unusable() is not None)

    # -- searching -----------------------------------------------------------------------------------------------

    def _propose(self, queries: Descriptors, k: int, effort: int) -> RowNumbers:
        asked, self._asked = self._asked, None
        if k >= self._held:
            everything = self._rows_in(_TAIL, _ENGINE)
            return np.broadcast_to(everything, (len(queries), len(everything)))
        if not self._searches(k) or not len(queries):
            return self._tail.propose(queries, k)
        width = self._width(k)
        if asked is None or asked[1:3] != (k, effort) or not np.array_equal(asked[0], queries):
            future = self._begin(queries, width, effort)
        else:
            future = asked[3]
        newer = self._tail.propose(queries, k)
        return np.concatenate([newer, self._answer(future, queries, k, width, effort)], axis=1)

    def _width(self, k: int) -> int:
        return min(k + _SPARE, MOST_RESULTS)

    def _begin(self, queries: Descriptors, width: int, effort: int) -> Future[RowNumbers]:
        """Have a thread search, with sentinels among the queries."""
        ids, vectors = self._turns.choose(self._sentinels)
        below = None if self._leads else naming_rows.first_after(self._settled or 0)
        stamp, count, server = self._stamp, len(queries), self._server
        queries = np.concatenate([queries, vectors])

        def search() -> RowNumbers:
            found = server.search(queries, width, effort, stamp, below)
            lacking = found[count:, 0] != ids
            if lacking.any():
                raise DependencyError(f"Milvus's answer lacks {lacking.sum()} of {len(ids)} sentinels")
            return found[:count]

        return self._threads.submit(search)

    def _answer(self, future: Future[RowNumbers], queries: Descriptors, k: int, width: int, effort: int) -> RowNumbers:
        """Return the k nearest of the rows that are left to Milvus, or all of them, (n, m)."""
        least = min(k, self._counts[_ENGINE])
        while True:
            rows = self._found(future.result())
            short = (rows >= 0).sum(axis=1) < least
            if not short.any():
                return rows
            if width == MOST_RESULTS:
                break
            width = min(4 * width, MOST_RESULTS)  # what is gone stood before what is wanted
            future = self._begin(queries, width, effort)
        scanned = self._scan(queries[short], k + _SPARE)
        result = np.full((len(queries), max(rows.shape[1], scanned.shape[1])), -1, np.int64)
        result[~short, : rows.shape[1]] = rows[~short]
        result[short, : scanned.shape[1]] = scanned
        return result

    def _found(self, ids: RowNumbers) -> RowNumbers:
        """Return the rows of ids, -1 where one is not wanted from Milvus; what it should not have is removed there."""
        rows = naming_rows.rows_of(self._names, ids)
        where = self._where[rows]
        if self._leads and not (self._open or self._changes or self._writing):
            gone = np.unique(rows[(where == _ABSENT) & (rows >= 0)])
            if len(gone) and self._settled is not None:
                self._changes.append(_Change(self._settled, gone))
        return np.where(where == _ENGINE, rows, -1)

    def _scan(self, queries: Descriptors, k: int) -> RowNumbers:
        """Return the k nearest of the rows that are left to Milvus, by comparing with all of them."""
        rows = self._rows_in(_ENGINE)
        scores, best = np.full((len(queries), 0), -np.inf, np.float32), np.full((len(queries), 0), -1, np.int64)
        for start in range(0, len(rows), _SCANNED_AT_ONCE):
            some = rows[start : start + _SCANNED_AT_ONCE]
            scores = np.concatenate([scores, queries @ self._vectors.read(some).T], axis=1)
            best = np.concatenate([best, np.broadcast_to(some, (len(queries), len(some)))], axis=1)
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            scores, best = np.take_along_axis(scores, order, 1), np.take_along_axis(best, order, 1)
        return best

    # -- work beside, none of which waits for Milvus -------------------------------------------------------------

    def _work(self) -> None:
        """Take in what has ended and begin what is due."""
        if not self._is_used():
            return
        try:
            self._collect()
            self._end_job()
            self._mature()
            if self._job is None:
                self._begin_job()
            if self._joined and self._leads and not self._open and self._suspect_since is None:
                self._write()
        except DependencyError as error:
            self._doubt(error)

    def _begin_job(self) -> None:
        now, policy = self._clock(), self._policy
        if not self._joined:
            if now >= self._join_at and self._settled is not None and self._writing is None:
                self._join_at = now + min(0.5 * 2**self._failures, 5.0)
                self._submit(self._look_at_collection(), self._join)
        elif self._suspect_since is not None:
            if now >= self._heal_at:
                self._heal_at = now + min(0.25 * 2**self._failures, 2.0)
                self._submit(self._look_at_all(), lambda _: self._believe())
        elif not self._leads:
            if now >= self._look_at and self._changes:
                self._look_at = now + policy.marker_seconds
                self._submit(self._server.read_marker, self._follow)
        elif now >= self._audit_at and self._counts[_ENGINE] and self._writing is None:
            self._audit_at = now + policy.audit_seconds
            rows = self._next_to_audit()
            ids = naming_rows.ids_of(self._names, rows)
            self._submit(lambda: self._server.read(ids), lambda found: self._repair(rows, np.isin(ids, list(found))))

    def _submit(self, call: Callable[[], Any], end: Callable[[Any], None]) -> None:
        self._job = _Job(self._threads.submit(call), end)

    def _end_job(self) -> None:
        if self._job is not None and self._job.future.done():
            job, self._job = self._job, None
            job.end(job.future.result())

    # -- joining -------------------------------------------------------------------------------------------------

    def _look_at_collection(self) -> Callable[[], Marker | None]:
        """Return what finds out how far the collection is; the leader makes it where there is none of this log."""
        rows = self._rows_in(_TAIL, _WAITING, _ENGINE)
        rows = rows[:: max(1, len(rows) // _SAMPLE)]
        ids = naming_rows.ids_of(self._names, rows)
        stored = dict(zip(ids.tolist(), self._vectors.read(rows), strict=True))
        server, leads, settled, dimension = self._server, self._leads, self._settled or 0, self._vectors.dimension

        def look() -> Marker | None:
            marker = server.read_marker() if server.open() else None
            if not leads:
                return marker
            if marker is not None:
                found = server.read(ids[ids >= 0], with_vectors=True)
                other = [one for one, vector in found.items() if np.abs(vector - stored[one]).max() > _ROUNDING]
                if marker.applied <= settled and not other:
                    return marker
                logger.error("collection is of another log, making it anew name=%s", server.collection)
            server.make()
            marker = Marker(-1, 0, SHARDS, 0)
            places = np.arange(SHARDS)
            stamp = server.write(ids_of(places), vectors_of(places, dimension), (MARKER, _encoded(marker)))
            return msgspec.structs.replace(marker, stamp=stamp)

        return look

    def _join(self, marker: Marker | None) -> None:
        """Leave to Milvus what the marker says that it has, and keep the rest."""
        if marker is None:  # nobody leads who has written
            if self._counts[_TAIL] + self._counts[_WAITING] <= self._most_tail:
                self._move(self._rows_in(_WAITING), _TAIL)
            return
        rows = self._rows_in(_TAIL, _WAITING, _ENGINE)
        later = [change for change in self._after_marker() if change.offset > marker.applied]
        lacking = [_NO_ROWS, *(change.rows for change in later), *self._open]
        if marker.applied < self._since:  # what changed in between is known from a snapshot, or not at all
            known = self._saved is not None and self._saved.applied <= marker.applied
            lacking.append(np.array(self._saved.rows, np.int64) if known and self._saved is not None else rows)
        ids = naming_rows.ids_of(self._names, rows)
        lacking.append(rows[(ids < 0) | (ids >= naming_rows.first_after(marker.applied))])
        missing = np.unique(np.concatenate(lacking))
        has = np.setdiff1d(rows, missing, assume_unique=True)
        keep = missing[self._where[missing] != _ABSENT]
        self._asked, self._confirmed = None, []
        self._move(has, _ENGINE)
        if len(keep) <= self._most_tail:
            self._move(keep, _TAIL)
        else:  # what is compared already is compared on
            self._move(keep[self._where[keep] == _ENGINE], _WAITING)
        recorded = np.concatenate([_NO_ROWS, *(change.rows for change in later), *self._open])
        first = np.setdiff1d(missing, recorded)
        self._changes = deque([*([_Change(marker.applied + 1, first)] if len(first) else []), *later])
        self._done.clear()
        self._since = min(self._since, marker.applied)
        self._fills += self._leads and marker.applied < 0
        self._marker, self._stamp, self._sentinels = marker, marker.stamp, marker.sentinels
        self._joined, self._failures, self._suspect_since = True, 0, None
        logger.info(
            "milvus joined name=%s leads=%s applied=%d has=%d lacks=%d",
            *(self._server.collection, self._leads, marker.applied, len(has), len(keep)),
        )

    def _follow(self, marker: Marker | None) -> None:
        """Leave to Milvus what the leader has written since."""
        if marker is None:
            raise Lost(f"collection {self._server.collection} of Milvus is empty")
        if self._asked is not None or marker.applied < self._marker.applied:
            return
        while self._changes and self._changes[0].offset <= marker.applied:
            rows = self._changes.popleft().rows
            self._move(rows[self._where[rows] != _ABSENT], _ENGINE)
        self._since = max(self._since, marker.applied)
        self._marker, self._stamp, self._sentinels = marker, max(self._stamp, marker.stamp), marker.sentinels

    # -- writing -------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        """Begin the next call, if none is under way: what is held by now is inserted, the rest deleted."""
        now = self._clock()
        if self._writing is not None or now < self._write_at:
            return
        assert self._settled is not None
        changes = self._next_changes()
        applied = (changes[0].offset if changes else self._settled + 1) - 1
        if not changes and (now < self._look_at or applied <= self._marker.applied):
            return
        self._look_at = now + self._policy.marker_seconds
        rows = np.unique(np.concatenate([_NO_ROWS, *(change.rows for change in changes)]))
        ids = naming_rows.ids_of(self._names, rows)
        rows, ids = rows[ids >= 0], ids[ids >= 0]
        where = self._where[rows]
        new, gone = (where == _TAIL) | (where == _WAITING), ids[where == _ABSENT]
        said = msgspec.structs.replace(self._marker, applied=max(applied, self._marker.applied))
        written = said.rows + int(new.sum())
        marker = msgspec.structs.replace(said, rows=written, sentinels=max(wanted(written), said.sentinels))
        sentinels = self._turns.take(np.arange(said.sentinels, marker.sentinels))
        inserted = np.concatenate([ids[new], sentinels[0]])
        vectors, server = np.concatenate([self._vectors.read(rows[new]), sentinels[1]]), self._server

        def write() -> int:
            if len(gone):
                server.delete(gone)
            return server.write(inserted, vectors, (MARKER, _encoded(said)))

        future = self._threads.submit(write)
        self._writing = _Write(changes, rows[new], self._removals[rows[new]], marker, future)

    def _next_changes(self) -> list[_Change]:
        """Take as many of the changes, the oldest first, as one call may hold."""
        room = max(1, self._policy.write_bytes // (4 * self._vectors.dimension + 16))
        changes = []
        while self._changes and room > 0:
            change = self._changes.popleft()
            if len(change.rows) > room:
                self._changes.appendleft(_Change(change.offset, change.rows[room:]))
                change = _Change(change.offset, change.rows[:room])
            changes.append(change)
            room -= len(change.rows)
        return changes

    def _collect(self) -> None:
        """Take note of a call that has ended."""
        if self._writing is None or not self._writing.future.done():
            return
        writing, self._writing = self._writing, None
        try:
            stamp = writing.future.result()
        except DependencyError:
            self._changes.extendleft(reversed(writing.changes))
            self._write_at = self._clock() + min(0.5 * 2**self._failures, 5.0)
            raise
        self._marker = msgspec.structs.replace(writing.marker, stamp=max(stamp, self._marker.stamp))
        self._done.extend(writing.changes)
        while self._done and self._done[0].offset <= self._marker.applied:
            self._done.popleft()
        self._since = max(self._since, self._marker.applied)
        again = (writing.removals > 0) & (self._where[writing.rows] == _TAIL)
        for which, seconds in ((~again, self._policy.visible_seconds), (again, self._policy.again_seconds)):
            rows, removals = writing.rows[which], writing.removals[which]
            if len(rows) or which is not again:
                one = _Confirmed(stamp, self._clock() + seconds, rows, removals, writing.marker.sentinels)
                self._confirmed.append(one)

    def _mature(self) -> None:
        """Leave to Milvus what it confirmed long enough ago, unless a search is under way that began before."""
        if self._asked is not None or not self._confirmed:
            return
        now = self._clock()
        ripe = [one for one in self._confirmed if one.from_seconds <= now]
        self._confirmed = [one for one in self._confirmed if one.from_seconds > now]
        for one in ripe:
            where = self._where[one.rows]
            still = (self._removals[one.rows] == one.removals) & ((where == _TAIL) | (where == _WAITING))
            self._move(one.rows[still], _ENGINE)
            self._stamp, self._sentinels = max(self._stamp, one.stamp), max(self._sentinels, one.sentinels)

    # -- whether Milvus is whole ---------------------------------------------------------------------------------

    def _doubt(self, error: DependencyError) -> None:
        """Believe nothing until Milvus is seen to be whole; compare everything here, where that is not too much."""
        self._refused += 1
        self._failures = min(self._failures + 1, 5)
        self._asked = None
        if self._suspect_since is None:
            self._suspect_since = self._clock()
            logger.warning("milvus is not believed name=%s error=%s", self._server.collection, error)
        if isinstance(error, Lost):
            self._forget()
        elif self._counts[_ENGINE] and self._counts[_TAIL] + self._counts[_ENGINE] <= self._most_tail:
            rows = self._rows_in(_ENGINE)
            logger.warning("descriptors are compared without milvus count=%d", len(rows))
            self._move(rows, _TAIL)
            back = _Confirmed(self._stamp, math.inf, rows, self._removals[rows], self._sentinels)
            self._confirmed.append(back)

    def _forget(self) -> None:
        """Take it that Milvus has nothing: the leader fills it again."""
        logger.error("milvus has lost its rows, which are written again name=%s", self._server.collection)
        self._confirmed, self._joined, self._saved = [], False, None
        self._marker, self._stamp, self._sentinels = Marker(-1, 0, 0, 0), 0, 0
        if self._writing is not None:  # what it says is of the collection before
            self._changes.extendleft(reversed(self._writing.changes))
            self._writing = None
        rows = self._rows_in(_ENGINE)
        self._move(rows, _TAIL if self._counts[_TAIL] + len(rows) <= self._most_tail else _WAITING)
        self._job, self._join_at = None, -math.inf

    def _look_at_all(self) -> Callable[[], None]:
        """Return what looks for all sentinels and a sample of rows, twice, and raises DependencyError without them."""
        count, stamp, server, policy, sleep = self._sentinels, self._stamp, self._server, self._policy, self._sleep
        sentinels = self._turns.take(np.arange(count))
        rows = self._rows_in(_ENGINE)
        back = [one.rows for one in self._confirmed if one.from_seconds == math.inf]
        rows = np.concatenate([rows, *back])
        rows = np.random.default_rng(self._refused).permutation(rows)[: policy.audit_rows if self._leads else 0]
        ids = naming_rows.ids_of(self._names, rows)
        assert self._suspect_since is not None
        for_long, leads = self._clock() - self._suspect_since > policy.lost_seconds, self._leads

        def look() -> None:
            if not server.open():
                raise Lost(f"collection {server.collection} of Milvus is gone")
            for again in (False, True):
                if again:
                    sleep(policy.healed_seconds)
                lacking = 0
                for start in range(0, count, _SENTINELS_AT_ONCE):
                    some = slice(start, start + _SENTINELS_AT_ONCE)
                    found = server.search(sentinels[1][some], 1, 1, stamp, None)[:, 0]
                    lacking += int((found != sentinels[0][some]).sum())
                if lacking and for_long:
                    if not server.read(sentinels[0][:SHARDS]):
                        raise Lost(f"collection {server.collection} of Milvus was emptied")
                    if leads:  # an index may be unable to find a row that it has
                        server.write(*sentinels)
                if lacking:
                    raise DependencyError(f"Milvus lacks {lacking} of {count} sentinels")
                there = len(server.read(ids)) if len(ids) else 0
                if there < len(ids):
                    kind = Lost if for_long else DependencyError
                    raise kind(f"Milvus lacks {len(ids) - there} of {len(ids)} rows")

        return look

    def _believe(self) -> None:
        assert self._suspect_since is not None
        logger.warning("milvus is whole again after_seconds=%.1f", self._clock() - self._suspect_since)
        self._suspect_since, self._failures = None, 0
        self._audit_at = -math.inf
        now = self._clock()
        self._confirmed = [
            replace(one, from_seconds=now) if one.from_seconds == math.inf else one for one in self._confirmed
        ]

    def _next_to_audit(self) -> RowNumbers:
        """Return the next rows that are left to Milvus, round and round."""
        at_once, rows = self._policy.audit_rows, _NO_ROWS
        while not len(rows):
            span = np.arange(self._audited, min(self._audited + 4 * at_once, len(self._vectors)))
            rows = span[self._where[span] == _ENGINE][:at_once]
            self._audited = int(rows[-1]) + 1 if len(rows) == at_once else int(span[-1]) + 1 if len(span) else 0
        return rows

    def _repair(self, rows: RowNumbers, there: npt.NDArray[np.bool_]) -> None:
        """Write again what Milvus lacks of rows that were left to it when they were looked for."""
        lacking = rows[~there & (self._where[rows] == _ENGINE)]
        if len(lacking):
            assert self._settled is not None
            logger.error("milvus lacks rows, which are written again count=%d", len(lacking))
            self._repaired += len(lacking)
            self._asked = None
            self._move(lacking, _TAIL)
            self._changes.append(_Change(self._settled, lacking))
        if len(lacking) > _FEW_LACKING:
            raise DependencyError(f"Milvus lacks {len(lacking)} of {len(rows)} rows")

    def _report(self) -> None:
        if self._counts[_WAITING] and self._clock() - self._told_at >= _REPORT_SECONDS:
            self._told_at = self._clock()
            has = self._held - self._counts[_WAITING]
            logger.warning(
                "milvus is filled, verdicts wait name=%s has=%d of=%d", self._server.collection, has, self._held
            )


def _encoded(marker: Marker) -> str:
    return msgspec.json.encode(marker).decode()
