"""Changes that somebody asks for at the command line: into the log, and what the match worker made of them.

The answer is the envelope of the record's own offset, so it is the same whoever asks and however busy the stream is.
It comes only when the match worker has come so far; a change that was not answered in time is in the log all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Protocol

from kafka.errors import KafkaError

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.records import Envelope, Event, Ignored, Record, Redelivered, Referenced, Verdict
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.log import Appender, Tail, read_envelopes
from neardup.workers.kafka.topics import check_topics, open_admin, topic_names

AT_ONCE = 1000
"""Records that are written before their answers are awaited."""
_POLL_SECONDS = 0.2


class Appends(Protocol):
    """As `log.Appender`."""

    def append(self, records: Sequence[Record]) -> list[int]: ...


class Asking:
    """Asks for changes, one call after another."""

    def __init__(self, appender: Appends, verdicts: Tail, clock: Callable[[], float] = time.monotonic) -> None:
        self._appender = appender
        self._verdicts = verdicts
        self._clock = clock

    def ask(self, records: Sequence[Record], seconds: float) -> list[Envelope]:
        """Write records to the log and return the envelope of each.

        Args:
            seconds: that the answers may take, for every AT_ONCE of them.
        Raises:
            DependencyError: they took longer, or Kafka failed.
        """
        found: list[Envelope] = []
        for start in range(0, len(records), AT_ONCE):
            found += self._ask(records[start : start + AT_ONCE], seconds)
        return found

    def _ask(self, records: Sequence[Record], seconds: float) -> list[Envelope]:
        self._verdicts.seek(self._verdicts.end())  # what answers is published only after this
        offsets = self._appender.append(records)
        deadline = self._clock() + seconds
        wanted, found = set(offsets), list[Envelope]()
        while wanted:
            for envelope in read_envelopes(self._verdicts.poll(_POLL_SECONDS, 1000)):
                if envelope.offset in wanted:
                    wanted.discard(envelope.offset)
                    found.append(envelope)
            if wanted and self._clock() > deadline:
                raise DependencyError(
                    f"no answer within {seconds:g} s to what is in the log at offset {min(wanted)}: it takes effect "
                    "when a match worker gets there; does one run?"
                )
        return found


class Arrivals:
    """Waits until items that are on their way were dealt with; made before they are sent.

    Args:
        bank: whose references they are; "" if they are uploads.
    """

    def __init__(self, verdicts: Tail, bank: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._verdicts = verdicts
        self._bank = bank
        self._clock = clock
        self.expected: set[str] = set()
        verdicts.seek(verdicts.end())

    def wait(self, seconds: float) -> Iterator[Envelope]:
        """Yield the envelopes that deal with what is expected, until that is all.

        Raises:
            DependencyError: for so many seconds none came.
        """
        due = self._clock() + seconds
        while self.expected:
            for envelope in read_envelopes(self._verdicts.poll(_POLL_SECONDS, 1000)):
                if dealt := {id for event in envelope.events if (id := self._deals_with(event)) in self.expected}:
                    self.expected -= dealt
                    due = self._clock() + seconds
                    yield envelope
            if self.expected and self._clock() > due:
                raise DependencyError(
                    f"{len(self.expected):,} were not dealt with, such as {min(self.expected)!r}: for {seconds:g} s "
                    "nothing came; do embed and match run? `neardup dead-letters list` tells what could not be used"
                )

    def _deals_with(self, event: Event) -> str | None:
        """Return the id that an event is the answer to."""
        if isinstance(event, Referenced):
            return event.id if event.bank == self._bank else None
        if isinstance(event, Redelivered | Ignored):
            return event.id
        return event.id if isinstance(event, Verdict) and not self._bank else None


@contextmanager
def arrivals(settings: Settings, space: str, bank: str) -> Iterator[Arrivals]:
    """Connect; see `asking`."""
    names = topic_names(settings.topic_prefix, space)
    with open_admin(settings) as admin:
        check_topics(admin, space, settings)
    with _kafka_errors(), closing(Tail(settings, names.verdicts)) as verdicts:
        yield Arrivals(verdicts, bank)


@contextmanager
def _kafka_errors() -> Iterator[None]:
    try:
        yield
    except KafkaError as error:
        raise DependencyError(f"Kafka failed: {error}") from error


@contextmanager
def asking(settings: Settings, space: str) -> Iterator[Asking]:
    """Connect.

    Raises:
        ConfigError: the topics are missing or unsafe.
        DependencyError: Kafka does not answer.
    """
    names = topic_names(settings.topic_prefix, space)
    with open_admin(settings) as admin:
        check_topics(admin, space, settings)
    with (
        _kafka_errors(),
        closing(Appender(settings, names.log)) as appender,
        closing(Tail(settings, names.verdicts)) as verdicts,
    ):
        yield Asking(appender, verdicts)
