"""What a door writes, and what came of it: changes in the log, items in `media`.

The answer to a change is the envelope of the record's own offset, so it is the same whoever asks and however busy the
stream is. It comes only when the match worker has come so far; a change that was not answered in time is in the log all
the same. A command waits here; the API waits in `api.waiting`, for it follows the log anyway and holds no thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.answers import Answer, answered_id
from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.records import Record
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.log import Appender, Tail, read_envelopes
from neardup.workers.kafka.outbox import Headers, make_producer
from neardup.workers.kafka.spaces import Gate, require_serving
from neardup.workers.kafka.topics import TopicNames, check_topics, kafka_errors, open_admin, topic_names

AT_ONCE = 1000
"""Records that are written before their answers are awaited."""
_POLL_SECONDS = 0.2
_SEND_SECONDS = 15.0


class KafkaWrites:
    """See `context.Writes`; connects when it is first used, and again after a failure.

    Args:
        gate: of the space of the log: while that does not serve nothing is appended.
    """

    def __init__(self, settings: Settings, names: TopicNames, gate: Gate | None = None) -> None:
        self._settings = settings
        self._names = names
        self._gate = gate
        self._lock = threading.Lock()
        self._appender: Appender | None = None
        self._producer: Any = None

    def append(self, records: Sequence[Record]) -> list[int]:
        """See `context.Writes`."""
        with kafka_errors():
            with self._lock:
                if self._gate is not None:
                    self._gate.check()
                appender = self._appender = self._appender or Appender(self._settings, self._names.log)
            return appender.append(records)

    def publish(self, item_id: str, value: bytes, headers: Headers) -> tuple[int, int]:
        """See `context.Writes`."""
        with self._lock:
            producer = self._producer = self._producer or make_producer(self._settings)
        with kafka_errors():
            sent = producer.send(self._names.media, value, item_id.encode(), headers).get(timeout=_SEND_SECONDS)
        return int(sent.partition), int(sent.offset)


class ChangeClient:
    """Appends changes and waits for their answers, one call after another."""

    def __init__(self, appender: Appender, verdicts: Tail, clock: Callable[[], float] = time.monotonic) -> None:
        self._appender = appender
        self._verdicts = verdicts
        self._clock = clock

    def ask(self, records: Sequence[Record], seconds: float) -> list[Answer]:
        """Write records to the log and return the answer to each.

        Args:
            seconds: that the answers may take, for every AT_ONCE of them.
        Raises:
            DependencyError: they took longer, or Kafka failed.
        """
        found: list[Answer] = []
        for start in range(0, len(records), AT_ONCE):
            found += self._ask(records[start : start + AT_ONCE], seconds)
        return found

    def _ask(self, records: Sequence[Record], seconds: float) -> list[Answer]:
        self._verdicts.seek(self._verdicts.end())  # what answers is published only after this
        offsets = self._appender.append(records)
        deadline = self._clock() + seconds
        wanted, found = set(offsets), list[Answer]()
        while wanted:
            for envelope in read_envelopes(self._verdicts.poll(_POLL_SECONDS, 1000)):
                if envelope.offset in wanted:
                    wanted.discard(envelope.offset)
                    found.append(Answer(envelope.offset, envelope.events))
            if wanted and self._clock() > deadline:
                raise DependencyError(
                    f"no answer within {seconds:g} s to what is in the log at offset {min(wanted)}: it takes effect "
                    "when a match worker gets there; does one run?"
                )
        return found


class Arrivals:
    """Waits until items that are on their way were dealt with; made before they are sent.

    Args:
        bank: that they are sent as, `seen` if they are uploads.
    """

    def __init__(self, verdicts: Tail, bank: str = SEEN, clock: Callable[[], float] = time.monotonic) -> None:
        self._verdicts = verdicts
        self._bank = bank
        self._clock = clock
        self.expected: set[str] = set()
        verdicts.seek(verdicts.end())

    def wait(self, seconds: float) -> Iterator[Answer]:
        """Yield the answers to what is expected, until that is all.

        Raises:
            DependencyError: for so many seconds none came.
        """
        due = self._clock() + seconds
        while self.expected:
            for envelope in read_envelopes(self._verdicts.poll(_POLL_SECONDS, 1000)):
                ids = {answered_id(event, self._bank) for event in envelope.events}
                if dealt := self.expected & ids:
                    self.expected -= dealt
                    due = self._clock() + seconds
                    yield Answer(envelope.offset, envelope.events)
            if self.expected and self._clock() > due:
                raise DependencyError(
                    f"{len(self.expected):,} were not dealt with, such as {min(self.expected)!r}: for {seconds:g} s "
                    "nothing came; do embed and match run? `neardup dead-letters list` tells what could not be used"
                )


@contextmanager
def arrivals(settings: Settings, space: str, bank: str) -> Iterator[Arrivals]:
    """Connect; see `change_client`."""
    with kafka_errors(), closing(Tail(settings, checked_topics(settings, space).verdicts)) as verdicts:
        yield Arrivals(verdicts, bank)


@contextmanager
def change_client(settings: Settings, space: str) -> Iterator[ChangeClient]:
    """Connect.

    Raises:
        ConfigError: the topics are missing or unsafe.
        DependencyError: Kafka does not answer.
    """
    names = checked_topics(settings, space)
    with (
        kafka_errors(),
        closing(Appender(settings, names.log)) as appender,
        closing(Tail(settings, names.verdicts)) as verdicts,
    ):
        yield ChangeClient(appender, verdicts)


def checked_topics(settings: Settings, space: str) -> TopicNames:
    """Return the names of the topics of a space that serves.

    Raises:
        ConfigError: they are missing or unsafe, or another space serves. DependencyError: a switch is under way.
    """
    with open_admin(settings) as admin:
        check_topics(admin, space, settings)
    require_serving(settings, space)
    return topic_names(settings.topic_root, space)
