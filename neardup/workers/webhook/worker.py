"""The webhook worker: sends what is flagged to a receiver over HTTP, event by event, in order.

    NEARDUP_WEBHOOK_URL=https://example.org/hook NEARDUP_WEBHOOK_SECRETS=whsec_… neardup worker webhook

Each event is sent until it is taken; the next one waits. Pauses grow; what is not taken a day after it was flagged
becomes a dead letter. Its place among the verdicts is committed to Kafka once a receiver, or the dead letters, have all
before it: so after a crash some come again, with the same id. Of several workers for one receiver one is at work.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from kafka import OffsetAndMetadata, TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.errors import ConfigError, InvalidFrame, Reason
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.interface import FeedEntry, counts_in, entry_of
from neardup.workers.dead_letters.letters import dead_letter
from neardup.workers.kafka.clients import connect_consumer
from neardup.workers.kafka.log import PARTITION, Fetched, Tail, locate, read_envelopes
from neardup.workers.kafka.outbox import Message, Outbox, make_producer
from neardup.workers.kafka.rejoin import REQUEST_MS, keep_joining
from neardup.workers.kafka.spaces import Gate
from neardup.workers.kafka.topics import check_topics, kafka_errors, open_admin, topic_names
from neardup.workers.run import telemetry, tracing
from neardup.workers.run.lag import watch_lag
from neardup.workers.webhook.delivery import Delivery, DeliveryRefused, make_delivery, make_receiver

logger = logging.getLogger(__name__)
LEAST_ATTEMPTS = 5
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.5, 300.0
COMMIT_SECONDS = 1.0
_SESSION_MS = 10_000
_WAIT_SECONDS = 0.5
_AT_ONCE = 500
_STEP_SECONDS = 1.0
_LETTER_SECONDS = 30.0


class Place(Protocol):
    """Where the worker reads; one that is committed stands for all before it."""

    def poll(self, seconds: float, hold: bool) -> list[Fetched]:
        """Return what comes next, nothing while `hold`; either way take part in the group."""

    def lost(self) -> bool:
        """Return whether the place was another worker's since the last call: what is under way is not ours."""

    def commit(self, offset: int) -> None:
        """Note that reading goes on from here."""

    def close(self) -> None: ...


class Sends(Protocol):
    """As `hook.Receiver`."""

    @property
    def host(self) -> str: ...

    def send(self, delivery: Delivery, now: float) -> None: ...

    def close(self) -> None: ...


class Letters(Protocol):
    """Keeps what was given up."""

    def park(self, delivery: Delivery, why: str, offset: int, attempts: int) -> None:
        """Return when it is safe."""

    def close(self) -> None: ...


@dataclass(slots=True)
class _Due:
    """An event that is to be sent, and the place that is reached with it."""

    entry: FeedEntry
    offset: int
    traceparent: str = ""
    attempts: int = 0
    at: float = 0.0


