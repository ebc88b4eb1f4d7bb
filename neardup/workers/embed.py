"""The embed worker: media in, descriptions out to the log.

    neardup worker embed --port 9101

Stateless; as many as there are GPUs share the partitions of `media`. An offset is committed once Kafka has what became
of its record and of all records before it, so a crash means that some are described twice, never that one is missing.
What is in flight is bounded in bytes: beyond that the partitions pause, and polling goes on. Items leave in any order,
but for the frames of a live video: those leave as they came.
"""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from kafka import TopicPartition
from kafka.errors import KafkaError
from PIL import Image

from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import Embedder, make_embedder
from neardup.pipeline.errors import DependencyError, InvalidFrame, PipelineError, Reason
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.media.fetch import Rules
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.messages import Record, Removed
from neardup.pipeline.settings import Settings, usable_cores
from neardup.pipeline.telemetry import (
    DEAD_LETTERED,
    IN_FLIGHT_BYTES,
    ITEMS_OUT,
    PAUSED,
    RECORDS_CONSUMED,
)
from neardup.workers import tracing
from neardup.workers.dead_letters import dead_letter
from neardup.workers.deaths import HOPELESS, Deaths
from neardup.workers.describe import Describer, Done
from neardup.workers.disk import watch_disk
from neardup.workers.gpu import watch_gpu
from neardup.workers.group import keep_joining
from neardup.workers.lag import Lag
from neardup.workers.membership import Listener, make_consumer, to_commit
from neardup.workers.offsets import Offsets
from neardup.workers.outbox import Message, Outbox, make_producer
from neardup.workers.points import reached
from neardup.workers.source import attempts, is_end, read_id, read_item
from neardup.workers.taken import END, Describable, Taken
from neardup.workers.topics import TopicNames, check_topics, open_admin, topic_names
from neardup.workers.turns import Turns

if TYPE_CHECKING:  # it imports torch
    from neardup.pipeline.media.nvjpeg import GpuJpegs

logger = logging.getLogger(__name__)
CPU_BATCH, GPU_BATCH = 32, 256
_IDLE_SECONDS = 0.2
_COMMIT_SECONDS = 0.25
_POLL_RECORDS = 64
_WRITERS = 16
"""Thumbnails on their way at once to a store that is elsewhere."""
_encode = msgspec.msgpack.Encoder().encode


