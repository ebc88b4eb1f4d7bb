"""Fill a space from the log of the one that serves, in its order: items described anew, people's changes copied.

Each record is written once, also across a kill: its source's offset stands in its header `origin`, and what was written
since the last commit is looked for before the work goes on. One process at a time fills a space.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition

from neardup.pipeline.describe.driver import Describer
from neardup.pipeline.errors import DependencyError, InvalidFrame
from neardup.pipeline.log.records import NOTHING, Described, Envelope, key_of
from neardup.pipeline.settings import Settings
from neardup.workers.embed.record import encode_record
from neardup.workers.kafka.clients import connect_consumer
from neardup.workers.kafka.leader import Leadership
from neardup.workers.kafka.log import (
    PARTITION,
    Fetched,
    Patience,
    Tail,
    last_envelope,
    locate,
    read_envelopes,
    read_record,
)
from neardup.workers.kafka.outbox import make_producer
from neardup.workers.kafka.topics import kafka_errors, topic_names
from neardup.workers.match.follower import Follower
from neardup.workers.space.missing import Missing
from neardup.workers.space.originals import FillItem, KeptOriginals
from neardup.workers.space.plan import Plan, Wanted
from neardup.workers.space.standing import Standing
from neardup.workers.space.watch import SpaceWatch

logger = logging.getLogger(__name__)
MOST_BEHIND = 2000
"""Records that the match worker of the new space may lag: the rest waits in the old log, where it is safe anyway."""
MOST_WAITING = 2000
"""Asks without an answer: more would be decided without proofs that a slower stream has."""
_MOST_SLOTS = 1024
_COMMIT_SECONDS = 1.0
_JOIN_SECONDS = 20.0
_SEND_SECONDS = 60.0
_ORIGIN = "origin"


@dataclass(slots=True)
class Count:
    """What became of the log so far, by this run.

    Attributes:
        described: items, references and frames; small: of these, from a thumbnail. copied: changes and takedowns.
        missing: without an original. left_out: records that stand no more, or are of the old model alone.
        calibrations: of these, the calibrations.
    """

    described: int = 0
    small: int = 0
    copied: int = 0
    missing: int = 0
    left_out: int = 0
    calibrations: int = 0


@dataclass(slots=True, eq=False)
class _Slot:
    """One record of the old log at its place, and what is to be written of it; None until that is known."""

    offset: int
    key: bytes
    records: list[bytes] | None
    first: list[bytes]
    then: list[bytes] = field(default_factory=list)
    size: int = 0
    erased: str = ""


class Fill:
    """Fills one space from another; for one thread.

    Args:
        source, target: the two spaces.
        describer: with the network of the target. most_items: that it may have at once.
        missing: path of the file that lists what has no original.
        thumbnails: see `KeptOriginals`.
    Raises:
        DependencyError: another process fills the target, or something outside does not answer.
    """

    def __init__(
        self,
        settings: Settings,
        source: str,
        target: str,
        describer: Describer[FillItem],
        most_items: int,
        missing: Path,
        thumbnails: bool = False,
    ) -> None:
        names, self._into = (topic_names(settings.topic_root, space) for space in (source, target))
        self._source = source
        self._describer = describer
        self._most_items, self._most_bytes = most_items, settings.max_in_flight_bytes
        self.count = Count()
        self._slots: deque[_Slot] = deque()
        self._described: dict[int, _Slot] = {}
        self._sent: deque[tuple[int, Any]] = deque()
        self._queue: deque[tuple[Fetched, Envelope]] = deque()
        self._bytes = 0
        self._committed_at = time.monotonic()
        with ExitStack() as undo:
            self._lock = undo.enter_context(
                closing(Leadership(settings, self._into, group=lock_group(settings, target)))
            )
            _wait_for(self._lock)
            self._progress = Progress(settings, fill_group(settings, target), names.log, self._into.log)
            undo.callback(self._progress.close)
            self.done = self._progress.restore(source)
            self._log = undo.enter_context(closing(Tail(settings, names.log)))
            self._verdicts = undo.enter_context(closing(Tail(settings, names.verdicts)))
            self.trimmed = max(0, self._log.begin() - self.done)
            self.done = max(self.done, self._log.begin())
            self.missing = Missing(missing, self.done)
            self._originals = undo.enter_context(closing(KeptOriginals(settings, thumbnails)))
            self._producer = make_producer(settings)
            undo.callback(self._producer.close, timeout=2)
            self.watch = undo.enter_context(closing(SpaceWatch(settings, target)))
            self._plan = Plan(self._standing(), self.missing.keys)
            self._follower = Follower(self._log, self._verdicts, self.done - 1, 0, 256)
            self._undo = undo.pop_all()

    @property
    def end(self) -> int:
        """The offset at which the old log ends by now."""
        return self._log.end()

    @property
    def why_waiting(self) -> str:
        """What the fill waits for; "" if nothing."""
        behind = self._progress.next - 1 - self.watch.last
        if behind > MOST_BEHIND:
            return f"the match worker of the new space, which is {behind:,} records behind"
        if self.watch.waiting > MOST_WAITING:
            return f"prove workers of the new space, which have {self.watch.waiting:,} pairs to prove"
        return ""

    def step(self) -> bool:
        """Do a bounded piece of work; return whether there was any.

        Raises:
            DependencyError: something outside failed, or another process fills the space by now.
        """
        if not self._lock.held():
            raise DependencyError("another process fills this space by now")
        self.watch.check()
        if not self._queue and not self.why_waiting:
            self._read()
        while self._queue and self._has_room():
            self._take(*self._queue.popleft())
        working = self._describer.working
        for done in self._describer.step(0.05 if working else 0.0):
            self._finish(done.source, done.result, done.error)
        while self._slots and self._slots[0].records is not None:
            self._send(self._slots.popleft())
        self._confirm(wait=not self._queue and not self._slots)
        return bool(self._queue or self._slots or self._sent or working)

    def close(self) -> None:
        """Note how far it came, and disconnect; what is under way is done again."""
        try:
            self._commit()
        finally:
            self._undo.close()

    # -- reading ---------------------------------------------------------------------------------------------------

    def _standing(self) -> Standing:
        """Return what stands now, as far as it matters for what is still to come."""
        standing, tail = Standing(), self._verdicts
        last = last_envelope(tail)
        if last < self.done:
            return standing
        for envelope in _envelopes_to(tail, self.done, last):
            standing.note(envelope)
        return standing

    def _read(self) -> None:
        batch = self._follower.published()
        if batch is not None:
            self._queue.extend((one, batch.published[one.offset]) for one in batch.records)

    def _has_room(self) -> bool:
        return (
            len(self._slots) < _MOST_SLOTS
            and self._describer.working < self._most_items
            and self._bytes < self._most_bytes
        )

    def _take(self, fetched: Fetched, envelope: Envelope) -> None:
        record, offset = read_record(fetched.value), fetched.offset
        slot = _Slot(offset, b"", [], [])
        self._slots.append(slot)
        if isinstance(record, str):
            self.count.left_out += 1
            return
        slot.key = key_of(record).encode()
        step = self._plan.step(offset, record, envelope.events)
        if not isinstance(step, Wanted):
            slot.records, slot.erased = [encode_record(one) for one in step.records], step.erased
            self.count.copied += bool(step.records)
            self.count.left_out += not step.records
            self.count.calibrations += step.calibration
            return
        item = self._originals.find(step.record, offset)
        slot.first = [encode_record(one) for one in step.first]
        if isinstance(item, str):
            self._miss(step.record, offset, item)
            return
        slot.records, slot.then, slot.size = None, [encode_record(one) for one in step.then], item.size
        self._bytes += item.size
        self._described[offset] = slot
        self._describer.add(item)

    def _finish(self, item: FillItem, records: list[bytes] | None, error: InvalidFrame | None) -> None:
        slot = self._described.pop(item.offset)
        self._bytes -= slot.size
        if error is not None or records is None:
            slot.records = []
            self._miss(item.task.before, item.offset, str(error))
            return
        slot.records = [*records, *slot.then]
        self.count.described += 1
        self.count.small += item.task.small_copy
        self.missing.found(item.task.before)

    def _miss(self, known: Described, offset: int, why: str) -> None:
        self.count.missing += 1
        self.missing.add(known, offset, why)

    # -- writing ---------------------------------------------------------------------------------------------------

    def _send(self, slot: _Slot) -> None:
        records = [*slot.first, *(slot.records or [])]
        sent = None
        for number, record in enumerate(records):
            last = number == len(records) - 1  # what was written in part is written again
            headers = [(_ORIGIN, f"{self._source}/{slot.offset}".encode())] if last else []
            with kafka_errors():
                sent = self._producer.send(self._into.log, record, slot.key, headers, partition=PARTITION)
        if slot.erased:  # what was described of it while it was taken down has written files
            self._originals.erase(slot.erased)
        self._sent.append((slot.offset, sent))

    def _confirm(self, wait: bool) -> None:
        while self._sent:
            offset, sent = self._sent[0]
            if sent is not None:
                if not (wait or sent.is_done or len(self._sent) > _MOST_SLOTS):
                    break
                with kafka_errors():
                    self._progress.next = int(sent.get(timeout=_SEND_SECONDS).offset) + 1
            self._sent.popleft()
            self.done = offset + 1
        if time.monotonic() - self._committed_at > _COMMIT_SECONDS:
            self._commit()

    def _commit(self) -> None:
        self.missing.save()
        self._progress.commit(self.done)
        self._committed_at = time.monotonic()


def fill_group(settings: Settings, target: str) -> str:
    """Return the group that keeps how far the logs of others were read to fill a space."""
    return f"{settings.topic_root}.fill.{target}"


def lock_group(settings: Settings, target: str) -> str:
    """Return the group by which one process at a time fills a space."""
    return f"{fill_group(settings, target)}.at-work"


class Progress:
    """How far a fill has come, kept by Kafka as an offset of the old log; with it, where the new log ended then.

    Attributes:
        next: the end of the new log, as far as this process wrote it.
    """

    def __init__(self, settings: Settings, group: str, source_log: str, target_log: str) -> None:
        self._settings = settings
        self._source, self._target = TopicPartition(source_log, PARTITION), TopicPartition(target_log, PARTITION)
        self._consumer = connect_consumer(settings, group_id=group, auto_offset_reset="earliest")
        self._consumer.assign([self._source])
        self._committed = NOTHING
        self.next = 0

    def restore(self, source: str) -> int:
        """Return the offset of the old log at which the work goes on."""
        with kafka_errors():
            known = self._consumer.committed(self._source, metadata=True)
            done, place = (0, 0) if known is None or known.offset < 0 else (known.offset, int(known.metadata or 0))
            self._committed = done
            with closing(connect_consumer(self._settings, auto_offset_reset="earliest")) as reader:
                reader.assign([self._target])
                self.next = reader.end_offsets([self._target])[self._target]
                reader.seek(self._target, max(place, reader.beginning_offsets([self._target])[self._target]))
                until = time.monotonic() + _SEND_SECONDS
                while reader.position(self._target) < self.next and time.monotonic() < until:
                    for records in reader.poll(timeout_ms=500).values():
                        for one in records:
                            until = time.monotonic() + _SEND_SECONDS
                            done = max(done, _origin(one.headers, source) + 1)
                if reader.position(self._target) < self.next:
                    raise DependencyError(f"Kafka gives nothing of {self._target.topic}")
        return done

    def commit(self, done: int) -> None:
        """Note that all of the old log before this offset is written."""
        if done != self._committed:
            with kafka_errors():
                self._consumer.commit({self._source: OffsetAndMetadata(done, str(self.next), -1)})
            self._committed = done

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close(autocommit=False, timeout_ms=1000)


def _origin(headers: Any, source: str) -> int:
    """Return of which offset of the old log a record is the last one; NOTHING if of none."""
    space, _, offset = dict(headers or ()).get(_ORIGIN, b"").decode().partition("/")
    return int(offset) if space == source and offset.isdecimal() else NOTHING


def _envelopes_to(verdicts: Tail, first: int, last: int) -> Iterator[Envelope]:
    """Yield the envelopes from one offset of the log to another, which is published."""
    verdicts.seek(locate(verdicts, first))
    patience, at = Patience(verdicts), NOTHING
    while at < last:
        for envelope in read_envelopes(verdicts.poll(0.3, 1000)):
            at = envelope.offset
            if first <= at <= last:
                yield envelope
        patience.check()


def _wait_for(lock: Leadership, clock: Callable[[], float] = time.monotonic) -> None:
    until = clock() + _JOIN_SECONDS
    while not lock.held():
        if clock() > until:
            raise DependencyError("another process fills this space; wait until it is done, or end it")
        time.sleep(0.1)
