"""Reads the log as far as verdicts are published: batches of its records, each with the envelopes that stand for them.

The match worker and the API worker both follow so. What a follower computes otherwise than was published is counted.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.log.proofs import ItemProved
from neardup.pipeline.log.reasons import IgnoredReason
from neardup.pipeline.log.records import Described, Entry, Envelope, ignored, say_the_same
from neardup.workers.kafka.log import Fetched, Tail, last_envelope, locate, read_entries, read_envelopes
from neardup.workers.run import telemetry

logger = logging.getLogger(__name__)
_WAIT_SECONDS = 0.25


@dataclass(frozen=True)
class Batch:
    """Records of the log that follow each other.

    Attributes:
        records: at least one.
        dimension, space: of the descriptors in the log.
        published: the envelopes that stand for them, by offset; none where the reader leads.
    """

    records: Sequence[Fetched]
    dimension: int
    published: dict[int, Envelope]
    space: str = ""

    @cached_property
    def _read(self) -> list[Entry | str]:
        return read_entries(self.records, self.dimension, self.space)

    @property
    def entries(self) -> list[Entry]:
        """Those of the records that can be read."""
        return [one for one in self._read if isinstance(one, Entry)]

    def envelopes(self, applied: Sequence[Envelope]) -> list[Envelope]:
        """Return one envelope for each record, given those of the entries; with the times of the records."""
        by_offset = {one.offset: one for one in applied}
        envelopes = []
        for one, entry in zip(self.records, self._read, strict=True):
            produced_ms = 0
            if isinstance(entry, str):
                logger.error("record of the log ignored offset=%d why=%s", one.offset, entry)
                by_offset[one.offset] = Envelope(
                    offset=one.offset, events=(ignored("", IgnoredReason.MALFORMED, entry),)
                )
            elif isinstance(entry.record, Described | ItemProved):
                produced_ms = entry.record.produced_ms
            times = {"timestamp_ms": one.timestamp_ms, "produced_ms": produced_ms}
            envelopes.append(msgspec.structs.replace(by_offset[one.offset], **times))
        return envelopes

    def compare(self, applied: Sequence[Envelope]) -> None:
        """Count where the published events were others; verdicts are taken over, of other events there is no choice."""
        for one in self.envelopes(applied):
            told = self.published.get(one.offset)
            if told is None or not say_the_same(told.events, one.events):
                telemetry.MATCH_DIFFERED.inc()
                logger.warning("published otherwise offset=%d missing=%s", one.offset, told is None)


class Follower:
    """Reads the log and its verdicts; used by one thread.

    Args:
        applied: the offset after which to begin.
        dimension, space: of the descriptors in the log.
        most: records of a batch.
    """

    def __init__(self, log: Tail, verdicts: Tail, applied: int, dimension: int, most: int, space: str = "") -> None:
        self._log = log
        self._verdicts = verdicts
        self._read = applied
        self._dimension, self._space = dimension, space
        self._most = most
        self._waiting: deque[Envelope] = deque()
        self._fetched: deque[Fetched] = deque()
        self._next: Batch | None = None
        self.caught_up = False
        """Whether it has been where the verdicts ended."""
        log.seek(applied + 1)
        self.find_verdicts()

    @property
    def behind(self) -> int:
        """How many records of the log were not read, as far as the broker has said."""
        return max(self._log.lag() + len(self._fetched), len(self._waiting))

    def find_verdicts(self) -> None:
        """Read verdicts on from where the log is read; for one that published itself until now."""
        self._waiting.clear()
        self._verdicts.seek(locate(self._verdicts, self._read + 1))

    def last_published(self) -> int:
        """Return the offset of the log of the last envelope, NOTHING if there is none."""
        place = self._verdicts.position()
        last = last_envelope(self._verdicts)
        self._verdicts.seek(place)
        return last

    def published(self) -> Batch | None:
        """Return the next batch of what is published, waiting a moment for it; None if there is none yet.

        Raises:
            ConfigError: verdicts stand for what the log does not have.
        """
        if not self._waiting:
            fetched = self._verdicts.poll(_WAIT_SECONDS, self._most)
            self._waiting.extend(one for one in read_envelopes(fetched) if one.offset > self._read)
            self.caught_up = self.caught_up or not fetched
        if not self._waiting:
            return None
        batch = self.records(self._waiting[-1].offset)
        if batch is None and (offset := self._waiting[0].offset) >= self._log.end():
            raise ConfigError(
                f"verdicts stand for offset {offset} and topic {self._log.topic} ends before: they are not of this log"
            )
        return batch

    def records(self, up_to: int | None = None) -> Batch | None:
        """Return the next batch of the log, published or not, at most up to an offset; None if there is none yet."""
        if not self._fetched:
            self._fetched.extend(self._log.poll(_WAIT_SECONDS, self._most))
        batch = []
        while self._fetched and (up_to is None or self._fetched[0].offset <= up_to):
            batch.append(self._fetched.popleft())
        if not batch:
            return None
        self._read = batch[-1].offset
        following, self._next = self._next, None
        if following is not None and not self._waiting and following.records == batch:
            return following
        done = len(self._waiting) - sum(one.offset > self._read for one in self._waiting)
        published = [self._waiting.popleft() for _ in range(done)]
        return Batch(batch, self._dimension, {one.offset: one for one in published}, self._space)

    def following(self) -> Batch | None:
        """Return what `records` will probably return next, as far as that is here already; None if nothing is."""
        if not self._fetched:
            self._fetched.extend(self._log.poll(0.0, self._most))
        self._next = Batch(list(self._fetched), self._dimension, {}, self._space) if self._fetched else None
        return self._next
