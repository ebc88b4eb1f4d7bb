"""Dead letters: what could not be used, as it came, with the reason, where it came from and how often it was tried.

A dead letter is never tried again by itself; `neardup dead-letters replay` sends it to `media` once more, and counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from neardup.pipeline.errors import ConfigError, DependencyError, InvalidFrame, Reason
from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.ids import fault_of_bank
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.interface import DEAD_LETTER_DAYS, DeadLetter, FlagStore
from neardup.workers.kafka.clients import connect_consumer
from neardup.workers.kafka.media_record import attempts as tried_before
from neardup.workers.kafka.media_record import sender_of
from neardup.workers.kafka.outbox import Headers, Message, Outbox, make_producer
from neardup.workers.kafka.topics import topic_names
from neardup.workers.run.tracing import traceparent_of

OWN_HEADERS = ("reason", "detail", "source-topic", "source-partition", "source-offset", "attempts")
MAX_DETAIL_BYTES = 2000
_NOTE_MS, _NOTED_AT_ONCE = 10, 64
_REPLAY_BYTES = 64 * 2**20
_REPLAY_SECONDS = 90.0


def dead_letter(
    topic: str,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes]],
    source: tuple[str, int, int],
    error: InvalidFrame,
    attempts: int,
) -> Message:
    """Return the record for the dead-letter topic.

    Args:
        source: topic, partition and offset.
        attempts: how often it was tried, this time included.
    """
    written = {
        "reason": error.reason.value,
        "detail": error.detail,
        "source-topic": source[0],
        "source-partition": str(source[1]),
        "source-offset": str(source[2]),
        "attempts": str(attempts),
    }
    own = [(name, text.encode(errors="replace")[:MAX_DETAIL_BYTES]) for name, text in written.items()]
    if key is None and value is None:  # Kafka wants one of them
        key = b""
    return Message(topic, key, value, original_headers(headers) + own)


def original_headers(headers: Sequence[tuple[str, bytes]]) -> Headers:
    """Return the headers that are not a dead letter's own."""
    return [(name, value or b"") for name, value in headers if name not in OWN_HEADERS]


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as it was read.

    Attributes:
        offset: its number in the dead-letter topic.
        source: topic/partition/offset of the record.
        original_headers: of the record.
    """

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    reason: str
    detail: str
    source: str
    attempts: int
    original_headers: Headers

    @property
    def sender(self) -> str:
        """Whose it is, as far as its key says, and the partition that it came by."""
        sender = sender_of((self.key or b"").decode(errors="backslashreplace")) or "no prefix"
        return f"{sender} in partition {self.source.split('/')[-2]}"


def read_letters(settings: Settings, start: int = 0) -> Iterator[Letter]:
    """Yield the dead letters that there are, from an offset on.

    Raises:
        ConfigError: the topic does not exist.
        DependencyError: Kafka failed.
    """
    from kafka import TopicPartition
    from kafka.errors import KafkaError

    topic = topic_names(settings.topic_root, "").dead_letters
    place = TopicPartition(topic, 0)
    consumer = connect_consumer(settings, bootstrap_timeout_ms=10_000, allow_auto_create_topics=False)
    try:
        if not consumer.partitions_for_topic(topic):
            raise ConfigError(f"topic {topic} does not exist; `neardup topics create` makes it")
        consumer.assign([place])
        first, end = consumer.beginning_offsets([place])[place], consumer.end_offsets([place])[place]
        consumer.seek(place, max(start, first))
        while consumer.position(place) < end:
            for records in consumer.poll(timeout_ms=500).values():
                for record in records:
                    if record.offset < end:
                        yield _letter(record)
    except KafkaError as error:
        raise DependencyError(f"Kafka failed: {error}") from error
    finally:
        consumer.close(autocommit=False, timeout_ms=1000)


class Noting:
    """Notes in the store of flags which items became dead letters, for those who wait for a verdict.

    Args:
        erase: removes the files of items. An item may be taken down while it is described, its files be stored after
            that, and then it fails: no record of it follows in the log, only the dead letter.
    Raises:
        DependencyError: no broker answers.
    """

    def __init__(
        self,
        settings: Settings,
        store: FlagStore,
        clock: Callable[[], float] = time.time,
        erase: Callable[[frozenset[str]], object] = lambda _items: None,
    ) -> None:
        from kafka import TopicPartition

        names = topic_names(settings.topic_root, "")
        self._media = names.media
        self._store = store
        self._place = TopicPartition(names.dead_letters, 0)
        self._consumer = connect_consumer(settings, auto_offset_reset="earliest", allow_auto_create_topics=False)
        self._consumer.assign([self._place])
        self._clock, self._erase = clock, erase
        self.begin()

    def begin(self) -> None:
        """Go on where the store is, or with what it would not have forgotten by now."""
        start = self._store.dead_letters_at()
        if start is None:
            since = round(1000 * (self._clock() - DEAD_LETTER_DAYS * 86_400))
            found = self._consumer.offsets_for_times({self._place: since})[self._place]
            start = self._consumer.end_offsets([self._place])[self._place] if found is None else found.offset
        self._consumer.seek(self._place, start)

    def step(self) -> None:
        """Note what came since.

        Raises:
            DependencyError: the store did not answer, or the blob store; it is noted with a later step.
        """
        polled = self._consumer.poll(timeout_ms=_NOTE_MS, max_records=_NOTED_AT_ONCE)
        for records in polled.values():
            letters = [letter for record in records if (letter := self._read(record)) is not None]
            try:
                if gone := self._store.taken_down({letter.item for letter in letters if letter.bank == SEEN}):
                    self._erase(gone)
                self._store.note_dead_letters(letters, records[-1].offset + 1)
            except DependencyError:
                self._consumer.seek(self._place, records[0].offset)
                raise

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close(autocommit=False, timeout_ms=1000)

    def _read(self, record: Any) -> DeadLetter | None:
        """Return what is to be noted of a dead letter; None where it is none of an item."""
        read = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
        places = read.get("source-partition", ""), read.get("source-offset", "")
        if read.get("source-topic") != self._media or not all(place.isascii() and place.isdigit() for place in places):
            return None
        try:
            item = (record.key or b"").decode()
        except UnicodeDecodeError:
            return None
        bank = read.get("bank", SEEN)
        return DeadLetter(
            item,
            SEEN if fault_of_bank(bank) else bank,
            read.get("reason", "?"),
            read.get("detail", ""),
            int(places[0]),
            int(places[1]),
            max(record.timestamp, 0),
        )


def replay_letters(settings: Settings, letters: Iterable[Letter]) -> int:
    """Send the records to `media` once more, and return how many they were when Kafka has them.

    Events that a webhook's receiver did not take are sent to it, as the settings name it now, not to `media`.

    Raises:
        ConfigError: there are such events and no receiver.
        DependencyError: Kafka failed, or the receiver does not take an event.
    """
    from neardup.workers.webhook.delivery import Delivery, DeliveryRefused, Receiver, make_receiver

    receiver: Receiver | None = None
    outbox = Outbox(make_producer(settings))
    media, sent = topic_names(settings.topic_root, "").media, 0
    try:
        for letter in letters:
            if letter.reason == Reason.WEBHOOK.value:
                receiver = receiver or make_receiver(settings)
                trace = traceparent_of(letter.original_headers)
                delivery = Delivery((letter.key or b"").decode(errors="replace"), letter.value or b"", trace)
                try:
                    receiver.send(delivery, time.time())
                except DeliveryRefused as error:
                    raise DependencyError(
                        f"{receiver.host} did not take event {delivery.id}, dead letter {letter.offset}: {error}"
                    ) from error
                sent += 1
                continue
            outbox.wait_below(_REPLAY_BYTES, _REPLAY_SECONDS)
            headers = [*letter.original_headers, ("attempts", str(letter.attempts).encode())]
            outbox.send([Message(media, letter.key, letter.value, headers)], lambda: None)
            sent += 1
        outbox.wait_below(0, _REPLAY_SECONDS)
    finally:
        if receiver is not None:
            receiver.close()
        outbox.close(1.0)
    return sent


def _letter(record: Any) -> Letter:
    found = {name: value.decode(errors="replace") for name, value in record.headers if name in OWN_HEADERS}
    source = "/".join(found.get(f"source-{part}", "?") for part in ("topic", "partition", "offset"))
    return Letter(
        offset=record.offset,
        timestamp_ms=max(record.timestamp, 0),
        key=record.key,
        value=record.value,
        reason=found.get("reason", "?"),
        detail=found.get("detail", ""),
        source=source,
        attempts=tried_before(record.headers),
        original_headers=original_headers(record.headers),
    )
