"""Which space serves: the one whose verdicts count, whose embed workers read `media`, and to which people's changes go.

Where no second space was ever made there is no such record, and every space serves by itself. With the first
`neardup space create` one serves, and others stand by: their logs are filled from that of the serving one, and their
verdicts are announced to nobody. A switch is one record of the compacted topic `spaces`, so it is done or not done.
Each space serves from an offset of its own log to another, its *turn*; what it says counts within its turns alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Any, Protocol

import msgspec
from kafka import TopicPartition
from msgspec.structs import replace

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.log.records import Record
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.clients import connect_admin, connect_consumer, connect_producer
from neardup.workers.kafka.topics import kafka_errors, spaces_topic
from neardup.workers.run.kafka_probe import kafka_away
from neardup.workers.run.runner import Worker

logger = logging.getLogger(__name__)
LOOK_SECONDS = 1.0
"""After so long every worker knows of a switch."""
_KEY = b"spaces"
_ANSWER_SECONDS = 10.0
_NOT_THERE = frozenset({3, 29})
"""Kafka's codes of a topic that does not exist, or that this login may not see."""


class StandsBy(DependencyError):
    """A space does not serve now: whoever works for it waits."""


class Turn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A space serves, or served.

    Attributes:
        space: "" of one that was dropped since.
        first, last: offsets of its log, both within the turn; `last` None while it serves.
        shift: added to an offset, it gives the number in the feed, which goes on rising from turn to turn.
    """

    space: str
    first: int = 0
    last: int | None = None
    shift: int = 0

    def has(self, offset: int) -> bool:
        """Return whether an offset of its log is within the turn."""
        return self.first <= offset and (self.last is None or offset <= self.last)


class Spaces(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All spaces of a deployment.

    Attributes:
        turns: at least one, the oldest first; the last one is that of the serving space.
        standby: those that are filled, or may be.
        switching: which of them a switch is under way to: until it is done nothing is taken in; "" if none is.
    """

    turns: tuple[Turn, ...]
    standby: tuple[str, ...] = ()
    switching: str = ""

    @property
    def serving(self) -> str:
        """The one that serves."""
        return self.turns[-1].space

    def serves(self, space: str) -> bool:
        """Return whether a space serves; one that is not among these serves by itself."""
        return space == self.serving or space not in self.standby

    def counts(self, space: str, offset: int) -> bool:
        """Return whether what a space says at an offset of its log is to be announced."""
        turns = [turn for turn in self.turns if turn.space == space]
        return any(turn.has(offset) for turn in turns) or not (turns or space in self.standby)

    def with_standby(self, space: str) -> Spaces:
        """Return them with one more that stands by."""
        return replace(self, standby=(*(one for one in self.standby if one != space), space))

    def without(self, space: str) -> Spaces:
        """Return them without one that was dropped; its turns stay, so that numbers in the feed stay what they are."""
        turns = tuple(replace(turn, space="") if turn.space == space else turn for turn in self.turns)
        return replace(self, turns=turns, standby=tuple(one for one in self.standby if one != space))

    def switched(self, space: str, last: int, first: int) -> Spaces:
        """Return them with another that serves.

        Args:
            last: offset that ends the turn of the serving one, in its log. first: that begins the new turn, in its own.
        """
        ended = replace(self.turns[-1], last=last)
        turn = Turn(space=space, first=first, shift=last + 1 + ended.shift - first)
        standby = tuple(one for one in self.standby if one != space)
        return Spaces(turns=(*self.turns[:-1], ended, turn), standby=(*standby, ended.space))


class Topic(Protocol):
    """Where the record is."""

    def read(self) -> Spaces | None: ...

    def close(self) -> None: ...


