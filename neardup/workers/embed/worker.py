"""The embed worker: media in, descriptions out to the log.

    neardup worker embed --port 9101

Stateless; as many as there are GPUs share the partitions of `media`. An offset is committed once Kafka has what became
of its record and of all records before it, so a crash means that some are described twice, never that one is missing.
What is in flight is bounded in bytes and items: beyond that partitions pause, and polling goes on. No partition may use
more than half of either while there are others. Items leave in any order, but for the frames of a live video: those
leave as they came.

Bad items in a row are weather: they become dead letters at full speed. What proves that this worker itself is broken is
a known good picture that fails, see `known_good`; then the process ends.
"""

from __future__ import annotations

import atexit
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError

from neardup.pipeline.describe.source import Done
from neardup.pipeline.errors import DependencyError, InvalidFrame, PipelineError, Reason
from neardup.pipeline.log.records import Removed
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.media.fetch import fetch_rules
from neardup.pipeline.settings import Settings
from neardup.workers.dead_letters.letters import dead_letter
from neardup.workers.embed.engine import Engine, open_engine
from neardup.workers.embed.in_flight import InFlight
from neardup.workers.embed.known_filler import KnownFiller, follow_known
from neardup.workers.embed.ordering import KeyOrder
from neardup.workers.embed.poison import HOPELESS, PoisonMarks
from neardup.workers.embed.record import MediaTask, PolledItem, PolledRecord, encode_record
from neardup.workers.kafka.media_record import PRODUCER, attempts, is_end, read_item, read_key
from neardup.workers.kafka.membership import Listener, make_consumer, to_commit
from neardup.workers.kafka.offsets import Offsets
from neardup.workers.kafka.outbox import Message, Outbox, make_producer
from neardup.workers.kafka.presence import Presence
from neardup.workers.kafka.rejoin import keep_joining, read_on_after_pause
from neardup.workers.kafka.spaces import Gate, Gated, gated
from neardup.workers.kafka.topics import TopicNames, check_topics, open_admin, topic_names
from neardup.workers.run import tracing
from neardup.workers.run.disk import watch_disk
from neardup.workers.run.fault_points import reached
from neardup.workers.run.lag import watch_lag
from neardup.workers.run.telemetry import (
    DEAD_LETTERED,
    IN_FLIGHT_BYTES,
    ITEMS_OUT,
    KNOWN_CONTENTS,
    PARTITION_DEAD_LETTERS,
    PAUSED,
    RECORDS_CONSUMED,
    SELF_CHECKS,
)

logger = logging.getLogger(__name__)
_IDLE_SECONDS = 0.2
_COMMIT_SECONDS = 0.25
_POLL_RECORDS = 64
_MOST_UNCOMMITTED = 1024
"""Records of a partition that are taken while one before them is not done. After a kill so many are done again."""
_CHECK_SECONDS = 1.0
"""Between two checks of this worker while everything is bad: so long a broken one goes on at most."""
_LOGGED_PER_SECOND = 20
"""Dead letters beyond that are counted, not logged one by one."""