class EmbedWorker:
    """One connected embed worker, for `runner.run_worker`.

    Raises:
        ConfigError: a topic is missing or unsafe.
        DependencyError: no broker answers.
    """

    def __init__(self, settings: Settings, embedder: Embedder, jpegs: GpuJpegs | None = None) -> None:
        self._names: TopicNames = topic_names(settings.topic_prefix, embedder.space)
        with open_admin(settings, 5.0) as admin:
            check_topics(admin, embedder.space, settings)
        self._bound = settings.max_in_flight_bytes
        self._max_dead_letters = settings.max_dead_letters
        self._rules = Rules(
            (settings.blobs_url, *settings.fetch_prefixes),
            settings.fetch_private,
            settings.fetch_max_bytes,
            settings.fetch_seconds,
        )
        batch = GPU_BATCH if "cuda" in embedder.engine else CPU_BATCH
        self._most_items = 4 * batch
        self._blobs = Blobs(settings.blobs_url)
        self._turns = Turns()
        self._describer: Describer[Describable] = Describer(
            embedder,
            settings.limits,
            settings.sample_fps,
            settings.worker_threads,
            batch,
            settings.max_batch_wait_seconds,
            settings.thumbnail_side,
            0 if self._blobs.local else _WRITERS,
            jpegs,
            settings.regions,
        )
        self._offsets: Offsets[TopicPartition] = Offsets()
        self._outbox = Outbox(make_producer(settings))
        self._consumer = make_consumer(settings, f"{settings.topic_prefix}.embed.{embedder.space}")
        self._listener = Listener(self._consumer, self._offsets)
        keep_joining(self._consumer).subscribe([self._names.media], listener=self._listener)
        self._deaths = Deaths(self._consumer)
        self._lag = Lag(self._consumer)
        self._held = _Counter()
        self._dead_in_a_row = 0
        self._committed_at = 0.0
        self._paused = False

    def step(self) -> None:
        """Poll, embed at most a batch, send what is finished, commit what is confirmed."""
        self._outbox.check()
        self._pause_or_resume()
        self._poll(0.001 if self._describer.working else _IDLE_SECONDS)
        if self._describer.working:
            for done in self._describer.step(0.05):
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
        offsets = self._offsets.positions()  # also those that did not move, to take the marks of `Deaths` away
        logger.info("embed worker drained dropped=%d unfinished=%d", len(dropped), self._describer.working)
        if offsets:
            try:
                self._consumer.commit(to_commit(offsets), timeout_ms=1000)
            except KafkaError as error:  # those are described again
                logger.warning("last commit failed error=%s", error)

    def close(self) -> None:
        """Let go of everything; what is not committed will be described again."""
        self._listener.closing = True
        self._describer.close()
        self._outbox.close(0.5)
        with suppress(Exception):
            self._consumer.close(autocommit=False, timeout_ms=1000)

    def _pause_or_resume(self) -> None:
        held = self._held.value + self._outbox.in_flight_bytes
        IN_FLIGHT_BYTES.set(held)
        share = 0.5 if self._paused else 1.0  # it goes on when half is done, not with every record
        most = 1 if self._deaths.careful else self._bound
        full = held >= share * most or self._describer.working >= share * self._most_items
        assignment = self._consumer.assignment()
        if full:
            new = assignment - self._consumer.paused()
            if new:
                self._consumer.pause(*new)
        elif self._paused:
            self._consumer.resume(*(self._consumer.paused() & assignment))
        self._paused = full
        PAUSED.set(full)

    def _poll(self, seconds: float) -> None:
        lost = self._listener.losses
        most = 1 if self._deaths.careful else _POLL_RECORDS
        polled = self._consumer.poll(timeout_ms=round(seconds * 1000), max_records=most)
        for partition, records in polled.items():
            if partition not in self._consumer.assignment():
                continue
            if partition in self._listener.lost_since(lost):
                # Were these polled before it went, or after it came back? Only its committed offset is certain.
                raise DependencyError(f"partition {partition.partition} was taken and given back at once")
            RECORDS_CONSUMED.labels(partition.topic).inc(len(records))
            if self._deaths.careful and self._held.value:  # one after the other
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
        died = self._deaths.begin(partition, records[0].offset)
        self._offsets.assign([partition], records[0].offset)
        if self._deaths.careful:  # those after the first are polled again, one by one
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
        self._held.add(size)
        taken = Taken(record, ticket, size)
        try:
            if refused is not None:
                raise refused
            if record.value is None and not is_end(record.headers):
                removed = Removed(id=read_id(record.key))
                self._send(taken, [self._of_log(taken, removed)], "removed")
                return
            item = read_item(record.key, record.value or b"", record.headers)
        except InvalidFrame as error:
            self._put_aside(taken, error)
            return
        turn = self._turns.take(item.id) if item.live else None
        described = Describable(record, ticket, size, item, self._rules, self._blobs, turn)
        if item.ends:
            self._deliver(Done(described, (END,)))
        else:
            self._describer.add(described)

    def _deliver(self, done: Done[Describable]) -> None:
        if (turn := done.source.turn) is None:
            self._settle(done)
        else:
            self._turns.act(turn, partial(self._settle, done))

    def _settle(self, done: Done[Describable]) -> None:
        taken = done.source
        if not self._offsets.valid(taken.ticket):  # another worker has it now
            self._held.add(-taken.size)
            ITEMS_OUT.labels("embed", "dropped").inc()
            return
        if done.error is not None:
            self._put_aside(taken, done.error)
            return
        self._dead_in_a_row = 0
        messages = [self._of_log(taken, taken.finished(part)) for part in done.parts]
        reached("described")
        self._send(taken, messages, "described")

    def _of_log(self, taken: Taken, record: Record) -> Message:
        headers = tracing.headers_of(taken.traceparent)
        return Message(self._names.log, taken.record.key, _encode(record), headers, partition=0)

    def _put_aside(self, taken: Taken, error: InvalidFrame) -> None:
        record = taken.record
        logger.warning(
            "item dead-lettered reason=%s partition=%d offset=%d trace_id=%s detail=%s",
            error.reason.value, record.partition, record.offset, tracing.trace_id(taken.traceparent), error.detail,
        )  # fmt: skip
        self._dead_in_a_row += 1
        if self._dead_in_a_row > self._max_dead_letters:
            raise PipelineError(
                f"{self._max_dead_letters} dead letters in a row, the last one {error}: something is wrong with this "
                "worker or its input (NEARDUP_MAX_DEAD_LETTERS)"
            )
        source = (record.topic, record.partition, record.offset)
        tried = attempts(record.headers) + 1
        letter = dead_letter(self._names.dead_letters, record.key, record.value, record.headers, source, error, tried)
        reason = error.reason.value
        self._send(taken, [letter], "dead-lettered", lambda: DEAD_LETTERED.labels(reason).inc())

    def _send(self, taken: Taken, messages: list[Message], outcome: str, also: Any = None) -> None:
        def confirmed() -> None:
            reached("acknowledged")
            self._offsets.done(taken.ticket)
            self._held.add(-taken.size)
            ITEMS_OUT.labels("embed", outcome).inc()
            if trace_id := tracing.trace_id(taken.traceparent):
                place = taken.record.partition, taken.record.offset
                logger.info("item left outcome=%s partition=%d offset=%d trace_id=%s", outcome, *place, trace_id)
            if also is not None:
                also()

        self._outbox.send(messages, confirmed)
        reached("sent")

    def _commit_due(self) -> None:
        if self._deaths.careful:
            if offsets := self._offsets.due():
                self._deaths.commit(offsets)
            self._deaths.forget()
            return
        if time.monotonic() - self._committed_at < _COMMIT_SECONDS:
            return
        self._committed_at = time.monotonic()
        offsets = self._offsets.due()
        if offsets:
            reached("committing")
            self._consumer.commit_async(to_commit(offsets), callback=self._committed)
        self._lag.tell(self._offsets.positions())

    def _committed(self, offsets: dict[TopicPartition, Any], answer: object) -> None:
        if isinstance(answer, Exception):
            logger.warning("commit failed, it comes again error=%s", answer)
            self._offsets.repeat(offsets)
        else:
            reached("committed")


