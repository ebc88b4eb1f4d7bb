"""Consumer groups of embed and prove workers: who has which partitions, and what is committed when they go."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from neardup.pipeline.settings import Settings
from neardup.workers.kafka.clients import connect_consumer
from neardup.workers.kafka.offsets import Offsets
from neardup.workers.kafka.rejoin import REQUEST_MS

logger = logging.getLogger(__name__)
SESSION_SECONDS = 10.0
"""After so long a worker that died loses its partitions to the others."""
_FETCH_BYTES = 16 * 2**20
_GATHERED_BYTES, _GATHER_MS = 2**18, 50
"""The broker answers when so much is there, or after so long: an answer for each picture would cost a fifth of it."""


def make_consumer(settings: Settings, group: str, **options: Any) -> KafkaConsumer:
    """Return a consumer that commits by hand and changes partitions without stopping the others.

    Raises:
        DependencyError: no broker answers.
    """
    return connect_consumer(
        settings,
        group_id=group,
        partition_assignment_strategy=(CooperativeStickyAssignor,),
        auto_offset_reset="earliest",
        session_timeout_ms=round(1000 * SESSION_SECONDS),
        heartbeat_interval_ms=round(200 * SESSION_SECONDS),
        fetch_max_bytes=_FETCH_BYTES,
        fetch_min_bytes=_GATHERED_BYTES,
        fetch_max_wait_ms=_GATHER_MS,
        max_partition_fetch_bytes=_FETCH_BYTES // 4,
        allow_auto_create_topics=False,
        bootstrap_timeout_ms=5_000,
        request_timeout_ms=REQUEST_MS,
        **options,
    )


class Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Told on the client's own thread, where nothing may block."""

    def __init__(self, consumer: KafkaConsumer, offsets: Offsets[TopicPartition]) -> None:
        self._consumer = consumer
        self._offsets = offsets
        self._lost: list[TopicPartition] = []
        self.heard = False
        self.closing = False

    @property
    def losses(self) -> int:
        """How many partitions went so far."""
        return len(self._lost)

    def lost_since(self, losses: int) -> set[TopicPartition]:
        """Return the partitions that went since then."""
        return set(self._lost[losses:])

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Take note that we are a member; a partition is taken up with its first record."""
        logger.info("partitions assigned partitions=%s", sorted(one.partition for one in assigned))
        self.heard = True

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Commit what is confirmed of them; what is in flight will be another worker's."""
        offsets = self._forget(revoked)
        if offsets and not self.closing:
            try:
                await self._consumer.commit_async(to_commit(offsets))
            except Exception as error:  # those are done again
                logger.warning("commit of revoked partitions failed error=%s", error)

    async def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """Forget them: they are others' already."""
        self._forget(lost)

    def _forget(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        gone = list(partitions)
        logger.info("partitions gone partitions=%s", sorted(one.partition for one in gone))
        self._lost += gone
        return self._offsets.revoke(gone)


def to_commit(offsets: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
    """Return offsets as the client's commits take them."""
    return {partition: OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()}
