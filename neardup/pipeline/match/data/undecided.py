"""Items whose verdict waits for proofs, and earlier heads that are asked about for a reference that came later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TypeAlias

from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.proofs import Candidate, PairProved
from neardup.pipeline.prove.finding import Finding, Proved
from neardup.pipeline.types import Decision

LATE_MS = 86_400_000
"""An answer that comes later than this after the ask, by the log's time, decides nothing any more."""


@dataclass(slots=True)
class Pair:
    """An item and one of its candidates.

    Attributes:
        number: of the reference's version.
        asked: whether a proof of it is wanted. answered: whether there is an answer.
        proved: None without an answer, and where a picture of either was not to be had.
    """

    candidate: Candidate
    number: int
    asked: bool = False
    answered: bool = False
    proved: Proved | None = None

    @property
    def open(self) -> bool:
        """Whether an answer is still to come."""
        return self.asked and not self.answered


UndecidedKey: TypeAlias = tuple[int, int]
"""Log offset of the envelope with the asks, which may be of several: live videos end at the record of another item.
Number of the item."""


@dataclass(slots=True)
class Undecided:
    """An item that waits, or matches of a live video that do.

    Attributes:
        offset: in the log, of the record that completed this version of it, or of a live video's frame; its asks are in
            that envelope.
        since_ms: time of that record. expired: whether it was decided without answers.
        said: what that verdict listed: bank and reference. decision: what it was.
        quiet: see `Described.quiet`. later: other work goes first; see `Asked.later`.
    """

    item: int
    offset: int
    since_ms: int
    pairs: list[Pair]
    expired: bool = False
    said: list[tuple[str, str]] = field(default_factory=list)
    decision: Decision | None = None
    quiet: bool = False
    later: bool = False

    @property
    def key(self) -> UndecidedKey:
        """What distinguishes it from others."""
        return self.offset, self.item

    @property
    def open(self) -> bool:
        """Whether an answer is still to come."""
        return any(pair.open for pair in self.pairs)

    def lapsed(self, pair: Pair) -> bool:
        """Return whether a pair was not looked at since another one is a copy; see `Candidate.spare`."""
        return pair.candidate.spare and pair.proved is None and any(map(_proves_copy, self.pairs))

    def take(self, answers: Sequence[PairProved]) -> bool:
        """Take in answers, the first to each ask, and return whether one of them was new."""
        given = {(one.bank, one.reference, one.offset): one for one in reversed(answers)}
        new = False
        for pair in self.pairs:
            one = given.get((pair.candidate.bank, pair.candidate.reference, pair.candidate.offset))
            if one is not None and pair.open:
                pair.answered, pair.proved, new = True, one.proved, True
        return new


def _proves_copy(pair: Pair) -> bool:
    is_first = pair.candidate.bank == SEEN and not pair.candidate.spare
    return is_first and pair.proved is not None and pair.proved.finding is Finding.COPY


class UndecidedItems:
    """All of them, in order of the log."""

    def __init__(self) -> None:
        self._by_key: dict[UndecidedKey, Undecided] = {}
        self.waiting = self.waiting_later = 0
        """How many have no verdict yet, and of how many of these others go first."""

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Undecided]:
        return iter(self._by_key.values())

    def get(self, offset: int, item: int) -> Undecided | None:
        """Return what waits of an item, by its number, for the asks in this envelope."""
        return self._by_key.get((offset, item))

    def add(self, one: Undecided, now_ms: int) -> None:
        """Have an item wait. Those that were decided without answers long ago wait no more."""
        # they are in order of the log
        for old in [*takewhile(lambda old: old.expired and now_ms - old.since_ms > LATE_MS, self)]:
            self.forget(old)
        if (known := self._by_key.get(one.key)) is not None:  # a live video fell silent, and goes on at one record
            asked = [pair.candidate for pair in known.pairs]
            known.pairs += [pair for pair in one.pairs if pair.candidate not in asked]
            return
        self._by_key[one.key] = one
        self._count(one, 1)

    def expire(self, one: Undecided) -> None:
        """Have an item that waits be decided without answers; later ones may still change that."""
        self._count(one, -1)
        one.expired = True

    def forget(self, one: Undecided) -> None:
        """Have an item wait no more, if it does."""
        if (gone := self._by_key.pop(one.key, None)) is not None:
            self._count(gone, -1)

    def forget_live(self, number: int) -> None:
        """Have nothing of a live video wait any more."""
        for one in [one for one in self if one.item == number]:
            self.forget(one)

    def restore(self, undecided: Iterable[Undecided]) -> None:
        """Take over what iteration gave."""
        self._by_key = {one.key: one for one in undecided}
        self.waiting = self.waiting_later = 0
        for one in self:
            self._count(one, 1)

    def _count(self, one: Undecided, by: int) -> None:
        if not one.expired:
            self.waiting += by
            self.waiting_later += by * one.later


LaterKey: TypeAlias = tuple[int, str, int]
"""Offset of the head, bank of the reference, offset of the reference."""


@dataclass(slots=True)
class LaterAsk:
    """A head that may match a reference which a bank got after it.

    Attributes:
        id, offset, sha256: of the head, as the ask names them.
        pair: with the reference. items: numbers of the head, first, and of those that stood under it.
        since_ms: time of the record that asked. expired: whether nobody answered in time.
        said: what was said then: numbers of items, and decisions.
    """

    id: str
    offset: int
    sha256: bytes
    pair: Pair
    items: list[int]
    since_ms: int = 0
    expired: bool = False
    said: list[tuple[int, Decision]] = field(default_factory=list)

    @property
    def key(self) -> LaterKey:
        """What an answer names it by."""
        return self.offset, self.pair.candidate.bank, self.pair.candidate.offset


class LaterAsks:
    """All of them that have no answer, in order of the log."""

    def __init__(self) -> None:
        self._by_key: dict[LaterKey, LaterAsk] = {}
        self.waiting = 0
        """How many nobody has given up."""

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[LaterAsk]:
        return iter(self._by_key.values())

    def add(self, one: LaterAsk, now_ms: int, most_expired: int) -> None:
        """Have one wait. Of those that were given up, old ones are forgotten, and the oldest if they are too many."""
        self._drop(one.key)
        self._by_key[one.key] = one
        self.waiting += 1
        expired, gone = len(self) - self.waiting, list[LaterKey]()
        for old in self if expired else ():
            if not old.expired:
                continue
            if now_ms - old.since_ms <= LATE_MS and expired - len(gone) <= most_expired:
                break
            gone.append(old.key)
        for key in gone:
            self._drop(key)

    def take(self, id: str, offset: int, candidate: Candidate, expires: bool) -> LaterAsk | None:
        """Return what waits for the answer to this pair; with the answer it waits no more.

        Args:
            expires: there is no answer; a later one may still come. What was given up before is not given up again.
        """
        one = self._by_key.get((offset, candidate.bank, candidate.offset))
        if one is None or (one.id, one.pair.candidate.reference) != (id, candidate.reference):
            return None
        if not expires:
            return self._drop(one.key)
        if one.expired:
            return None
        self.waiting -= 1
        one.expired = True
        return one

    def forget(self, one: LaterAsk) -> None:
        """Have one wait no more."""
        self._drop(one.key)

    def restore(self, asks: Iterable[LaterAsk]) -> None:
        """Take over what iteration gave."""
        self._by_key = {one.key: one for one in asks}
        self.waiting = sum(not one.expired for one in self)

    def _drop(self, key: LaterKey) -> LaterAsk | None:
        gone = self._by_key.pop(key, None)
        self.waiting -= gone is not None and not gone.expired
        return gone