class SpacesTopic:
    """Reads the record, and writes it; connects when it is first used. For one thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._partition = TopicPartition(spaces_topic(settings.topic_root), 0)
        self._admin: Any = None
        self._consumer: Any = None
        self._spaces: Spaces | None = None

    def read(self) -> Spaces | None:
        """Return what the newest record says; None if there is none.

        Raises:
            DependencyError: Kafka does not answer. ConfigError: the record was written by a newer version.
        """
        with kafka_errors():
            if self._consumer is None and not self._connect():
                return None
            consumer = self._consumer
            end = consumer.end_offsets([self._partition])[self._partition]
            until = time.monotonic() + _ANSWER_SECONDS
            while consumer.position(self._partition) < end:
                for records in consumer.poll(timeout_ms=200).values():
                    self._spaces = _decoded(records[-1].value)
                if time.monotonic() > until:
                    raise DependencyError(f"Kafka gives nothing of {self._partition.topic}")
        return self._spaces

    def _connect(self) -> bool:
        """Begin to read, and return whether there is a topic; without one, only its name is asked for again."""
        if self._admin is None:
            if away := kafka_away(self._settings):  # a client that cannot connect leaves a thread behind
                raise DependencyError(away)
            self._admin = connect_admin(self._settings)
        [found] = self._admin.describe_topics([self._partition.topic])
        if found["error_code"] in _NOT_THERE:
            return False
        if found["error_code"]:
            raise DependencyError(f"topic {self._partition.topic}: Kafka answers with error {found['error_code']}")
        self._consumer = connect_consumer(self._settings, auto_offset_reset="earliest", fetch_max_wait_ms=100)
        self._consumer.assign([self._partition])
        self._consumer.seek_to_beginning(self._partition)
        admin, self._admin = self._admin, None
        admin.close()
        return True

    def write(self, spaces: Spaces) -> None:
        """Return once all replicas have the record.

        Raises:
            DependencyError: Kafka failed; it may be there or not.
        """
        with kafka_errors(), closing(connect_producer(self._settings)) as producer:
            sent = producer.send(self._partition.topic, msgspec.json.encode(spaces), _KEY, partition=0)
            sent.get(timeout=_ANSWER_SECONDS)

    def close(self) -> None:
        """Disconnect, whatever fails."""
        admin, consumer = self._admin, self._consumer
        self._admin = self._consumer = None
        with suppress(Exception):
            if consumer is not None:
                consumer.close(timeout_ms=1000)
        with suppress(Exception):
            if admin is not None:
                admin.close()


class Gate:
    """Whether a space serves; a thread looks every LOOK_SECONDS.

    Where Kafka does not answer, what was known holds. Safe to be used from many threads.
    """

    def __init__(self, settings: Settings, space: str, topic: Topic | None = None) -> None:
        self.space = space
        self._topic: Topic = topic or SpacesTopic(settings)
        self._looked = threading.Condition()
        self._begun = self._done = self._failed = 0
        """Numbers of looks: the last that began, that was answered, and that was not."""
        self._spaces: Spaces | None = None
        self._error: Exception | None = None
        self._wanted, self._ended = threading.Event(), False
        self._thread: threading.Thread | None = None

    def start(self) -> Gate:
        """Look from now on: who asks during an outage of Kafka is answered with what was known before it."""
        with self._looked:
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="spaces", daemon=True)
                self._thread.start()
        return self

    def spaces(self, now: bool = False) -> Spaces | None:
        """Return all spaces, as they were a moment ago.

        Args:
            now: as they are, by a look that begins after this call.
        Raises:
            DependencyError: Kafka does not answer; or, without `now`, it never has.
        """
        self.start()
        with self._looked:
            least = self._begun + 1 if now else 1
            if now:
                self._wanted.set()
            self._looked.wait_for(lambda: self._done >= least or self._failed >= least, _ANSWER_SECONDS)
            if self._done < least:
                raise DependencyError(f"which space serves is not known: {self._error or 'Kafka does not answer'}")
            return self._spaces

    def _look(self) -> None:
        while not self._ended:
            self._wanted.clear()
            with self._looked:
                self._begun += 1
                number = self._begun
            try:
                found, error = self._topic.read(), None
            except Exception as raised:
                found, error = None, raised
                self._topic.close()
            with self._looked:
                if error is None:
                    self._spaces, self._done = found, number
                else:
                    if self._error is None:
                        logger.warning("which space serves is not known error=%s", error)
                    self._failed = number
                self._error = error
                self._looked.notify_all()
            self._wanted.wait(LOOK_SECONDS)
        self._topic.close()

    def counts(self, offset: int) -> bool:
        """Return whether what the space says at an offset of its log is to be announced.

        A turn begins before anything is written to its log, so whoever has read that need only look now.
        """
        known = self.spaces()
        if known is None or known.counts(self.space, offset):
            return True
        known = self.spaces(now=True)
        return known is None or known.counts(self.space, offset)

    def begin(self) -> tuple[str, int] | None:
        """Return which space served before this one, and the offset of the log at which its present turn began.

        None if it does not serve, or none did before; the space is "" if it was dropped since. Raises as `spaces` does.
        """
        known = self._certainly()
        if known is None or known.serving != self.space or len(known.turns) < 2:
            return None
        return known.turns[-2].space, known.turns[-1].first

    def certainly_serves(self) -> bool:
        """Return whether the space serves at this moment, for what cannot be undone.

        Raises:
            DependencyError: Kafka does not answer; where no second space was ever made, it never has.
        """
        known = self._certainly()
        return known is None or known.serves(self.space)

    def _certainly(self) -> Spaces | None:
        return None if self.spaces() is None else self.spaces(now=True)

    def serves(self) -> bool:
        """Return whether the space serves; raises as `spaces` does."""
        known = self.spaces()
        return known is None or known.serves(self.space)

    def seems_to_serve(self) -> bool:
        """Return whether the space serves, as far as was heard last; False where nothing was. It waits for nothing."""
        self.start()
        with self._looked:
            return self._done > 0 and (self._spaces is None or self._spaces.serves(self.space))

    def closed(self) -> str:
        """Return why nothing is taken in for the space; "" if it serves."""
        known = self.spaces()
        if known is None or (known.serves(self.space) and not known.switching):
            return ""
        if known.switching and known.serving == self.space:
            return f"a switch to space {known.switching} is under way; `neardup space switch` ends it, either way"
        return f"space {self.space} stands by, {known.serving} serves; `neardup space switch` changes that"

    def check(self) -> None:
        """Raise StandsBy unless the space serves."""
        if why := self.closed():
            raise StandsBy(why)

    def close(self) -> None:
        """Look no more, and disconnect."""
        self._ended = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(2)


class Gated:
    """A worker that ends as soon as its space does not serve; see `runner.Worker`."""

    def __init__(self, gate: Gate, worker: Worker) -> None:
        self._gate = gate
        self._worker = worker

    def step(self) -> None:
        """Work if the space serves; raises StandsBy."""
        self._gate.check()
        self._worker.step()

    def ready(self) -> bool:
        """See `Worker`."""
        return self._worker.ready()

    def drain(self, seconds: float) -> None:
        """See `Worker`."""
        self._worker.drain(seconds)

    def close(self) -> None:
        """See `Worker`."""
        self._worker.close()


def gated(gate: Gate, make: Callable[[], Worker]) -> Callable[[], Gated]:
    """Return what makes a worker while the space of the gate serves, and raises StandsBy while it does not."""

    def connect() -> Gated:
        gate.check()
        return Gated(gate, make())

    return connect


class Appends(Protocol):
    """See `log.Appender`."""

    def append(self, records: Sequence[Record]) -> list[int]: ...


class SteadyAppender:
    """Appends to the log of a space until a switch begins: what came during it or later would be lost with the switch.

    Raises:
        DependencyError: Kafka does not answer.
    """

    def __init__(self, gate: Gate, appender: Appends) -> None:
        self._gate, self._appender = gate, appender
        self._served = gate.serves()

    def append(self, records: Sequence[Record]) -> list[int]:
        """See `Appends`; raises DependencyError where the space no longer serves or stands by as it did."""
        known = self._gate.spaces()
        if known is not None and (known.switching or known.serves(self._gate.space) != self._served):
            raise DependencyError(f"a switch of spaces came in between; {known.serving} serves: give the command again")
        return self._appender.append(records)


def require_serving(settings: Settings, space: str) -> None:
    """Return if a space serves: changes of any other would be lost with the next switch.

    Raises:
        ConfigError: another one does. DependencyError: a switch is under way, or Kafka does not answer.
    """
    with closing(Gate(settings, space)) as gate:
        known = gate.spaces()
        if known is not None and not known.serves(space):
            raise ConfigError(
                f"model {settings.model} has space {space}, and {known.serving} serves: name its model by NEARDUP_MODEL"
            )
        gate.check()


def _decoded(value: bytes | None) -> Spaces:
    try:
        return msgspec.json.decode(value or b"", type=Spaces)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"topic `spaces` has a record that cannot be read: {error}") from error