class WebhookWorker:
    """See `runner.Worker`.

    Args:
        wanted: whether an entry is to be sent at all.
        retry_seconds: after it was flagged, an event is given up.
        most_parked: events given up in a row after which it stops.
        clock: seconds since 1970.
        tenant: see `make_delivery`.
        counts: whether what is said at an offset of the log is to be announced: a space that stands by is filled with
            what another has announced.
    """

    def __init__(
        self,
        place: Place,
        receiver: Sends,
        letters: Letters,
        space: str,
        wanted: Callable[[FeedEntry], bool] = lambda _entry: True,
        retry_seconds: float = 86_400.0,
        most_parked: int = 100,
        clock: Callable[[], float] = time.time,
        tenant: str = "",
        counts: Callable[[int], bool] = lambda _offset: True,
    ) -> None:
        self._place = place
        self._receiver = receiver
        self._letters = letters
        self._space = space
        self._tenant = tenant
        self._wanted = wanted
        self._counts = counts
        self._retry_seconds = retry_seconds
        self._most_parked = most_parked
        self._clock = clock
        self._due: deque[_Due] = deque()
        self._read = self._committed = -1
        self._committed_at = 0.0
        self._parked = 0

    def step(self) -> None:
        """Read on, and send what is due, for about a second."""
        wait = min(max(self._due[0].at - self._clock(), 0.0), _WAIT_SECONDS) if self._due else _WAIT_SECONDS
        fetched = self._place.poll(wait, hold=bool(self._due))
        if self._place.lost():
            self._due.clear()
            self._read = self._committed = -1
        for one, envelope in zip(fetched, read_envelopes(fetched), strict=True):
            for number, event in enumerate(envelope.events):
                entry = entry_of(event, f"{envelope.offset}.{number}", envelope.timestamp_ms)
                if entry is not None and self._wanted(entry) and self._counts(envelope.offset):
                    self._due.append(_Due(entry, one.offset, one.traceparent))
            self._read = one.offset + 1
        until = self._clock() + _STEP_SECONDS
        while self._due and self._due[0].at <= self._clock() < until:
            self._send(self._due[0])
        waits = self._clock() - self._due[0].entry.at_ms / 1000 if self._due else 0.0
        telemetry.WEBHOOK_WAITING.set(max(0.0, waits))
        if self._clock() - self._committed_at >= COMMIT_SECONDS:
            self._commit()

    def ready(self) -> bool:
        """Return whether it is connected to Kafka, which it is from the start."""
        return True

    def drain(self, seconds: float) -> None:  # noqa: ARG002
        """Note how far it came; what is under way is sent by the next one."""
        self._commit()

    def close(self) -> None:
        """Disconnect."""
        self._receiver.close()
        self._letters.close()
        self._place.close()

    def _send(self, due: _Due) -> None:
        delivery = make_delivery(due.entry, self._space, due.traceparent, self._tenant)
        due.attempts += 1
        try:
            with tracing.span("webhook", (due.traceparent,), attempt=due.attempts):
                self._receiver.send(delivery, self._clock())
        except DeliveryRefused as error:
            telemetry.WEBHOOK_DELIVERIES.labels("refused").inc()
            self._refused(due, delivery, error)
            return
        self._due.popleft()
        self._parked = 0
        telemetry.WEBHOOK_DELIVERIES.labels("taken").inc()
        telemetry.WEBHOOK_SECONDS.observe(max(0.0, self._clock() - due.entry.at_ms / 1000))
        if due.traceparent:
            logger.info(
                "webhook event taken event=%s trace_id=%s", due.entry.event, tracing.trace_id(due.traceparent)
            )  # fmt: skip

    def _refused(self, due: _Due, delivery: Delivery, error: DeliveryRefused) -> None:
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(due.attempts - 1, 20), MAX_PAUSE_SECONDS)
        pause = min(max(pause, error.pause_seconds), MAX_PAUSE_SECONDS)
        due.at = self._clock() + pause
        logger.warning(
            "webhook event not taken event=%s host=%s attempts=%d pause=%.1f trace_id=%s why=%s",
            due.entry.event, self._receiver.host, due.attempts, pause, tracing.trace_id(due.traceparent), error,
        )  # fmt: skip
        if due.attempts < LEAST_ATTEMPTS or self._clock() < due.entry.at_ms / 1000 + self._retry_seconds:
            return
        self._letters.park(delivery, str(error), due.offset, due.attempts)
        self._due.popleft()
        self._parked += 1
        telemetry.WEBHOOK_DELIVERIES.labels("dead-lettered").inc()
        if self._parked >= self._most_parked:
            self._commit()
            raise ConfigError(
                f"{self._parked} events in a row became dead letters: {self._receiver.host} takes none ({error}); set "
                "webhook_url right, start again, and `neardup dead-letters replay --reason webhook`"
            )

    def _commit(self) -> None:
        reached = self._due[0].offset if self._due else self._read
        if reached > self._committed:
            self._place.commit(reached)
            self._committed = reached
        self._committed_at = self._clock()


class GroupPlace:
    """A place that Kafka keeps, for one group of workers; it begins where `verdicts` end when the first one joins.

    Args:
        begin: returns where it begins instead; None where it does not.
    """

    def __init__(
        self, settings: Settings, topic: str, group: str, begin: Callable[[], int | None] = lambda: None
    ) -> None:
        """Join."""
        self._begin = begin
        self._partition = TopicPartition(topic, PARTITION)
        self._consumer = connect_consumer(
            settings,
            group_id=group,
            isolation_level="read_committed",
            auto_offset_reset="latest",
            session_timeout_ms=_SESSION_MS,
            heartbeat_interval_ms=_SESSION_MS // 5,
            request_timeout_ms=REQUEST_MS,
            partition_assignment_strategy=[CooperativeStickyAssignor],
        )
        self._listener = _Listener()
        keep_joining(self._consumer).subscribe([topic], listener=self._listener)
        self._anchored = False

    def poll(self, seconds: float, hold: bool) -> list[Fetched]:
        """See `Place`."""
        if self._partition in self._consumer.assignment():
            (self._consumer.pause if hold else self._consumer.resume)(self._partition)
        found = self._consumer.poll(timeout_ms=int(seconds * 1000), max_records=_AT_ONCE)
        records = found.get(self._partition, [])
        if self._partition in self._consumer.assignment():
            if not self._anchored and self._consumer.committed(self._partition) is None:
                # Before anything is sent, or a crash now would leave out what is flagged until the next start.
                if (begin := self._begin()) is not None:
                    self._consumer.seek(self._partition, begin)
                    records = []
                self.commit(records[0].offset if records else self._consumer.position(self._partition))
            self._anchored = True
        telemetry.RECORDS_CONSUMED.labels(self._partition.topic).inc(len(records))
        return [
            Fetched(record.offset, record.timestamp, record.value or b"", tracing.traceparent_of(record.headers))
            for record in records
        ]

    def lost(self) -> bool:
        """See `Place`."""
        lost, self._listener.lost = self._listener.lost, False
        return lost

    def commit(self, offset: int) -> None:
        """See `Place`."""
        if self._partition in self._consumer.assignment():
            self._consumer.commit({self._partition: OffsetAndMetadata(offset, "", -1)})

    def close(self) -> None:
        """Leave the group, so that another takes over at once."""
        self._consumer.close(autocommit=False, timeout_ms=2000)


