"""What should have been said of a log, found out offline, in two ways.

`by_state` lets the product's own state apply the log in one go, without a process that ends or a batch that breaks
off. `by_content` knows nothing of it: it follows versions, removals and repetitions by rules of its own, and takes for
a copy what was sent as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from neardup.pipeline.log.proofs import ItemProved, ProofExpired
from neardup.pipeline.log.records import Described, Entry, Envelope, Removed, key_of
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.types import Descriptors
from tests.faults.content import same_picture
from tests.faults.observe import Observed, source
from tests.pipeline.match.build import a_state

What = Literal["verdict", "part", "redelivered", "ignored", "removed", "changed", "answered"]


def by_state(
    log: Sequence[Entry], published: Mapping[int, Envelope] | None = None, proves: bool = False
) -> list[Envelope]:
    """Return the envelopes of a state with an exact index that never stopped.

    Args:
        published: envelopes whose verdicts are taken over, by offset.
        proves: whether verdicts wait for proofs.
    """
    with closing(a_state(asks=proves)) as state:
        return _apply(state, log, published)


def _apply(state: State, log: Sequence[Entry], published: Mapping[int, Envelope] | None) -> list[Envelope]:
    return [
        envelope for start in range(0, len(log), 512) for envelope in state.apply(log[start : start + 512], published)
    ]


@dataclass(frozen=True)
class Expected:
    """What an offset of the log must have led to.

    Attributes:
        replaces: the item was known with other bytes.
        copies: of a verdict: ids of the earlier live items with the same picture; twins: those with the same bytes.
        offset: of an answer: that of the item which it answers for.
    """

    what: What
    id: str
    replaces: bool = False
    copies: frozenset[str] = frozenset()
    twins: frozenset[str] = frozenset()
    offset: int = -1


@dataclass
class _Version:
    """One version of an item: where it came from, what it shows, the parts of it that were seen, and the offset of the
    last."""

    source: tuple[int, int]
    sha256: bytes
    content: str
    vectors: list[Descriptors] = field(default_factory=list)
    parts: int = 0
    completed: int = -1


class ByContent:
    """Goes through a log and says what each record must lead to; `vectors` keeps those of the items as they are."""

    def __init__(self, observed: Observed) -> None:
        self._contents = {(one.partition, one.offset): one.action.content for one in observed.sent}
        self._rows = observed.rows
        self._live: dict[str, _Version] = {}
        self._arriving: dict[str, _Version] = {}
        self._removed: set[str] = set()

    def vectors(self, item: str) -> Descriptors:
        """Return the descriptors of a live item, float32 (n, d)."""
        return np.concatenate(self._live[item].vectors)

    def alive(self, item: str) -> bool:
        """Return whether the item is known and was not removed."""
        return item in self._live

    def take(self, entry: Entry) -> Expected:
        """Take in a record."""
        record = entry.record
        if isinstance(record, Removed):
            self._removed.add(record.id)
            self._arriving.pop(record.id, None)
            self._live.pop(record.id, None)
            return Expected("removed", record.id)
        if isinstance(record, ItemProved | ProofExpired):
            return Expected("answered", record.id, offset=record.offset)
        if not isinstance(record, Described):
            return Expected("changed", key_of(record))
        return self._describe(entry.offset, record)

    def _describe(self, offset: int, record: Described) -> Expected:
        known, arriving = self._live.get(record.id), self._arriving.get(record.id)
        if record.id in self._removed:
            return Expected("ignored", record.id)
        if any(one is not None and _is_before(source(record), one.source) for one in (known, arriving)):
            return Expected("ignored", record.id)
        if known is not None and known.sha256 == record.sha256:
            known.source = source(record)
            return Expected("redelivered" if record.last else "part", record.id)
        if record.part == 0:
            arriving = _Version(source(record), record.sha256, self._content(offset, record))
        elif arriving is None or (record.part, record.sha256) != (arriving.parts, arriving.sha256):
            return Expected("ignored", record.id)
        replaces = self._live.pop(record.id, None) is not None
        arriving.parts += 1
        arriving.vectors.append(record.embedded().vectors)
        self._arriving[record.id] = arriving
        if not record.last:
            return Expected("part", record.id, replaces)
        del self._arriving[record.id]
        arriving.completed = offset
        self._live[record.id] = arriving
        return Expected("verdict", record.id, replaces, *self.earlier(record.id))

    def earlier(self, item: str) -> tuple[frozenset[str], frozenset[str]]:
        """Return what came before a live item and is there: of the same picture, and with the same bytes."""
        mine = self._live[item]
        before = {name: one for name, one in self._live.items() if one.completed < mine.completed}
        same = same_picture(mine.content)
        copies = frozenset(name for name, one in before.items() if same_picture(one.content) == same)
        return copies, frozenset(name for name, one in before.items() if one.sha256 == mine.sha256)

    def stands_since(self, item: str) -> int:
        """Return the offset that completed a live item, -1 of others."""
        return self._live[item].completed if item in self._live else -1

    def _content(self, offset: int, record: Described) -> str:
        return self._rows[offset] if offset in self._rows else self._contents[source(record)]


def _is_before(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] == other[0] and one[1] < other[1]
