"""How far a space has come: which of its log is published, and which proofs its decisions wait for."""

from __future__ import annotations

import threading
import time
from contextlib import closing

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.proofs import ItemProved, ProofExpired
from neardup.pipeline.log.records import Envelope, Record, RemovedEvent, Replaced, asks_of
from neardup.pipeline.settings import Settings
from neardup.workers.kafka.log import Tail, last_envelope, read_record
from neardup.workers.kafka.topics import topic_names
from neardup.workers.match.follower import Follower

_BATCH_RECORDS = 500
_MARGIN_SECONDS = 300.0


class OpenAsks:
    """Asks that nobody has answered, by item, version and what it is compared with."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], set[tuple[str, str, int]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def note(self, record: Record | str, envelope: Envelope) -> None:
        """Take in the next record of the log with what was published of it."""
        if isinstance(record, ItemProved):
            self._answered(record.id, record.offset, {(one.bank, one.reference, one.offset) for one in record.pairs})
        elif isinstance(record, ProofExpired):
            one = record.reference
            pairs = None if one is None else {(one.bank, one.reference, one.offset)}
            self._answered(record.id, record.offset, pairs)
        for event in envelope.events:
            if isinstance(event, RemovedEvent | Replaced):
                for key in [key for key in self._open if key[0] == event.id]:
                    del self._open[key]
            for asked in asks_of(event):
                pairs = {(ask.bank, ask.reference, ask.offset) for ask in asked.asks}
                self._open.setdefault((asked.id, asked.offset), set()).update(pairs)

    def _answered(self, id: str, offset: int, pairs: set[tuple[str, str, int]] | None) -> None:
        known = self._open.get((id, offset))
        if known is not None:
            known -= set(known) if pairs is None else pairs
            if not known:
                del self._open[id, offset]


class SpaceWatch:
    """Follows a space in a thread of its own.

    Args:
        back_seconds: so long before now it begins, to know of all that waits; by default with what is published next.
    Attributes:
        last: offset of the last envelope. waiting: asks without an answer.
    """

    def __init__(self, settings: Settings, space: str, back_seconds: float = 0.0) -> None:
        names = topic_names(settings.topic_root, space)
        self._log, self._verdicts = Tail(settings, names.log), Tail(settings, names.verdicts)
        self.last = last_envelope(self._verdicts)
        begin = self.last + 1
        if back_seconds:
            begin = min(begin, self._log.at(int(1000 * (time.time() - back_seconds))))
        self._follower = Follower(self._log, self._verdicts, begin - 1, 0, _BATCH_RECORDS)
        self._asks = OpenAsks()
        self.waiting = 0
        self.end = 0
        self._error: Exception | None = None
        self._ended = threading.Event()
        self._looked = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"watch-{space}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise DependencyError if the space can be followed no more."""
        if self._error is not None:
            raise DependencyError(f"the space cannot be followed: {self._error}") from self._error

    def drained(self, seconds: float = 10.0) -> bool:
        """Look anew, and return whether all of the log is published and nothing waits for a proof."""
        for _ in range(2):  # the look that is under way may have begun before the last record was written
            self._looked.clear()
            looked = self._looked.wait(seconds)
            self.check()
            if not looked:
                return False
        return self.last >= self.end - 1 and not self.waiting

    def close(self) -> None:
        """Disconnect."""
        self._ended.set()
        self._thread.join(5)

    def _follow(self) -> None:
        with closing(self._log), closing(self._verdicts):
            try:
                while not self._ended.is_set():
                    self._step()
            except Exception as error:
                self._error = error

    def _step(self) -> None:
        end = self._log.end()
        batch = self._follower.published()
        if batch is not None:
            for one in batch.records:
                self._asks.note(read_record(one.value), batch.published.get(one.offset, Envelope(offset=one.offset)))
            self.last = max(self.last, batch.records[-1].offset)
            self.waiting = len(self._asks)
            return
        self.end = end
        self._looked.set()


def back_for_proofs(settings: Settings) -> float:
    """Return how many seconds ago the oldest item can have come that still waits for a proof."""
    return max(settings.prove_seconds, settings.prove_outage_seconds) + _MARGIN_SECONDS
