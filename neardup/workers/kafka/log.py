"""The log and the verdicts, each one partition: read from any place on, found by the log's offset, appended to.

Readers see only what was committed. In `verdicts` each transaction ends with a marker that takes an offset of its own,
so an envelope's place there is not the offset of the log that it stands for: `locate` finds it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat

import msgspec
import numpy as np
from kafka import TopicPartition

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.proofs import Asked
from neardup.pipeline.log.records import NOTHING, Described, Entry, Envelope, Record, key_of
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.clients import connect_consumer, connect_producer
from neardup.workers.kafka.topics import MAX_RECORD_BYTES
from neardup.workers.run.telemetry import RECORDS_CONSUMED
from neardup.workers.run.tracing import headers_of, traceparent_of

PARTITION = 0
_FETCH_BYTES = 8 * 2**20
_GATHERED_BYTES, _GATHER_MS = 2**16, 100
"""The broker answers when so much is there, or after so long. Each answer becomes a transaction, or a call of Redis,
and those cost several milliseconds however little they hold."""
_PROBE_SECONDS = 0.3
"""Where nothing but markers follows, a reader waits so long to learn that. An outage looks the same: `locate` then
answers with an earlier place than need be, others have `Patience`."""
_ANSWER_SECONDS = 5.0
"""What is known to be there and does not come for so long is taken for an outage."""
encode = msgspec.msgpack.Encoder().encode
_decode_record = msgspec.msgpack.Decoder(Record).decode
_decode_asked = msgspec.msgpack.Decoder(Asked).decode
_decode_envelope = msgspec.msgpack.Decoder(Envelope).decode


@dataclass(frozen=True, slots=True)
class Fetched:
    """One record as the broker keeps it; the time is the broker's, in milliseconds since 1970.

    Attributes:
        traceparent: what was handed on of where the item has been; "" for most.
    """

    offset: int
    timestamp_ms: int
    value: bytes
    traceparent: str = ""


class Tail:
    """Reads one partition from any place on."""

    def __init__(self, settings: Settings, topic: str) -> None:
        """Connect.

        Raises:
            DependencyError: no broker answers.
        """
        self._partition = TopicPartition(topic, PARTITION)
        self._consumer = connect_consumer(
            settings,
            isolation_level="read_committed",
            auto_offset_reset="none",
            max_partition_fetch_bytes=_FETCH_BYTES,
            fetch_min_bytes=_GATHERED_BYTES,
            fetch_max_wait_ms=_GATHER_MS,
        )
        self._consumer.assign([self._partition])
        self.seek(0)

    @property
    def topic(self) -> str:
        """Its name."""
        return str(self._partition.topic)

    def begin(self) -> int:
        """Return the lowest offset that the broker still has."""
        return int(self._consumer.beginning_offsets([self._partition])[self._partition])

    def end(self) -> int:
        """Return the offset after all that is committed."""
        return int(self._consumer.end_offsets([self._partition])[self._partition])

    def at(self, timestamp_ms: int) -> int:
        """Return the offset of the first record that the broker took at this time or later, `end` if none is."""
        found = self._consumer.offsets_for_times({self._partition: timestamp_ms})[self._partition]
        return self.end() if found is None or found.offset < 0 else int(found.offset)

    def position(self) -> int:
        """Return where `poll` reads on."""
        return int(self._consumer.position(self._partition))

    def lag(self) -> int:
        """Return how many offsets were left after the position, as far as the last answer of the broker said."""
        end = self._consumer.highwater(self._partition)
        return 0 if end is None else max(0, int(end) - self.position())

    def seek(self, offset: int) -> None:
        """Read on from an offset."""
        self._consumer.seek(self._partition, offset)

    def poll(self, timeout_seconds: float, max_records: int) -> list[Fetched]:
        """Return what comes next, waiting while there is nothing."""
        found = self._consumer.poll(timeout_ms=int(timeout_seconds * 1000), max_records=max_records)
        (records,) = found.values() or [()]
        RECORDS_CONSUMED.labels(self.topic).inc(len(records))
        return [
            Fetched(record.offset, record.timestamp, record.value or b"", traceparent_of(record.headers))
            for record in records
        ]

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close(timeout_ms=2000)


class Appender:
    """Appends records to the log; each is acknowledged by all replicas before `append` returns."""

    def __init__(self, settings: Settings, topic: str) -> None:
        """Connect."""
        self._topic = topic
        self._producer = connect_producer(settings, max_request_size=MAX_RECORD_BYTES)

    def append(self, records: Sequence[Record], traces: Sequence[str] = ()) -> list[int]:
        """Return the offsets that the records have in the log.

        Args:
            traces: the traceparent of each record, "" for most; nothing if none has one.
        Raises:
            kafka.errors.KafkaError: they may or may not be in the log; to repeat them does no harm.
        """
        sent = [
            self._producer.send(
                self._topic, encode(record), key_of(record).encode(), headers_of(trace), partition=PARTITION
            )
            for record, trace in zip(records, traces or repeat(""), strict=False)
        ]
        return [int(one.get(timeout=60).offset) for one in sent]

    def close(self) -> None:
        """Disconnect."""
        self._producer.close(timeout=2)


def read_envelopes(fetched: Sequence[Fetched]) -> list[Envelope]:
    """Return what records of `verdicts` say.

    Raises:
        DependencyError: one is no envelope: somebody else writes to the topic.
    """
    try:
        return [_decode_envelope(one.value) for one in fetched]
    except msgspec.MsgspecError as error:
        raise DependencyError(
            f"verdicts hold what is no envelope, from offset {fetched[0].offset} on: {error}"
        ) from error


def read_asked(value: bytes) -> Asked | str:
    """Return what a message of `asks` asks for, or why it can be none."""
    try:
        asked = _decode_asked(value)
    except msgspec.MsgspecError as error:
        return f"no ask: {error}"
    return asked if asked.asks else f"item {asked.id!r} asks for nothing"


def read_record(value: bytes) -> Record | str:
    """Return what a record of the log says, of whichever space its vectors are, or why it can be none."""
    try:
        record: Record = _decode_record(value)
    except msgspec.MsgspecError as error:
        return f"no record: {error}"
    return record


def read_entry(fetched: Fetched, dimension: int, space: str = "") -> Entry | str:
    """Return a record of the log at its place, or why it can be none."""
    return read_entries([fetched], dimension, space)[0]


def read_entries(fetched: Sequence[Fetched], dimension: int, space: str = "") -> list[Entry | str]:
    """Return records of the log at their places, or why they can be none; vectors are checked all at once.

    Args:
        space: of the log: a record that names another is refused; "" where that is not known.
    """
    entries: list[Entry | str] = []
    vectors: list[bytes] = []
    places: list[int] = []  # of each vector, the record that it belongs to
    for one in fetched:
        record = read_record(one.value)
        if isinstance(record, str):
            entries.append(record)
            continue
        wrong = _wrong(record, dimension, space) if isinstance(record, Described) else ""
        if isinstance(record, Described) and not wrong:
            vectors.append(record.vectors)
            places += [len(entries)] * len(record.pts)
        entries.append(wrong or Entry(one.offset, record, one.timestamp_ms))
    together = np.frombuffer(b"".join(vectors), "<f2").astype(np.float32).reshape(len(places), dimension)
    lengths = np.sqrt(np.einsum("nd,nd->n", together, together))
    for row in np.flatnonzero(~(np.abs(lengths - 1) < 0.1)).tolist():  # negated, so that NaN is wrong
        entries[places[row]] = "a vector is not of unit length"
    return entries


def _wrong(record: Described, dimension: int, space: str) -> str:
    """Return what keeps a record's arrays from being used, "" if nothing but their values may."""
    n = len(record.pts)
    if space and record.space and record.space != space:
        return f"descriptors of space {record.space[:80]!r}, wanted {space!r}"
    if record.live and (record.part != 0 or n != (0 if record.last else 1) or not all(map(math.isfinite, record.pts))):
        return f"{n} descriptors in part {record.part} of a live video; wanted one, at a time, or none with its end"
    if record.live and n == 0:
        return ""
    if n == 0 or record.dimension != dimension or record.part < 0:
        return (
            f"{n} descriptors of {record.dimension} dimensions in part {record.part}, wanted 1 or more of {dimension}"
        )
    if (len(record.vectors), len(record.hashes), len(record.detail)) != (2 * n * dimension, 32 * n, n):
        return f"vectors, hashes or detail do not belong to {n} descriptors"
    return ""


