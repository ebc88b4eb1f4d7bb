"""What reviewers said of pairs, remembered for ever.

It is a pair of *contents* that is remembered, in both directions: the same picture under another id, or delivered
again, is not asked about twice, and a new version with another picture is judged afresh. Content is what the pixels
hash to, else the bytes. Of two items with one and the same content it is their ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from neardup.pipeline.log.changes import Outcome
from neardup.pipeline.log.records import Matched
from neardup.pipeline.log.verdicts import as_judged
from neardup.pipeline.match.data.items import Items


class HasContent(Protocol):
    """An item, or a record of one."""

    @property
    def id(self) -> str: ...

    @property
    def sha256(self) -> bytes: ...

    @property
    def pixels_digest(self) -> bytes: ...


@dataclass(slots=True)
class Judged:
    """What was said of a pair, and what it did to the cluster of one of the two.

    Attributes:
        outcome: "match" or "not-a-match".
        moved: number of the item that was moved, -1 if none was. head: number of the head that it left, or joined.
    """

    first: bytes
    second: bytes
    outcome: Outcome
    moved: int = -1
    head: int = -1


class Reviews:
    """All of it, by pair."""

    def __init__(self, judged: Iterable[Judged] = ()) -> None:
        self.restore(judged)

    def restore(self, judged: Iterable[Judged]) -> None:
        """Take over what iteration gave."""
        self._by_pair = {(one.first, one.second): one for one in judged}
        self._rejected: dict[bytes, set[bytes]] = {}
        for one in self._by_pair.values():
            self._note(one)

    def __len__(self) -> int:
        return len(self._by_pair)

    def __iter__(self) -> Iterator[Judged]:
        return iter(self._by_pair.values())

    def of(self, item: HasContent, reference: HasContent) -> Judged | None:
        """Return what was said of a pair."""
        return self._by_pair.get(_pair(item, reference)) if self._by_pair else None

    def set(self, item: HasContent, reference: HasContent, outcome: Outcome) -> Judged:
        """Remember what is said of a pair from now on."""
        self.forget(item, reference)
        pair = _pair(item, reference)
        judged = self._by_pair[pair] = Judged(*pair, outcome)
        self._note(judged)
        return judged

    def forget(self, item: HasContent, reference: HasContent) -> Judged | None:
        """Forget what was said of a pair, and return it."""
        judged = self._by_pair.pop(_pair(item, reference), None)
        if judged is not None and judged.outcome is Outcome.NOT_A_MATCH:
            self._rejected[judged.first].discard(judged.second)
            self._rejected[judged.second].discard(judged.first)
        return judged

    def rejects(self, item: HasContent, others: Iterable[HasContent]) -> bool:
        """Return whether an item was said not to match one of these."""
        content, own = content_of(item), _id_of(item)
        of_content, of_id = self._rejected.get(content), self._rejected.get(own)
        if not of_content and not of_id:
            return False
        return any(  # of one and the same content, ids are what was judged, and of no other
            _id_of(one) in (of_id or ()) if content_of(one) == content else content_of(one) in (of_content or ())
            for one in others
        )

    def respected(self, item: HasContent, reference: HasContent, match: Matched) -> Matched | None:
        """Return a match as reviewers left it: None if it is none."""
        known = self.of(item, reference)
        return as_judged(match, None if known is None else known.outcome)

    def respect(self, item: HasContent, matches: Sequence[Matched], references: Items) -> list[Matched]:
        """Return an item's matches with references of one bank as reviewers left them."""
        if not self._by_pair:
            return list(matches)
        named = ((references.named(match.reference), match) for match in matches)
        found = (self.respected(item, reference, match) for reference, match in named if reference is not None)
        return [match for match in found if match is not None]

    def _note(self, judged: Judged) -> None:
        if judged.outcome is Outcome.NOT_A_MATCH:
            self._rejected.setdefault(judged.first, set()).add(judged.second)
            self._rejected.setdefault(judged.second, set()).add(judged.first)


def content_of(item: HasContent) -> bytes:
    """Return what tells a picture from any other; of a live video, which goes on, its id."""
    return item.pixels_digest or item.sha256 or _id_of(item)


def _id_of(item: HasContent) -> bytes:
    return b"id " + item.id.encode()


def _pair(item: HasContent, reference: HasContent) -> tuple[bytes, bytes]:
    a, b = content_of(item), content_of(reference)
    if a == b:
        a, b = _id_of(item), _id_of(reference)
    return (a, b) if a < b else (b, a)
