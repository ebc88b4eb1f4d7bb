"""Which match worker of a space speaks: one holds the log's partition in a group, and the broker fences all others.

Membership says who should publish; it cannot stop one that was paused and does not know yet that it was replaced. The
`transactional.id` does: opening a `Publisher` ends what its predecessor had under way and refuses whatever it sends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from kafka import KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError, ProducerFencedError

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.records import Envelope, asks_of
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.clients import connect_consumer, connect_producer
from neardup.workers.kafka.log import PARTITION, encode
from neardup.workers.kafka.rejoin import REQUEST_MS, keep_joining
from neardup.workers.kafka.topics import MAX_RECORD_BYTES, TopicNames
from neardup.workers.run.fault_points import reached
from neardup.workers.run.tracing import headers_of

SESSION_MS = 6000
"""A killed leader is replaced after this; the least that brokers allow by default."""
MAX_SILENCE_SECONDS = 60.0
"""Longer than any batch, build or snapshot may take."""
COMMIT_SECONDS = 5.0
"""Longest wait for a batch; the next worker then finds out what became of it."""
_POLL_MS = 100


def join_log_group(settings: Settings, names: TopicNames, group: str) -> KafkaConsumer:
    """Return a consumer that joins a group over the log's partition with its next polls.

    Raises:
        DependencyError: no broker answers.
    """
    consumer = connect_consumer(
        settings,
        group_id=group,
        auto_offset_reset="latest",
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=SESSION_MS // 4,
        request_timeout_ms=REQUEST_MS,
        partition_assignment_strategy=[CooperativeStickyAssignor],  # who has it keeps it
    )
    keep_joining(consumer).subscribe([names.log])
    return consumer


class Leadership:
    """Membership of the group; nothing is read by it and no offset is committed.

    A thread of its own takes part in the group: joining takes longer than a batch can wait. It gives up where nobody
    asks any more, so that a worker that hangs does not lead for ever.
    """

    def __init__(
        self, settings: Settings, names: TopicNames, clock: Callable[[], float] = time.monotonic, group: str = ""
    ) -> None:
        """Join; `held` tells when it was granted.

        Args:
            group: another one than that of the match workers.
        """
        self._partition = TopicPartition(names.log, PARTITION)
        self._consumer = join_log_group(settings, names, group or f"{names.verdicts}.match")
        self._clock = clock
        self._asked = clock()
        self._held = False
        self._error: Exception | None = None
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._take_part, name="leadership", daemon=True)
        self._thread.start()

    def held(self) -> bool:
        """Return whether this process is the leader, as far as it knows. Never waits.

        Raises:
            DependencyError: the group cannot be taken part in.
        """
        self._asked = self._clock()
        if self._error is not None:
            raise DependencyError(f"no part in the group of match workers: {self._error}") from self._error
        return self._held

    def close(self) -> None:
        """Leave the group, so that another takes over at once."""
        self._leaving.set()
        self._thread.join(3)

    def _take_part(self) -> None:
        try:
            while not self._leaving.is_set() and self._clock() - self._asked < MAX_SILENCE_SECONDS:
                self._consumer.poll(timeout_ms=_POLL_MS, max_records=1)
                assigned = self._partition in self._consumer.assignment()
                if assigned and self._partition not in self._consumer.paused():
                    self._consumer.pause(self._partition)
                self._held = assigned
            if not self._leaving.is_set():
                raise TimeoutError(f"the worker did nothing for {MAX_SILENCE_SECONDS:.0f} s")
        except Exception as error:
            self._error = error
        finally:
            self._held = False
            self._consumer.close(autocommit=False, timeout_ms=2000)


class Publisher:
    """Writes envelopes to `verdicts`, and what they ask to `asks`, each batch as a transaction: all or nothing."""

    def __init__(self, settings: Settings, names: TopicNames) -> None:
        """Take over from whoever published before: from now on the broker refuses that one."""
        self._topic, self._asks = names.verdicts, names.asks
        self._producer = connect_producer(
            settings,
            transactional_id=f"{names.verdicts}.match",
            compression_type="lz4",
            batch_size=2**20,
            max_request_size=MAX_RECORD_BYTES,
            max_block_ms=round(1000 * COMMIT_SECONDS),
        )
        try:
            self._producer.init_transactions()
        except BaseException:
            self.close()
            raise

    def publish(self, envelopes: Sequence[Envelope], traces: Mapping[int, str] | None = None) -> None:
        """Return when all of them are committed.

        Args:
            traces: the traceparent of each offset that has one, to be handed on.
        Raises:
            DependencyError: another one publishes, or the broker failed and what became of the batch is not known. This
                publisher is of no more use, and a new one must look at what is committed first.
        """
        failed: list[Exception | None] = []

        def commit() -> None:
            try:
                self._commit(envelopes, traces or {})
            except Exception as error:
                failed.append(error)
            else:
                failed.append(None)

        # The client waits for a lost broker for ever, and a worker has to end within 10 s.
        thread = threading.Thread(target=commit, name="publish", daemon=True)
        thread.start()
        thread.join(COMMIT_SECONDS)
        if not failed:
            raise DependencyError(f"Kafka has not confirmed a batch of verdicts within {COMMIT_SECONDS:.0f} s")
        if isinstance(failed[0], ProducerFencedError):
            raise DependencyError("another match worker has taken over") from failed[0]
        if failed[0] is not None:
            raise DependencyError(f"verdicts could not be published: {failed[0]}") from failed[0]

    def _commit(self, envelopes: Sequence[Envelope], traces: Mapping[int, str]) -> None:
        self._producer.begin_transaction()
        sent = [
            self._producer.send(
                self._topic, encode(one), headers=headers_of(traces.get(one.offset, "")), partition=PARTITION
            )
            for one in envelopes
        ]
        # In the same transaction: what waits for a proof has been asked about, and nothing else has.
        sent += [
            self._producer.send(self._asks, encode(asked), asked.id.encode(), headers_of(traces.get(one.offset, "")))
            for one in envelopes
            for event in one.events
            for asked in asks_of(event)
        ]
        reached("in-transaction")
        self._producer.commit_transaction()
        for one in sent:
            one.get(timeout=0)

    def close(self) -> None:
        """Disconnect; a transaction under way is left to the successor, or the broker, to end."""
        with suppress(KafkaError):  # that it could not be ended
            self._producer.close(timeout=0.5)