def last_envelope(verdicts: Tail) -> int:
    """Return the offset of the log of the last envelope that is committed, NOTHING if there is none.

    Raises:
        DependencyError: Kafka stopped answering meanwhile.
    """
    begin, end, back = verdicts.begin(), verdicts.end(), 2
    while end > begin:
        last = _last_from(verdicts, max(begin, end - back), end)
        if last is not None:
            return last.offset
        if end - back <= begin:
            break
        back *= 16
    return NOTHING


def locate(verdicts: Tail, offset: int) -> int:
    """Return a place in `verdicts` from which on are all envelopes of this offset of the log or a later one."""
    low, high = verdicts.begin(), verdicts.end()
    if offset <= 0:
        return low
    while high - low > 64:  # a few envelopes too many are passed over more quickly than found out
        middle = (low + high) // 2
        found = _first_from(verdicts, middle)
        if found is not None and found.offset < offset:
            low = middle
        else:
            high = middle
    return low


def _first_from(verdicts: Tail, place: int) -> Envelope | None:
    verdicts.seek(place)
    envelopes = read_envelopes(verdicts.poll(_PROBE_SECONDS, 1))
    return envelopes[0] if envelopes else None


def _last_from(verdicts: Tail, place: int, end: int) -> Envelope | None:
    verdicts.seek(place)
    last, patience = None, Patience(verdicts)
    while verdicts.position() < end:
        if fetched := verdicts.poll(_PROBE_SECONDS, 1000):
            last = read_envelopes(fetched[-1:])[0]
        patience.check()
    return last


class Patience:
    """For who reads up to a place that is known to be there: silence is no sign of the end, and not to last for ever.

    Args:
        tail: what is read, at its place.
    """

    def __init__(self, tail: Tail, clock: Callable[[], float] = time.monotonic) -> None:
        self._tail, self._clock = tail, clock
        self._at, self._since = tail.position(), clock()

    def check(self) -> None:
        """To be called after each reading.

        Raises:
            DependencyError: for some seconds nothing came.
        """
        if self._tail.position() > self._at:  # markers move it on, too
            self._at, self._since = self._tail.position(), self._clock()
        elif self._clock() - self._since > _ANSWER_SECONDS:
            raise DependencyError(
                f"Kafka gives nothing of {self._tail.topic} from offset {self._at} on, but it goes on"
            )