class _Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Told on the client's own thread, where nothing may block."""

    def __init__(self) -> None:
        self.lost = False

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        if list(assigned):
            logger.info("the webhook is this worker's now")

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self.lost = self.lost or bool(list(revoked))

    async def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self.lost = self.lost or bool(list(lost))


class DeadLetters:
    """Keeps what was given up in the dead-letter topic, with the reason `webhook`."""

    def __init__(self, settings: Settings, space: str, producer: Any) -> None:
        self._outbox = Outbox(producer)
        self._names = topic_names(settings.topic_root, space)

    def park(self, delivery: Delivery, why: str, offset: int, attempts: int) -> None:
        """See `Letters`.

        Raises:
            DependencyError: Kafka did not take it.
        """
        self._outbox.send([self._message(delivery, why, offset, attempts)], lambda: None)
        self._outbox.wait_below(0, _LETTER_SECONDS)

    def close(self) -> None:
        """Disconnect."""
        self._outbox.close(1.0)

    def _message(self, delivery: Delivery, why: str, offset: int, attempts: int) -> Message:
        error, source = InvalidFrame(Reason.WEBHOOK, why), (self._names.verdicts, PARTITION, offset)
        headers = tracing.headers_of(delivery.traceparent)
        return dead_letter(
            self._names.dead_letters, delivery.id.encode(), delivery.body, headers, source, error, attempts
        )


def group_of(settings: Settings, verdicts: str) -> str:
    """Return the group of the workers for one receiver and filter."""
    what = (settings.webhook_url.get_secret_value(), settings.webhook_bank, settings.webhook_decision)
    return f"{verdicts}.webhook.{hashlib.sha256(chr(10).join(what).encode()).hexdigest()[:16]}"


def has_begun(settings: Settings, verdicts: str) -> bool:
    """Return whether a worker for this receiver and filter ever read these verdicts; raises DependencyError."""
    group = group_of(settings, verdicts)
    with open_admin(settings) as admin, kafka_errors():
        return any(at.offset >= 0 for at in admin.list_group_offsets([group]).get(group, {}).values())


def turn_begin(settings: Settings, gate: Gate, verdicts: str) -> int | None:
    """Return where in these verdicts the turn of the gate's space begins, if the one before sent to this receiver.

    Raises:
        DependencyError: Kafka does not answer.
    """
    found = gate.begin()
    if found is None:
        return None
    before, first = found
    if before and not has_begun(settings, topic_names(settings.topic_root, before).verdicts):
        return None  # a new receiver, or a new filter
    with closing(Tail(settings, verdicts)) as tail:
        return locate(tail, first)


def connector(settings: Settings) -> Callable[[], WebhookWorker]:
    """Return what connects a webhook worker, for `runner.run_worker`.

    Raises:
        ConfigError: the model, the receiver or the secrets cannot be used, or the topics.
    """
    space = load_checkpoint(settings.model).space
    names = topic_names(settings.topic_root, space)
    make_receiver(settings)
    gate = Gate(settings, space)
    watch_lag(settings, names.verdicts, group_of(settings, names.verdicts), new_group_at_end=True)

    begin = partial(turn_begin, settings, gate, names.verdicts)

    def wanted(entry: FeedEntry) -> bool:
        return counts_in(entry, settings.webhook_bank, settings.webhook_only)

    def connect() -> WebhookWorker:
        with open_admin(settings) as admin:
            check_topics(admin, space, settings)
        with ExitStack() as undo:
            place = undo.enter_context(
                closing(GroupPlace(settings, names.verdicts, group_of(settings, names.verdicts), begin))
            )
            letters = undo.enter_context(closing(DeadLetters(settings, space, make_producer(settings))))
            worker = WebhookWorker(
                place,
                make_receiver(settings),
                letters,
                space,
                wanted,
                settings.webhook_retry_seconds,
                settings.max_dead_letters,
                tenant=settings.tenant,
                counts=gate.counts,
            )
            undo.pop_all()
            return worker

    return connect
