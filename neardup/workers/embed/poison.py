"""A record that kills the process, by a fault in a decoder's C code, must not be tried for ever.

The count lies where the offset lies, in Kafka: with the first record of a partition its offset is committed again with
a mark, and every commit that gets further takes the mark away. So a mark that is found again means a process that
died at this offset. After CAREFUL of them records are taken one by one, so that the record at the committed offset is
the one to blame; after HOPELESS it is put aside. Marks of this process do not count: it is alive.
"""

from __future__ import annotations

import logging
import re
import uuid
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

logger = logging.getLogger(__name__)
CAREFUL, HOPELESS = 3, 6
CAREFUL_RECORDS = 64
"""So many records after the first are taken one by one; no more than that were in flight."""
_TIMEOUT_MS = 3000
_PROCESS = uuid.uuid4().hex[:12]
_MARK = re.compile(r"died=(\d{1,3}) by=([0-9a-f]{12})")


class PoisonMarks:
    """The marks of one consumer; used by its thread."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._careful: dict[TopicPartition, int] = {}

    def begin(self, partition: TopicPartition, offset: int) -> int:
        """Note that a partition's first record is taken up; return how many processes died at it."""
        try:
            found = self._consumer.committed(partition, metadata=True, timeout_ms=_TIMEOUT_MS)
            mark = _MARK.fullmatch(found.metadata or "") if found is not None and found.offset == offset else None
            died = 0 if mark is None else int(mark[1]) + (mark[2] != _PROCESS)
            self._commit({partition: offset}, died)
        except KafkaError as error:  # without a mark this life is not counted
            logger.warning("mark of a first record failed partition=%d error=%s", partition.partition, error)
            return 0
        if died >= CAREFUL:
            logger.warning("records taken one by one partition=%d offset=%d died=%d", *partition[1:], offset, died)
            self._careful[partition] = offset + CAREFUL_RECORDS
        return died

    @property
    def careful(self) -> bool:
        """Whether only one record may be in flight, and each is committed before the next is polled."""
        return bool(self._careful)

    def commit(self, offsets: dict[TopicPartition, int]) -> None:
        """Commit while careful; the count stays as it is, so that another death keeps us careful.

        Raises:
            KafkaError: it failed.
        """
        self._commit(offsets, CAREFUL - 1)
        for partition, offset in offsets.items():
            if offset >= self._careful.get(partition, offset + 1):
                del self._careful[partition]

    def forget(self) -> None:
        """Stop being careful of partitions that are no longer ours."""
        ours = self._consumer.assignment()
        self._careful = {partition: end for partition, end in self._careful.items() if partition in ours}

    def _commit(self, offsets: dict[TopicPartition, int], died: int) -> None:
        mark = f"died={died} by={_PROCESS}"
        self._consumer.commit(
            {one: OffsetAndMetadata(offset, mark, -1) for one, offset in offsets.items()}, _TIMEOUT_MS
        )