class EmbedWorker:
    """One connected embed worker, for `runner.run_worker`.

    Args:
        known: content that the log holds; None has all content described.
    Raises:
        ConfigError: a topic is missing or unsafe.
        DependencyError: no broker answers.
    """

    def __init__(self, settings: Settings, engine: Engine, known: KnownFiller | None = None) -> None:
        self._names: TopicNames = topic_names(settings.topic_root, engine.space)
        with open_admin(settings, 5.0) as admin:
            check_topics(admin, engine.space, settings)
        self._bound = settings.max_in_flight_bytes
        self._max_dead_letters = settings.max_dead_letters
        self._rules = fetch_rules(settings)
        self._most_items = engine.most_items
        self._blobs = Blobs(settings.blobs_url)
        self._packs = settings.prove
        self._look, self._known = engine.look, known
        self._order = KeyOrder()
        self._offsets: Offsets[TopicPartition] = Offsets()
        self._outbox = Outbox(make_producer(settings))
        self._consumer = make_consumer(settings, group_of(settings, engine.space))
        self._listener = Listener(self._consumer, self._offsets)
        keep_joining(self._consumer).subscribe([self._names.media], listener=self._listener)
        self._poison_marks = PoisonMarks(self._consumer)
        self._in_flight: InFlight[TopicPartition] = InFlight()
        self._dead_in_a_row = 0
        self._proven_at = -_CHECK_SECONDS
        self._broken = False
        self._log_second, self._logged, self._unlogged = 0, 0, 0
        self._committed_at = 0.0
        self._paused = False
        self._describer = engine.make()  # the last: nothing fails after it, so no process is left behind
        self._prove = partial(engine.prove, self._describer)

    def step(self) -> None:
        """Poll, embed at most a batch, send what is finished, commit what is confirmed."""
        self._outbox.check()
        self._pause_or_resume()
        self._poll(0.001 if self._describer.working else _IDLE_SECONDS)
        # also while there is nothing to do: processes that die are replaced at once
        for done in self._describer.step(0.05 if self._describer.working else 0.0):
            self._deliver(done)
        self._commit_due()

    def ready(self) -> bool:
        """Return whether the group has taken this worker in."""
        return bool(self._listener.heard or self._consumer.assignment())

    def drain(self, seconds: float) -> None:
        """Finish what is being decoded, drop the rest, commit what is confirmed."""
        end = time.monotonic() + seconds
        dropped = self._describer.drop_waiting()
        while self._describer.working and time.monotonic() < end - 2.5:
            for done in self._describer.step(0.1):
                self._deliver(done)
        self._outbox.wait(max(end - time.monotonic() - 1.5, 0.1))
        offsets = self._offsets.positions()  # also those that did not move, to take the marks of `PoisonMarks` away
        logger.info("embed worker drained dropped=%d unfinished=%d", len(dropped), self._describer.working)
        if offsets:
            try:
                self._consumer.commit(to_commit(offsets), timeout_ms=1000)
            except KafkaError as error:  # those are described again
                logger.warning("last commit failed error=%s", error)
            else:
                self._offsets.due()  # nothing is left for `close`

    def close(self) -> None:
        """Let go of everything; what is not committed will be described again."""
        self._listener.closing = True
        self._describer.close()
        self._commit_last()
        self._outbox.close(0.5)
        with suppress(Exception):
            self._consumer.close(autocommit=False, timeout_ms=1000)

    def _commit_last(self) -> None:
        """After a failure, commit what is confirmed, so that it is not done again; of a broken worker nothing is."""
        if self._broken or self._poison_marks.careful or not (offsets := self._offsets.due()):
            return
        with suppress(Exception):
            self._consumer.commit(to_commit(offsets), timeout_ms=1000)

    def _pause_or_resume(self) -> None:
        held = self._in_flight.bytes + self._outbox.in_flight_bytes
        IN_FLIGHT_BYTES.set(held)
        share = 0.5 if self._paused else 1.0  # it goes on when half is done, not with every record
        most = 1 if self._poison_marks.careful else self._bound
        self._paused = held >= share * most or self._describer.working >= share * self._most_items
        PAUSED.set(self._paused)
        assignment, paused = self._consumer.assignment(), self._consumer.paused()
        full = {one for one in assignment if self._paused or self._has_its_share(one, one in paused, len(assignment))}
        if new := full - paused:
            self._consumer.pause(*new)
        if done := (paused & assignment) - full:
            self._consumer.resume(*done)

    def _has_its_share(self, partition: TopicPartition, paused: bool, partitions: int) -> bool:
        """Return whether a partition has as much under way as it may, or until half of it is done."""
        share = (0.5 if partitions > 1 else 1.0) * (0.5 if paused else 1.0)
        items, size = self._in_flight.of(partition)
        return (
            items >= share * self._most_items
            or size >= share * self._bound
            or self._offsets.open(partition) >= (0.5 if paused else 1.0) * _MOST_UNCOMMITTED
        )

    def _poll(self, seconds: float) -> None:
        lost = self._listener.losses
        most = 1 if self._poison_marks.careful else _POLL_RECORDS
        read_on_after_pause(self._consumer)
        polled = self._consumer.poll(timeout_ms=round(seconds * 1000), max_records=most)
        for partition, records in polled.items():
            if partition not in self._consumer.assignment():
                continue
            if partition in self._listener.lost_since(lost):
                # Were these polled before it went, or after it came back? Only its committed offset is certain.
                raise DependencyError(f"partition {partition.partition} was taken and given back at once")
            RECORDS_CONSUMED.labels(partition.topic).inc(len(records))
            if self._poison_marks.careful and self._in_flight.bytes:  # one after the other
                self._consumer.seek(partition, records[0].offset)
                continue
            if self._offsets.assigned_in(partition) is None:
                self._begin(partition, records)
                continue
            for record in records:
                self._take(partition, record)
            reached("taken")

    def _begin(self, partition: TopicPartition, records: Sequence[Any]) -> None:
        """Take up a partition with its first records."""
        PARTITION_DEAD_LETTERS.labels(str(partition.partition))
        died = self._poison_marks.begin(partition, records[0].offset)
        self._offsets.assign([partition], records[0].offset)
        if self._poison_marks.careful:  # those after the first are polled again, one by one
            records = records[:1]
            self._consumer.seek(partition, records[0].offset + 1)
        for record in records:
            refused = died >= HOPELESS and record is records[0]
            error = InvalidFrame(Reason.DECODE, f"{died} processes died at this record") if refused else None
            self._take(partition, record, error)

    def _take(self, partition: TopicPartition, record: Any, refused: InvalidFrame | None = None) -> None:
        ticket = self._offsets.add(partition, record.offset)
        if ticket is None:  # it went while we were at it
            return
        size = len(record.value or b"") + len(record.key or b"") + 200
        self._in_flight.add(partition, size)
        polled = PolledRecord(record, ticket, size)
        try:
            if refused is not None:
                raise refused
            if record.value is None and not is_end(record.headers):
                why = f"a record without a value, {record.topic}/{record.partition}/{record.offset}"
                removed = Removed(id=read_key(record.key), by=PRODUCER, why=why)
                self._send(polled, [self._of_log(polled, encode_record(removed))], "removed")
                return
            item = read_item(record.key, record.value or b"", record.headers)
        except InvalidFrame as error:
            self._put_aside(polled, error)
            return
        slot = self._order.take(item.id) if item.live else None
        produced_ms = max(record.timestamp, 0)
        task = MediaTask(
            item, self._rules, self._blobs, record.partition, record.offset, produced_ms, self._packs, self._look,
            None if self._known is None else self._known.current,
        )  # fmt: skip
        described = PolledItem(record, ticket, size, task, slot)
        if item.ends:
            self._deliver(Done(described, [task.end()]))
        else:
            self._describer.add(described)

    def _deliver(self, done: Done[PolledItem]) -> None:
        if (slot := done.source.slot) is None:
            self._settle(done)
        else:
            self._order.act(slot, partial(self._settle, done))

    def _settle(self, done: Done[PolledItem]) -> None:
        polled = done.source
        if not self._offsets.valid(polled.ticket):  # another worker has it now
            self._in_flight.done(polled.ticket.partition, polled.size)
            ITEMS_OUT.labels("embed", "dropped").inc()
            return
        if done.error is not None:
            self._put_aside(polled, done.error)
            return
        self._dead_in_a_row = 0
        KNOWN_CONTENTS.inc(done.repeated)
        messages = [self._of_log(polled, record) for record in done.result]
        reached("described")
        self._send(polled, messages, "described")

    def _of_log(self, polled: PolledRecord, record: bytes) -> Message:
        headers = tracing.headers_of(polled.traceparent)
        return Message(self._names.log, polled.record.key, record, headers, partition=0)

    def _put_aside(self, polled: PolledRecord, error: InvalidFrame) -> None:
        record = polled.record
        self._note_bad(error)
        self._log_bad(polled, error)
        source = (record.topic, record.partition, record.offset)
        tried = attempts(record.headers) + 1
        letter = dead_letter(self._names.dead_letters, record.key, record.value, record.headers, source, error, tried)

        def count() -> None:
            DEAD_LETTERED.labels(error.reason.value).inc()
            PARTITION_DEAD_LETTERS.labels(str(record.partition)).inc()

        self._send(polled, [letter], "dead-lettered", count)

    def _note_bad(self, error: InvalidFrame) -> None:
        """Count a bad item; with too many in a row, see whether it is this worker that is bad.

        Raises:
            PipelineError: it is.
        """
        self._dead_in_a_row += 1
        now = time.monotonic()
        if self._dead_in_a_row < self._max_dead_letters or now - self._proven_at < _CHECK_SECONDS:
            return
        why = self._prove()
        self._proven_at = time.monotonic()
        SELF_CHECKS.labels("failed" if why else "passed").inc()
        if why:
            self._broken = True
            raise PipelineError(
                f"this worker is broken: a picture that is known to be good fails ({why}), after "
                f"{self._dead_in_a_row} bad items in a row, the last one {error}"
            )

    def _log_bad(self, polled: PolledRecord, error: InvalidFrame) -> None:
        self._log_rest()
        if self._logged >= _LOGGED_PER_SECOND:
            self._unlogged += 1
            return
        self._logged += 1
        record = polled.record
        logger.warning(
            "item dead-lettered reason=%s partition=%d offset=%d trace_id=%s detail=%s",
            error.reason.value, record.partition, record.offset, tracing.trace_id(polled.traceparent), error.detail,
        )  # fmt: skip

    def _log_rest(self) -> None:
        """Once a second is over, say how many dead letters of it were not logged."""
        second = int(time.monotonic())
        if second == self._log_second:
            return
        if self._unlogged:
            logger.warning("more items dead-lettered count=%d", self._unlogged)
        self._log_second, self._logged, self._unlogged = second, 0, 0

    def _send(self, polled: PolledRecord, messages: list[Message], outcome: str, also: Any = None) -> None:
        def confirmed() -> None:
            reached("acknowledged")
            self._offsets.done(polled.ticket)
            self._in_flight.done(polled.ticket.partition, polled.size)
            ITEMS_OUT.labels("embed", outcome).inc()
            if trace_id := tracing.trace_id(polled.traceparent):
                place = polled.record.partition, polled.record.offset
                logger.info("item left outcome=%s partition=%d offset=%d trace_id=%s", outcome, *place, trace_id)
            if also is not None:
                also()

        self._outbox.send(messages, confirmed)
        reached("sent")

    def _commit_due(self) -> None:
        if self._poison_marks.careful:
            if offsets := self._offsets.due():
                self._poison_marks.commit(offsets)
            self._poison_marks.forget()
            return
        if time.monotonic() - self._committed_at < _COMMIT_SECONDS:
            return
        self._committed_at = time.monotonic()
        self._log_rest()
        offsets = self._offsets.due()
        if offsets:
            reached("committing")
            self._consumer.commit_async(to_commit(offsets), callback=self._committed)

    def _committed(self, offsets: dict[TopicPartition, Any], answer: object) -> None:
        if isinstance(answer, Exception):
            logger.warning("commit failed, it comes again error=%s", answer)
            self._offsets.repeat(offsets)
        else:
            reached("committed")


def group_of(settings: Settings, space: str) -> str:
    """Return the group of the workers that describe `media` in a space."""
    return f"{settings.topic_root}.embed.{space}"


def connector(settings: Settings) -> Callable[[], Gated]:
    """Return what connects a worker; the network is made once and outlives one that has to start again.

    While the space does not serve there is none, and no member of the group.

    Raises:
        ConfigError: an unusable checkpoint, or a device that is not there.
    """
    engine = open_engine(settings)
    if (folder := Blobs(settings.blobs_url).folder) is not None:
        watch_disk("blobs", folder)
    names, gate = topic_names(settings.topic_root, engine.space), Gate(settings, engine.space)
    watch_lag(settings, names.media, group_of(settings, engine.space), waits=gate.serves)
    known = follow_known(settings, names.log, engine.space, engine.look)
    if known is not None:  # it reads the log, and has a folder, before the space serves and it joins its group
        atexit.register(Presence(settings, names, "embed").close)
    return gated(gate, partial(EmbedWorker, settings, engine, known))