class _Counter:
    """Bytes that both threads count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.value = 0

    def add(self, amount: int) -> None:
        """Add, or take away."""
        with self._lock:
            self.value += amount


def connector(settings: Settings) -> Callable[[], EmbedWorker]:
    """Return what connects a worker; the network is made once and outlives one that has to start again.

    Raises:
        ConfigError: an unusable checkpoint, or a device that is not there.
    """
    # As many as decode: several workers of one machine share its cores by that setting, see `up`.
    threads = min(settings.worker_threads, usable_cores())
    embedder = make_embedder(load_checkpoint(settings.model), settings.device, threads=threads)
    jpegs = None
    if "cuda" in embedder.engine:
        from neardup.pipeline.media.nvjpeg import open_gpu_jpegs

        watch_gpu()
        jpegs = open_gpu_jpegs()
    if (folder := Blobs(settings.blobs_url).folder) is not None:
        watch_disk("blobs", folder)
    logger.info("network ready space=%s engine=%s", embedder.space, embedder.engine)
    _warm_up(embedder)
    return partial(EmbedWorker, settings, embedder, jpegs)


def _warm_up(embedder: Embedder) -> None:
    """Load decoders and run the network, which takes seconds the first time, before the group counts on this worker."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG")
    tiles = [frame.tile for frame in open_media(file.getvalue(), embedder.size).frames]
    embedder.embed(np.stack(tiles))
