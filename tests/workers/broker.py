"""A broker in memory with one log and its verdicts: markers after transactions, and one publisher at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.records import Envelope, Record
from neardup.workers.kafka.log import Fetched, encode, read_envelopes


class Broker:
    def __init__(self) -> None:
        self.log: list[bytes | None] = []
        self.verdicts: list[bytes | None] = []
        self.epoch = 0
        self.begin = 0

    def append(self, *records: Record | bytes) -> None:
        self.log += [one if isinstance(one, bytes) else encode(one) for one in records]

    def publish(self, *envelopes: Envelope) -> None:
        """Commit envelopes; the end of the transaction takes an offset of its own."""
        self.verdicts += [*map(encode, envelopes), None]

    def published(self) -> list[Envelope]:
        return read_envelopes([Fetched(0, 0, one) for one in self.verdicts if one is not None])


class FakeTail:
    """As `log.Tail`; records have the time 1000 + offset. A poll that finds nothing moves on past markers, too.

    Attributes:
        silent: so many polls get no answer.
    """

    def __init__(self, broker: Broker, topic: str) -> None:
        self.topic = topic
        self.silent = 0
        self._broker = broker
        self._position = 0
        self.closed = False

    @property
    def _records(self) -> list[bytes | None]:
        return self._broker.log if self.topic == "log" else self._broker.verdicts

    def begin(self) -> int:
        return self._broker.begin if self.topic == "log" else 0

    def end(self) -> int:
        return len(self._records)

    def position(self) -> int:
        return self._position

    def lag(self) -> int:
        return self.end() - self._position

    def seek(self, offset: int) -> None:
        self._position = offset

    def poll(self, timeout_seconds: float, max_records: int) -> list[Fetched]:  # noqa: ARG002
        if self.silent:
            self.silent -= 1
            return []
        found = []
        for offset in range(self._position, self.end()):
            value = self._records[offset]
            if value is not None:
                found.append(Fetched(offset, 1000 + offset, value))
                if len(found) == max_records:
                    break
        if found:
            self._position = found[-1].offset + 1
        while self._position < self.end() and self._records[self._position] is None:
            self._position += 1
        return found

    def close(self) -> None:
        self.closed = True


class FakePublisher:
    """As `leader.Publisher`: the newest one only can publish."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        broker.epoch += 1
        self._epoch = broker.epoch

    def publish(self, envelopes: Sequence[Envelope], traces: Mapping[int, str]) -> None:
        self.traces = dict(traces)
        if self._epoch != self._broker.epoch:
            raise DependencyError("another match worker has taken over")
        self._broker.publish(*envelopes)

    def close(self) -> None:
        pass


class FakeLeadership:
    """Held whenever the test says so."""

    def __init__(self, granted: bool = True) -> None:
        self.granted = granted

    def held(self) -> bool:
        return self.granted

    def close(self) -> None:
        pass
